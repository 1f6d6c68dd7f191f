"""Runs of 44,100 Hz from data to page: trained, generated with, measured, shown."""

import json

import numpy as np
import pytest
import soundfile

import small_run
from qvae_jax import losses
from qvae_jax.generation import curve_file
from qvae_jax.generation.model import load_model
from qvae_jax.generation.requests import Finish
from qvae_jax.models import steered
from qvae_jax.modes.evaluate import evaluate
from qvae_jax.modes.generate import generate
from qvae_jax.modes.requests import EvaluateRequest, GenerateRequest, VisualiseRequest
from qvae_jax.modes.visualise import visualise

RATE_HZ = 44_100
SETTINGS = {
    "model.decoder.type": "steered",
    "model.sample_rate_hz": RATE_HZ,
    "loss.spectral": 0.0,
    "loss.mel": 0.0,
    "loss.waveform": 0.0,
    "loss.magnitude": 1.0,
    "loss.gesture": 0.3,
    "training.num_epochs": 1,
    "logging.num_samples": 1,
}


@pytest.fixture(scope="module")
def run(data_set, tmp_path_factory):
    """One epoch of three steps; fewer blocks and windows, to compile less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steered, "DILATIONS", (1,))
        patch.setattr(steered, "GESTURE_DILATIONS", (1,))
        patch.setattr(losses, "MAGNITUDE_WINDOWS", (512,))
        yield small_run.trained(data_set, tmp_path_factory.mktemp("rate") / "run", **SETTINGS)


def _infos(folder, pattern: str) -> list:
    return [soundfile.info(path) for path in sorted(folder.glob(pattern))]


def test_samples_of_an_epoch_are_at_the_models_rate(run):
    found = _infos(run / "samples", "*/*.wav")
    assert len(found) == 6  # a sound and its reference of each part
    assert {(info.samplerate, info.frames) for info in found} == {(RATE_HZ, 2 * 59_049)}
    measured = [entry for entry in small_run.measured(run) if entry["part"] == "interpolation"]
    assert np.isfinite([entry["magnitude"] for entry in measured]).all()


@pytest.mark.parametrize("asked_hz", [None, 22_050, 48_000])
def test_generated_sounds_have_the_models_rate_or_the_one_that_is_asked_for(
    run, tmp_path, asked_hz
):
    generate(
        GenerateRequest(
            workdir=str(run),
            from_split="interpolation",
            output_dir=str(tmp_path / "out"),
            finish=Finish(sample_rate_hz=asked_hz),
        )
    )
    made = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    rate_hz = asked_hz or RATE_HZ
    assert made["settings"]["sample_rate_hz"] == rate_hz
    for output in made["outputs"]:
        info = soundfile.info(tmp_path / "out" / output["generated"])
        curves = curve_file.read(tmp_path / "out" / output["curves"])
        assert info.samplerate == rate_hz
        assert info.duration == pytest.approx(len(curves) * 243 / 22_050, abs=1e-4)
        assert output["duration_s"] == pytest.approx(info.duration)
        reference = soundfile.info(tmp_path / "out" / output["reference"])
        assert (reference.samplerate, reference.frames) == (RATE_HZ, 2 * 59_049)


def test_a_model_makes_sound_of_its_rate_in_python(run):
    model = load_model(workdir=str(run))
    hum = 0.3 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000)
    assert model.sample_rate_hz == RATE_HZ
    assert model.generate(hum, 16_000, steer="none").shape == (2 * 59_049,)
    followed = model.generate(hum, 16_000)
    assert len(followed) % 486 == 0
    assert len(followed) / RATE_HZ == pytest.approx(1.0, abs=0.02)


@pytest.mark.slow
def test_it_is_shown(run, tmp_path):
    visualise(VisualiseRequest(run, num_samples=1, output_dir=tmp_path / "shown"))
    assert "44,100 Hz" in (tmp_path / "shown" / "index.html").read_text("utf-8")


@pytest.mark.slow
def test_it_is_measured_at_22050_hz(run, tmp_path):
    evaluate(EvaluateRequest(workdir=str(run), output_dir=tmp_path, from_split="interpolation"))
    systems = json.loads((tmp_path / "interpolation.json").read_text("utf-8"))["systems"]
    assert {"model", "steered", "own_embedding"} <= systems.keys()
    for found in systems.values():
        assert np.isfinite([estimate["value"] for estimate in found.values()]).all()
    assert systems["oracle"]["log_spectral_distance"]["value"] == 0
