"""Recipes: log-mels of short sounds without their silence are those with it."""

import jax
import numpy as np
import pytest

from qvae_jax.audio.files import fit_length
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.data import recipes

SHORT = FrontEnd(duration_s=1.0)
LENGTHS = [1, 2, 399, 400, 5055, 5056, 5057, 6400, 11_455, 11_456, 11_457, 30_655, 31_999, 32_000]


@pytest.fixture(scope="module")
def compute():
    return recipes.logmel_of_padded(SHORT)


@pytest.fixture(scope="module")
def plain():
    return jax.jit(lambda waveform: log_mel(waveform[None], SHORT)[0])


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_silence_that_is_not_framed_changes_nothing(compute, plain, num_samples):
    sound = np.random.default_rng(num_samples).uniform(-1, 1, num_samples).astype(np.float32)
    expected = np.asarray(plain(fit_length(sound, SHORT.num_samples)))
    # A product of fewer rows may be summed in another order: float32's rounding of values to 2.
    np.testing.assert_allclose(compute(sound), expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize("duration_s", [0.1, 0.137, 1.0, 4.0, 10.0])
def test_padded_lengths_are_few_and_long_enough(duration_s):
    front_end = FrontEnd(duration_s=duration_s)
    lengths = range(1, front_end.num_samples + 1, 7)
    padded = {recipes.padded_length(n, front_end) for n in lengths}
    assert len(padded) <= recipes.LENGTHS and max(padded) == front_end.num_samples
    for n in lengths:
        found = recipes.padded_length(n, front_end)
        assert found == front_end.num_samples or found >= n + front_end.n_fft


def test_a_row_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    sounds = [rng.uniform(-1, 1, n).astype(np.float32) for n in (32_000, 100, 9_000)]
    recipe = recipes.logmels(SHORT)
    together = recipe.transform(sounds)
    assert together.shape == (3, *recipe.row_shape)
    for row, sound in zip(together, sounds):
        np.testing.assert_array_equal(recipe.transform([sound])[0], row)
