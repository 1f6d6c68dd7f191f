"""A reset: whatever interrupts it, the weights are there and nothing is lost."""

import os
import shutil

import numpy as np
import pytest

from configs import vimsketch
from qvae_jax import runs
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.training import environment, start
from qvae_jax.training.qvae_task import QVAETask

WEIGHTS = Variables({"a": np.arange(3.0)}, {"b": np.ones(2)})
WRITTEN = ("checkpoints", "metrics.jsonl", "tensorboard", "samples")


@pytest.fixture
def workdir(tmp_path):
    """The folder of a run, each of whose parts holds its own name."""
    for name in WRITTEN:
        if name.endswith(".jsonl"):
            (tmp_path / name).write_text(name)
        else:
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text(name)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def assert_reset(workdir) -> None:
    assert not (workdir / runs.RESET_PENDING).exists()
    moved = workdir / "before_reset_1"
    assert sorted(os.listdir(moved)) == sorted(WRITTEN)
    for name in WRITTEN:
        path = moved / name if name.endswith(".jsonl") else moved / name / "file"
        assert path.read_text() == name
    found = start.start_weights(workdir, WEIGHTS)
    np.testing.assert_array_equal(found.params["a"], WEIGHTS.params["a"])
    np.testing.assert_array_equal(found.batch_stats["b"], WEIGHTS.batch_stats["b"])
    assert environment.read_history(workdir) == [{"step": 7, "reset": "before_reset_1"}]
    assert (workdir / "config.json").exists()


def test_a_reset_moves_what_was_written_and_keeps_the_weights(workdir):
    assert start.start_weights(workdir, WEIGHTS) is None
    start.begin_reset(workdir, 7, WEIGHTS)
    assert_reset(workdir)
    assert not start.finish_reset(workdir), "there is nothing left to do"
    assert_reset(workdir)


@pytest.mark.parametrize("number", range(1, 8))
def test_a_reset_that_is_interrupted_is_brought_to_its_end(workdir, monkeypatch, number):
    replace, calls = os.replace, []

    def dying(source, target):
        calls.append(source)
        if len(calls) == number:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            start.begin_reset(workdir, 7, WEIGHTS)
    if not (workdir / runs.RESET_PENDING).exists():
        # Before the weights were safe nothing has happened.
        assert not start.finish_reset(workdir)
        assert sorted(os.listdir(workdir)) == sorted([*WRITTEN, "config.json"])
        start.begin_reset(workdir, 7, WEIGHTS)
    else:
        assert start.finish_reset(workdir)
    assert_reset(workdir)


def test_a_second_reset_keeps_what_the_first_has_moved(workdir):
    start.begin_reset(workdir, 7, WEIGHTS)
    (workdir / "checkpoints").mkdir()
    later = Variables({"a": np.zeros(3)}, WEIGHTS.batch_stats)
    start.begin_reset(workdir, 9, later)
    assert sorted(os.listdir(workdir / "before_reset_2")) == ["checkpoints", "start"]
    assert (workdir / "before_reset_1" / "checkpoints" / "file").exists()
    assert not start.start_weights(workdir, WEIGHTS).params["a"].any()


def test_a_history_that_is_damaged_is_named(tmp_path):
    files.write_json(tmp_path / runs.HISTORY_FILE, {"step": 1})
    with pytest.raises(UserError, match="history.json is not the history"):
        environment.read_history(tmp_path)


@pytest.mark.parametrize("name", ["split.json", "environment.json", "metrics.jsonl"])
def test_a_file_that_no_run_wrote_is_never_overwritten(tmp_path, name):
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(UserError, match=f"{name} is there already.*another --workdir") as raised:
        start.train(vimsketch.get_config(), tmp_path, QVAETask(), lambda *_: ())
    assert "\n" not in str(raised.value)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, '{"mine": 1}')]


def test_a_start_that_was_killed_after_its_split_begins_anew(tmp_path, frozen_run, monkeypatch):
    shutil.copy(frozen_run / runs.SPLIT_FILE, tmp_path)
    monkeypatch.setattr(start, "_train_on", lambda *_: "begun")
    assert start.train(vimsketch.get_config(), tmp_path, QVAETask(), lambda *_: ()) == "begun"


def test_a_run_that_has_lost_its_checkpoints_says_that_it_begins_anew(tmp_path, capsys):
    start._tell_of_lost_checkpoints(tmp_path)
    assert capsys.readouterr().out == ""
    (tmp_path / runs.METRICS_FILE).write_text('{"step": 1, "part": "train", "total": 2.0}\n' * 2)
    start._tell_of_lost_checkpoints(tmp_path)
    assert "holds no checkpoint of the 1 step in metrics.jsonl" in capsys.readouterr().out
