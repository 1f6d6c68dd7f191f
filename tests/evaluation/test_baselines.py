"""Baselines: the nearest reference by features, and the mean spectrum made audible."""

import numpy as np
import pytest

from qvae_jax.audio import controls
from qvae_jax.audio.files import read_audio
from qvae_jax.data.prepared import target_audio
from qvae_jax.evaluation import baselines
from qvae_jax.evaluation.hearing import Hearing
from qvae_jax.generation.model import load_model
from qvae_jax.generation.voice import curves_of


def test_the_nearest_reference_is_that_of_the_closest_features(frozen_run, data_set):
    model = load_model(workdir=str(frozen_run))
    references = sorted((data_set / "references").iterdir())
    waveforms = np.zeros((8, 32_000), np.float32)
    for row, path in enumerate(references):
        waveforms[row] = read_audio(path, 32_000)[:32_000]
    nearest = baselines.nearest_reference(model, references, Hearing(model.front_end))
    expected = np.stack([target_audio(path) for path in references])
    np.testing.assert_array_equal(nearest(model.features(waveforms)[:4]), expected)


@pytest.mark.filterwarnings("error::FutureWarning")  # of an argument that librosa has renamed
def test_the_mean_spectrum_has_the_references_spectrum():
    time_s = np.arange(59_049) / 22_050
    tones = [0.2 * np.sin(2 * np.pi * f * time_s) for f in (500, 3_000)]
    sound = baselines.mean_spectrum(tones)
    spectrum = np.abs(np.fft.rfft(sound))
    frequencies = np.fft.rfftfreq(len(sound), 1 / 22_050)
    near = sum((np.abs(frequencies - f) < 60) for f in (500, 3_000)).astype(bool)
    assert np.sum(spectrum[near] ** 2) > 0.95 * np.sum(spectrum**2)
    assert sound.shape == (59_049,) and sound.dtype == np.float32
    np.testing.assert_array_equal(sound, baselines.mean_spectrum(tones))


def test_a_sound_takes_the_loudness_of_another():
    time_s = np.arange(59_049) / 22_050
    swelling = 0.3 * np.sin(2 * np.pi * 700 * time_s) * np.minimum(0.1 + time_s, 1)
    noise = np.random.default_rng(0).standard_normal(59_049) * 10 ** (-1.5 - time_s / 4)
    loudness = lambda samples: curves_of(samples)[:, controls.LOUDNESS]
    wanted_db = loudness(swelling)
    own_db = loudness(noise)
    found = baselines.with_loudness(noise, own_db, wanted_db)
    assert found.dtype == np.float32 and np.abs(found).max() <= 1
    # A gain moves within the 46 ms of a frame, so not each is met exactly.
    assert np.abs(loudness(found) - wanted_db)[2:-2].mean() < 1
    assert np.abs(own_db - wanted_db)[2:-2].mean() > 10


def test_silence_is_made_no_louder_than_the_bound():
    quiet = np.full(500, 1e-3)
    levels = [np.full(3, -100.0), np.full(3, -20.0)]
    np.testing.assert_allclose(baselines.with_loudness(quiet, *levels), 0.1, rtol=1e-5)
    np.testing.assert_allclose(baselines.with_loudness(quiet, *levels[::-1]), 1e-7, rtol=1e-5)
