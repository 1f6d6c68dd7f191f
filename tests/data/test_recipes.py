"""Recipes: log-mels of short sounds without their silence are those with it."""

import dataclasses

import jax
import numpy as np
import pytest

from qvae_jax.audio.files import fit_length
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.data import recipes
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAE, QVAEConfig

SHORT = FrontEnd(duration_s=1.0)
SMALL = QVAEConfig(encoder_width=0.1, latent_dim=2, decoder_width=0.05, front_end=SHORT)
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


def test_an_encoders_map_goes_on_where_it_was_cut():
    """From the cached map and from the cached log-mel the features are the same."""
    model_config = dataclasses.replace(SMALL, feature_space="4")
    graphdef, given = variables.split(QVAE(model_config, rng=np.random.default_rng(0)))
    rng = np.random.default_rng(1)
    sounds = [rng.uniform(-1, 1, n).astype(np.float32) for n in (32_000, 9_000)]
    logmels = recipes.logmels(SHORT).transform(sounds).astype(recipes.LOGMEL_DTYPE)

    def features(inputs, first_layer):
        model = variables.merge(graphdef, given)
        return jax.jit(lambda x: model.features(x, first_layer=first_layer))(inputs)

    expected = features(logmels.astype(np.float32), 0)
    recipe = recipes.maps(model_config, given, 3)
    maps = recipe.transform(sounds)
    assert maps.shape == (2, *recipe.row_shape) and maps.dtype == recipe.dtype
    np.testing.assert_allclose(features(maps, 3), expected, rtol=0, atol=1e-6)


def test_the_map_of_the_default_fine_tuning_is_smaller_than_its_log_mel():
    model_config = QVAEConfig()
    assert model_config.map_shape(10) == (8, 63, 80)
    assert 4 * 8 * 63 * 80 < recipes.logmels(model_config.front_end).row_bytes == 256_000


def test_maps_depend_on_the_layers_before_them_alone():
    _, given = variables.split(QVAE(SMALL, rng=np.random.default_rng(0)))

    def parameters(changed: str, first_layer: int) -> dict:
        params = {n: a + 1 if n.startswith(changed) else a for n, a in given.params.items()}
        return recipes.maps(SMALL, given._replace(params=params), first_layer).parameters

    unchanged = parameters("nothing", 11)
    assert parameters("encoder.features.11.", 11) == unchanged
    assert parameters("encoder.features.10.", 11) != unchanged
    assert parameters("nothing", 12) != unchanged
