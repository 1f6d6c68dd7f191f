"""The resampling in a graph, beside soxr's HQ quality, whose filter it has."""

import math

import jax
import numpy as np
import pytest
import soxr

from qvae_jax.exporting import resampling

resampled = jax.jit(resampling.resampled, static_argnums=1)
RATE_HZ = 32_000


def _signals(num_samples: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    time_s = np.arange(num_samples) / RATE_HZ
    impulse = np.zeros(num_samples)
    impulse[num_samples // 3] = 1.0
    sweep = np.sin(2 * np.pi * (50 * time_s + 15_900 / 2 * time_s**2 / time_s[-1]))
    return {"noise": rng.uniform(-1, 1, num_samples), "impulse": impulse, "sweep": sweep}


@pytest.mark.parametrize("num_samples", [9_600, 32_000, 32_001, 86_400])
def test_it_is_soxrs(num_samples):
    for signal in _signals(num_samples).values():
        signal = signal.astype(np.float32)
        ours = np.asarray(resampled(signal[None], RATE_HZ))[0]
        soxrs = soxr.resample(signal, RATE_HZ, 22_050, quality="HQ")
        assert len(ours) == math.ceil(num_samples * 22_050 / RATE_HZ)
        both = min(len(ours), len(soxrs))
        assert np.abs(ours[2:both] - soxrs[2:both]).max() <= 2e-6
        # Of a sound that begins at once, soxr makes the first two samples of less than its filter.
        assert np.abs(ours[:2] - soxrs[:2]).max() <= 0.02
        later = np.concatenate([np.zeros(640, np.float32), signal])
        ours = np.asarray(resampled(later[None], RATE_HZ))[0]
        soxrs = soxr.resample(later, RATE_HZ, 22_050, quality="HQ")
        assert np.abs(ours[: both + 441] - soxrs[: both + 441]).max() <= 2e-6


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_other_rates_of_a_front_end_are_soxrs_too(rate_hz):
    signal = np.random.default_rng(0).uniform(-1, 1, rate_hz // 2).astype(np.float32)
    signal[:640] = 0
    ours = np.asarray(resampled(signal[None], rate_hz))[0]
    soxrs = soxr.resample(signal, rate_hz, 22_050, quality="HQ")
    both = min(len(ours), len(soxrs))
    assert np.abs(ours[:both] - soxrs[:both]).max() <= 2e-6


def test_at_the_curves_own_rate_nothing_happens():
    signal = np.random.default_rng(0).uniform(-1, 1, (2, 99)).astype(np.float32)
    np.testing.assert_array_equal(resampled(signal, 22_050), signal)


def test_rows_are_as_alone():
    rows = np.random.default_rng(0).uniform(-1, 1, (3, 5_000)).astype(np.float32)
    together = np.asarray(resampled(rows, RATE_HZ))
    for row, found in zip(rows, together):
        np.testing.assert_allclose(resampled(row[None], RATE_HZ)[0], found, atol=1e-6)
