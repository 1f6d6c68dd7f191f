"""Whole runs of the decoders at frame rate: trained, gone on with, measured, shown and looked back on."""

import json
import shutil

import numpy as np
import pytest

import small_run
from qvae_jax import losses
from qvae_jax.diagnostics import files as diagnostics_files
from qvae_jax.generation.model import load_model
from qvae_jax.models import aisfx, steered, stored, variables
from qvae_jax.modes.diagnose import diagnose
from qvae_jax.modes.evaluate import evaluate
from qvae_jax.modes.requests import DiagnoseRequest, EvaluateRequest, VisualiseRequest
from qvae_jax.modes.visualise import visualise

# Two epochs of three steps of the recipe's kind: curves that vary, free bits, a warming average.
FRAME = {
    "model.decoder.type": "frame",
    "loss.magnitude": 1.0,
    "ema.decay": 0.9,
    "ema.warm_up": True,
    "beta.free_bits": 0.1,
    "diagnostics.every_epochs": 2,
    "diagnostics.num_examples": 2,
}
STEERED = FRAME | {
    "model.decoder.type": "steered",
    "model.standardise_features": True,
    "training.feature_noise": 0.1,
    "loss.spectral": 0.0,
    "loss.mel": 0.0,
    "loss.waveform": 0.0,
    "loss.gesture": 0.3,
    "steering.longest_filter_frames": 9,
    "steering.curve_dropout": 0.3,
    "steering.all_curves_dropout": 0.2,
}


@pytest.fixture(scope="module", autouse=True)
def small():
    """Fewer blocks and windows, to compile less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steered, "DILATIONS", (1, 2))
        patch.setattr(steered, "GESTURE_DILATIONS", (1,))
        patch.setattr(losses, "MAGNITUDE_WINDOWS", (512,))
        yield


@pytest.fixture(scope="module", params=[pytest.param("frame", marks=pytest.mark.slow), "steered"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def settings(kind) -> dict:
    return {"frame": FRAME, "steered": STEERED}[kind]


@pytest.fixture(scope="module")
def run(small, kind, settings, data_set, tmp_path_factory):
    return small_run.trained(data_set, tmp_path_factory.mktemp(kind) / "run", **settings)


def test_its_losses_are_recorded_and_finite(run, kind):
    own = {
        "frame": {"magnitude", "spectral", "mel", "waveform"},
        "steered": {"magnitude", "gesture"},
    }[kind]
    entries = small_run.measured(run)
    training = [entry for entry in entries if entry["part"] == "train"]
    assert training and all(own <= entry.keys() for entry in training)
    validated = [entry for entry in entries if entry["part"] == "interpolation"]
    assert len(validated) == 2
    for entry in validated:
        assert own | {"total", "kl"} <= entry.keys()
        assert ("by_gesture" in entry) == (kind == "steered")
    for entry in entries:
        numbers = [number for number in entry.values() if isinstance(number, float)]
        assert np.isfinite(numbers).all()


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(run, settings, data_set, tmp_path):
    workdir = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "6")
    small_run.trained(data_set, workdir, **settings)
    assert small_run.measured(workdir) == small_run.measured(run)
    ours, theirs = (load_model(workdir=str(folder)).variables for folder in (workdir, run))
    for name, array in theirs.params.items():
        np.testing.assert_array_equal(ours.params[name], array)


@pytest.mark.slow
def test_it_is_measured_by_a_judge(run, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(aisfx, "WIDTHS", (4, 4, 8, 8))
    judge = variables.split(aisfx.AiSFX(rng=np.random.default_rng(1)))[1]
    stored.save_model(tmp_path / "judge", {"kind": "aisfx", "model": {}}, judge)
    request = EvaluateRequest(
        workdir=str(run),
        output_dir=tmp_path / "out",
        from_split="interpolation",
        embedder=str(tmp_path / "judge"),
    )
    evaluate(request)
    printed = capsys.readouterr().out
    for system in ("model", "nearest", "oracle", *["steered"] * (kind == "steered")):
        assert f"{system}: mean reciprocal rank ↑" in printed
        assert f"{system}: kernel distance, 100·MMD² ↓" in printed
    assert "independent of the model's encoder and of AudioSet." in printed
    systems = json.loads((tmp_path / "out" / "interpolation.json").read_text("utf-8"))["systems"]
    by_curves = {"steered", "reference_curves", "own_embedding"}
    assert by_curves & set(systems) == (by_curves if kind == "steered" else set())
    for found in systems.values():
        assert np.isfinite([estimate["value"] for estimate in found.values()]).all()


def test_it_is_shown(run, tmp_path):
    visualise(VisualiseRequest(run, num_samples=1, output_dir=tmp_path / "shown"))
    assert (tmp_path / "shown" / "index.html").stat().st_size > 10_000


def test_it_is_looked_back_on(run, kind, tmp_path):
    (snapshot,) = diagnostics_files.read_all(run)
    last = {"frame": "decoder.output", "steered": "decoder.renderer.blocks.1"}[kind]
    assert {"mu_head", last} <= snapshot.gradient_norms.keys()
    assert all(np.isfinite(norm) for norm in snapshot.gradient_norms.values())
    workdir = shutil.copytree(run, tmp_path / "run")
    assert diagnose(DiagnoseRequest(str(workdir)))
    assert (workdir / "diagnostics" / "history.png").exists()
