"""Forms for graphs of ONNX beside the plain ones."""

import jax
import numpy as np
import pytest

from qvae_jax.audio import onnx, pitch


@pytest.mark.parametrize("band", pitch.BANDS)
def test_correlations_are_those_of_the_transform(band):
    longest = band.longest_lag
    frames = np.random.default_rng(0).standard_normal((5, band.window + longest))
    given = (frames.astype(np.float32), band.window, band.first_lag - 1, longest + 1)
    lags = range(band.first_lag - 1, longest + 1)
    wanted = np.stack(
        [np.sum(frames[:, : band.window] * frames[:, lag : lag + band.window], 1) for lag in lags],
        axis=1,
    )
    for form in (onnx.correlated, pitch._correlated):
        found = jax.jit(form, static_argnums=(1, 2, 3))(*given)
        np.testing.assert_allclose(found, wanted, atol=1e-6 * band.window)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 17, 243, 908])
def test_the_cheapest_path_is_the_same(length):
    rng = np.random.default_rng(length)
    first = rng.uniform(0, 1, 7).astype(np.float32)
    steps = rng.uniform(0, 1, (length - 1, 7, 7)).astype(np.float32)
    steps[length // 2 :] = np.where(np.eye(7, dtype=bool), 0, pitch.NEVER)  # beyond a sound's end
    wanted = jax.jit(pitch._cheapest)(first, steps)
    np.testing.assert_array_equal(jax.jit(onnx.cheapest)(first, steps), wanted)
