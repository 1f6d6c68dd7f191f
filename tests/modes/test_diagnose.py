"""`--mode=diagnose` on a run that was trained for it, and on what it cannot read."""

import os
import shutil

import numpy as np
import pytest
from matplotlib import image

import small_run
from qvae_jax.diagnostics import files as diagnostics_files
from qvae_jax.diagnostics import verdicts
from qvae_jax.modes import diagnose
from qvae_jax.modes.requests import DiagnoseRequest
from qvae_jax.system.errors import UserError
from qvae_jax.training.metrics_log import METRICS_FILE

EACH_EPOCH = {"diagnostics.every_epochs": 1, "diagnostics.num_examples": 2}


@pytest.fixture(scope="module")
def run(data_set, tmp_path_factory):
    """A run of two epochs, as frozen_run, with diagnostics of each."""
    workdir = tmp_path_factory.mktemp("diagnosed") / "run"
    return small_run.trained(data_set, workdir, **EACH_EPOCH)


def test_training_writes_an_epochs_diagnostics_and_its_picture(run):
    snapshots = diagnostics_files.read_all(run)
    assert [(found.epoch, found.step) for found in snapshots] == [(1, 3), (2, 6)]
    for found in snapshots:
        assert found.parts == ("interpolation", "extrapolation")
        assert found.of("interpolation", "mu").shape == (2, 4), "no more than num_examples"
        assert all(np.isfinite(norm) for norm in found.gradient_norms.values())
        assert {"mu_head", "decoder.stages.0", "decoder.output"} <= found.gradient_norms.keys()
        assert not any(part.startswith("encoder") for part in found.gradient_norms), "it is frozen"
        picture = run / "diagnostics" / f"epoch_{found.epoch:04d}.png"
        assert image.imread(picture)[..., :3].std() > 0.1
    first, last = snapshots[0], snapshots[-1]
    assert not np.array_equal(first.of("interpolation", "mu"), last.of("interpolation", "mu"))


def test_diagnostics_change_nothing_of_the_training(frozen_run, run):
    assert small_run.measured(frozen_run) == small_run.measured(run)
    assert not (frozen_run / "diagnostics").exists()


def test_a_run_that_goes_on_repeats_what_came_after_its_checkpoint(data_set, run, tmp_path):
    workdir = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "6")
    stale = workdir / "diagnostics" / "epoch_0007.npz"
    shutil.copy(workdir / "diagnostics" / "epoch_0002.npz", stale)
    small_run.trained(data_set, workdir, **EACH_EPOCH)
    assert not stale.exists()
    for ours, theirs in zip(diagnostics_files.read_all(workdir), diagnostics_files.read_all(run)):
        for name, array in theirs.arrays.items():
            np.testing.assert_array_equal(ours.arrays[name], array)


def test_a_diagnosis_is_a_table_a_verdict_and_a_picture(run, tmp_path, capsys):
    workdir = shutil.copytree(run, tmp_path / "run")
    said = diagnose.diagnose(DiagnoseRequest(str(workdir)))
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told[1:3]] == ["1", "2"]
    snapshots = diagnostics_files.read_all(workdir)
    assert told[3:-1] == said == verdicts.verdicts(snapshots, clip_norm=2.0)
    picture = workdir / "diagnostics" / "history.png"
    assert told[-1] == f"picture: {picture}" and image.imread(picture).shape[1] > 1200


def test_a_picture_that_fails_costs_no_verdict(run, tmp_path, capsys):
    workdir = shutil.copytree(run, tmp_path / "run")
    (workdir / "diagnostics" / "history.png").mkdir()
    with pytest.raises(UserError, match="history.png cannot be written"):
        diagnose.diagnose(DiagnoseRequest(str(workdir)))
    said = verdicts.verdicts(diagnostics_files.read_all(workdir), clip_norm=2.0)
    assert capsys.readouterr().out.splitlines()[3:] == said


def broken(workdir, how: str) -> None:
    if how == "no config":
        (workdir / "config.json").unlink()
    elif how == "half a config":
        (workdir / "config.json").write_text('{"data": {}, "model": {}, "training": {}}')
    elif how == "no diagnostics":
        shutil.rmtree(workdir / "diagnostics")
    elif how == "damaged":
        os.truncate(workdir / "diagnostics" / "epoch_0002.npz", 1000)
    elif how == "no metrics":
        (workdir / METRICS_FILE).unlink()
    elif how == "binary metrics":
        (workdir / METRICS_FILE).write_bytes(b"\xff\xfe\x00")
    elif how == "other metrics":
        (workdir / METRICS_FILE).write_text("3\n")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no config", "is not a run's folder"),
        ("half a config", "config.json holds no number optimizer.clip_norm"),
        ("no diagnostics", "holds no diagnostics"),
        ("damaged", "epoch_0002.npz is damaged"),
        ("no metrics", "metrics.jsonl cannot be read"),
        ("binary metrics", "metrics.jsonl is damaged"),
        ("other metrics", "metrics.jsonl is damaged"),
    ],
)
def test_what_cannot_be_read_is_one_line(run, tmp_path, how, message):
    workdir = shutil.copytree(run, tmp_path / "run")
    broken(workdir, how)
    with pytest.raises(UserError, match=message) as raised:
        diagnose.diagnose(DiagnoseRequest(str(workdir)))
    assert str(workdir) in str(raised.value) and "\n" not in str(raised.value)
    assert not (workdir / "diagnostics" / "history.png").exists()
