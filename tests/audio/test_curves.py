"""Curves smoothed, stretched and transposed."""

import numpy as np
import pytest

from qvae_jax.audio import curves
from qvae_jax.audio.controls import CENTROID, LOUDNESS, PERIODICITY, PITCH

RAMP = np.linspace([-60, 70, 50, 0], [-20, 90, 62, 1], 41).astype(np.float32)


def test_a_median_takes_away_what_is_short_and_keeps_steps():
    found = np.repeat(RAMP[[0, -1]], 20, axis=0)
    spoilt = found.copy()
    spoilt[7] += 3
    smoothed = curves.smoothed(spoilt, 5)
    np.testing.assert_array_equal(smoothed[:, :PERIODICITY], found[:, :PERIODICITY])
    np.testing.assert_array_equal(smoothed[:, PERIODICITY], spoilt[:, PERIODICITY])
    np.testing.assert_array_equal(curves.smoothed(spoilt, 1), spoilt)


@pytest.mark.parametrize("num_frames", [1, 20, 41, 82, 410])
def test_a_stretched_ramp_is_a_ramp(num_frames):
    found = curves.stretched(RAMP, num_frames)
    assert found.shape == (num_frames, 4) and found.dtype == np.float32
    # The middle of frame n is at (n + 1/2) of num_frames, of which the ramp has 41.
    places = (np.arange(num_frames) + 0.5) * 41 / num_frames - 0.5
    expected = RAMP[0] + np.clip(places, 0, 40)[:, None] / 40 * (RAMP[-1] - RAMP[0])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if num_frames == len(RAMP):
        np.testing.assert_array_equal(found, RAMP)


def test_transposing_moves_centroid_and_pitch():
    moved = curves.transposed(RAMP, -7.5) - RAMP
    np.testing.assert_allclose(moved[:, [CENTROID, PITCH]], -7.5, atol=1e-5)
    np.testing.assert_array_equal(moved[:, [LOUDNESS, PERIODICITY]], 0)
