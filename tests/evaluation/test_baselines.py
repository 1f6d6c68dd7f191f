"""Baselines: the nearest reference by features, and the mean spectrum made audible."""

import numpy as np

from qvae_jax.audio.files import read_audio
from qvae_jax.data.prepared import target_audio
from qvae_jax.evaluation import baselines
from qvae_jax.generation.model import load_model


def test_the_nearest_reference_is_that_of_the_closest_features(frozen_run, data_set):
    model = load_model(workdir=str(frozen_run))
    references = sorted((data_set / "references").iterdir())
    waveforms = np.zeros((8, 32_000), np.float32)
    for row, path in enumerate(references):
        waveforms[row] = read_audio(path, 32_000)[:32_000]
    nearest = baselines.nearest_reference(model, references, target_audio)
    expected = np.stack([target_audio(path) for path in references])
    np.testing.assert_array_equal(nearest(model.features(waveforms)[:4]), expected)


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
