"""Checkpoints: whole or not there, compared with the model, and the right ones kept."""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest

from checkpoint_trees import COMPLAINTS, assert_same_trees, files_of
from qvae_jax.models import stored
from qvae_jax.system.errors import UserError
from qvae_jax.training.checkpoints import RunCheckpoints


def run_tree(value: float = 1.0, size: int = 50) -> dict:
    return {
        "params": {"a.kernel": np.full((size, 7), value, np.float32)},
        "batch_stats": {"a.mean": np.full(7, -value, np.float32)},
        "optimizer": {"count": np.int32(value)},
        "progress": {"best_loss": np.float64(1 / 3), "stale_epochs": np.int64(value)},
    }


def saved_run(workdir: pathlib.Path, losses: list[float | None], **options) -> RunCheckpoints:
    """The checkpoints of a run with one validation loss for each step from 1 on."""
    kept = RunCheckpoints(workdir, **options)
    for step, loss in enumerate(losses, start=1):
        kept.save(step, run_tree(step), loss)
    kept.wait()
    return kept


def steps_on_disk(workdir: pathlib.Path) -> set[int]:
    return {int(name) for name in os.listdir(workdir / "checkpoints")}


def test_a_run_comes_back_bit_by_bit(tmp_path):
    kept = saved_run(tmp_path, [None, None])
    assert kept.latest_step == 2
    assert_same_trees(kept.restore(2), run_tree(2))
    kept.close()


@pytest.mark.parametrize(
    ("losses", "best", "on_disk"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], 5, {3, 4, 5}),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 1, {1, 2, 3, 5}),
        ([3.0, 1.0, 9.0, 2.0, None], 2, {1, 2, 4, 5}),
        ([None, None, 7.0, None], 3, {3, 4}),
        ([None] * 4, 4, {4}),
        ([-1.0, -3.0, -2.0, 0.0], 2, {1, 2, 3, 4}),
    ],
)
def test_the_best_three_and_the_last_are_kept(tmp_path, losses, best, on_disk):
    kept = saved_run(tmp_path, losses)
    assert (kept.best_step, kept.latest_step) == (best, len(losses))
    assert steps_on_disk(tmp_path) == on_disk
    kept.close()
    again = stored.Checkpoints(tmp_path / "checkpoints")
    assert (again.best_step, again.latest_step) == (best, len(losses))
    assert_same_trees(again.restore(best), run_tree(best))
    again.close()


def test_where_the_highest_is_the_best_it_is_kept(tmp_path):
    kept = saved_run(tmp_path, [0.2, 0.6, 0.5, 0.4], keep_best=2, best=stored.HIGHEST_MRR)
    assert (kept.best_step, kept.latest_step) == (2, 4)
    assert steps_on_disk(tmp_path) == {2, 3, 4}
    kept.close()
    again = stored.Checkpoints(tmp_path / "checkpoints", stored.HIGHEST_MRR)
    assert again.best_step == 2
    again.close()


def test_how_many_are_kept_can_be_chosen(tmp_path):
    saved_run(tmp_path, [1.0, 2.0, 3.0, 4.0], keep_best=1).close()
    assert steps_on_disk(tmp_path) == {1, 4}


def test_a_step_is_saved_once(tmp_path):
    kept = saved_run(tmp_path, [2.0])
    kept.save(1, run_tree(99), 0.0)
    assert_same_trees(kept.restore(1), run_tree(1))
    kept.close()


def test_a_folder_without_checkpoints(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoints"):
        stored.Checkpoints(tmp_path / "checkpoints")
    assert os.listdir(tmp_path) == []
    kept = RunCheckpoints(tmp_path)
    assert kept.latest_step is None and kept.best_step is None
    kept.close()


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(UserError, match="checkpoints"):
        RunCheckpoints(tmp_path)
    assert (tmp_path / "checkpoints").read_text() == "a file"


def test_other_files_beside_the_checkpoints_do_no_harm(tmp_path):
    saved_run(tmp_path, [1.0]).close()
    (tmp_path / "checkpoints" / "notes.txt").write_text("mine")
    (tmp_path / "checkpoints" / "old").mkdir()
    kept = RunCheckpoints(tmp_path)
    assert kept.latest_step == 1
    kept.save(2, run_tree(2), 0.5)
    assert kept.best_step == 2
    kept.close()
    assert {"notes.txt", "old"} <= set(os.listdir(tmp_path / "checkpoints"))


def test_an_unfinished_save_is_ignored_and_cleared_away(tmp_path):
    saved_run(tmp_path, [1.0, 2.0]).close()
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "2", folder / "3.orbax-checkpoint-tmp")
    shutil.copytree(folder / "2", folder / "4.orbax-checkpoint-tmp-1700000000")
    reader = stored.Checkpoints(tmp_path / "checkpoints")
    assert reader.latest_step == 2
    reader.close()
    assert len(os.listdir(folder)) == 4, "a reader changes nothing"
    kept = RunCheckpoints(tmp_path)
    assert kept.latest_step == 2 and steps_on_disk(tmp_path) == {1, 2}
    kept.save(3, run_tree(3), 0.5)
    assert_same_trees(kept.restore(3), run_tree(3))
    kept.close()


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    kept = saved_run(tmp_path, [1.0])

    def full(*arguments, **options):
        (kept.directory / "2.orbax-checkpoint-tmp").mkdir()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(UserError, match="step 2 .*No space left.*step 1 is intact"):
            kept.save(2, run_tree(2), 0.5)
    kept.close()
    again = RunCheckpoints(tmp_path)
    assert again.latest_step == again.best_step == 1
    assert_same_trees(again.restore(1), run_tree(1))
    again.save(2, run_tree(2), 0.5)
    assert_same_trees(again.restore(2), run_tree(2))
    again.close()


def test_what_is_saved_is_what_was_there_when_it_was_given(tmp_path):
    kept, tree = RunCheckpoints(tmp_path), run_tree(1, size=50_000)
    given = {part: {name: np.array(a) for name, a in tree[part].items()} for part in tree}
    kept.save(1, given, None)
    for array in given["params"].values():
        array[:] = 99  # as a step does that takes the memory over
    assert_same_trees(kept.restore(1), tree)
    kept.close()


@contextlib.contextmanager
def full_disk():
    """Every write beyond 20 kB of a file fails while it lasts, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@COMPLAINTS
def test_a_failed_save_shows_at_the_next_one_at_the_latest(tmp_path):
    kept = saved_run(tmp_path, [1.0])
    kept.wait()
    tree = run_tree(2)
    tree["params"]["a.kernel"] = np.random.default_rng(0).standard_normal(50_000)
    with full_disk():
        kept.save(2, tree, 0.5)
        with pytest.raises(UserError, match="step 2 .*File too large.*step 1 is intact"):
            kept.save(3, run_tree(3), 0.5)
    kept.save(4, tree, 0.5)  # as there is room again
    assert kept.latest_step == 4
    kept.close()


@COMPLAINTS
def test_writes_that_really_fail_keep_the_earlier_checkpoint(tmp_path):
    kept = saved_run(tmp_path, [1.0])
    tree = run_tree(2)
    tree["params"]["a.kernel"] = np.random.default_rng(0).standard_normal(50_000)
    with full_disk():
        kept.save(2, tree, 0.5)
        with pytest.raises(UserError, match="step 2 .*File too large.*step 1 is intact") as raised:
            kept.wait()
    assert len(str(raised.value)) < 600
    assert kept.latest_step == 1
    assert_same_trees(kept.restore(1), run_tree(1))
    kept.close()
    again = RunCheckpoints(tmp_path)
    again.save(2, tree, 0.5)
    assert_same_trees(again.restore(2), tree)
    again.close()


KILLED = """
import pathlib, sys, numpy as np
from qvae_jax.training.checkpoints import RunCheckpoints
kept = RunCheckpoints(pathlib.Path(sys.argv[1]))
step = 0
while True:
    step += 1
    fill = lambda size: np.full(size, step, np.float32)
    tree = {"params": {f"a{i}": fill(20_000) for i in range(20)}, "batch_stats": {"b": fill(3)},
            "optimizer": {"c": fill(3)}, "progress": {"d": fill(3)}}
    kept.save(step, tree, float(-step))
    print(step, flush=True)
"""


def test_a_kill_in_the_midst_of_saving_leaves_a_whole_checkpoint(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(4):
        process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    last_told = int((["4"] + process.communicate()[0].split())[-1])
    kept = RunCheckpoints(tmp_path)
    # A save waits for the one before it, and is in the background when it is told of.
    assert kept.latest_step in (last_told - 1, last_told, last_told + 1)
    for step in (kept.latest_step, kept.best_step):
        params = kept.restore(step)["params"]
        assert len(params) == 20 and all((array == step).all() for array in params.values())
    kept.close()


@COMPLAINTS
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path):
    kept = saved_run(tmp_path, [1.0, 2.0])
    folder = tmp_path / "checkpoints" / "2"
    for path in files_of(folder / "default"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=f"remove {folder}, so that an earlier") as raised:
        kept.restore(2)
    assert "\n" not in str(raised.value)
    assert_same_trees(kept.restore(1), run_tree(1))
    kept.close()
    shutil.rmtree(folder)  # as it says
    again = RunCheckpoints(tmp_path)
    assert again.latest_step == 1
    again.close()


def test_a_checkpoint_of_another_kind_is_named(tmp_path):
    kept = RunCheckpoints(tmp_path)
    kept.save(1, {"params": {"a": np.zeros(2)}}, None)
    with pytest.raises(UserError, match="checkpoints/1 .*has no batch_stats, optimizer, progress"):
        kept.restore(1)
    kept.close()


def test_the_loss_of_a_checkpoint_lies_beside_it(tmp_path):
    saved_run(tmp_path, [0.25]).close()
    metrics = tmp_path / "checkpoints" / "1" / "metrics" / "metrics"
    assert json.loads(metrics.read_text()) == {"validation_loss": 0.25}
