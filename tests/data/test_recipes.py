"""Recipes: what the rows are made of, and what they depend on."""

import dataclasses

import jax
import numpy as np

from qvae_jax.audio import controls
from qvae_jax.audio.files import write_wav
from qvae_jax.audio.host_logmel import host_log_mel
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.data import recipes
from qvae_jax.models import decoders, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig

SHORT = FrontEnd(duration_s=1.0)
SMALL = QVAEConfig(encoder_width=0.1, latent_dim=2, decoder_width=0.05, front_end=SHORT)


def test_a_row_is_the_log_mel_of_the_files_beginning(tmp_path):
    sound = np.random.default_rng(0).uniform(-1, 1, 40_000).astype(np.float32)
    write_wav(tmp_path / "sound.wav", sound, SHORT.sample_rate_hz)
    recipe = recipes.logmels(SHORT)
    rows = recipe.transform([recipe.load(tmp_path / "sound.wav")])
    assert rows.shape == (1, *recipe.row_shape) and rows.dtype == recipe.dtype
    expected = log_mel(sound[None, : SHORT.num_samples], SHORT)
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1.1e-3)  # of float16 below 4


def test_a_gesture_is_of_the_sound_without_its_padding(tmp_path):
    """Curves and length of a short, a long and an all but empty sound."""
    rng = np.random.default_rng(0)
    recipe = recipes.gestures()
    for num_samples, length in ((10_000, 10_000), (70_000, 59_049), (1, 1)):
        sound = rng.uniform(-1, 1, num_samples).astype(np.float32)
        write_wav(tmp_path / "sound.wav", sound, decoders.SAMPLE_RATE_HZ)
        (row,) = recipe.transform([recipe.load(tmp_path / "sound.wav")])
        assert row["length"] == length and row.dtype == recipe.dtype
        alone = jax.jit(controls.controls)(np.pad(sound, (0, 70_000))[:59_049], length)
        np.testing.assert_array_equal(row["controls"], alone)
        beyond = row["controls"][controls.num_frames(length) :, controls.LOUDNESS]
        assert (beyond == controls.LOUDNESS_FLOOR_DB).all()


def test_gestures_depend_on_what_the_curves_mean(monkeypatch):
    before = recipes.gestures().parameters
    monkeypatch.setattr(controls, "VERSION", controls.VERSION + 1)
    assert recipes.gestures().parameters != before
    assert recipes.targets().parameters.items() < before.items()


def test_an_encoders_map_goes_on_where_it_was_cut():
    """From the cached map and from the cached log-mel the features are the same."""
    model_config = dataclasses.replace(SMALL, feature_space="4")
    graphdef, given = variables.split(QVAE(model_config, rng=np.random.default_rng(0)))
    rng = np.random.default_rng(1)
    sounds = [rng.uniform(-1, 1, n).astype(np.float32) for n in (32_000, 9_000)]
    logmels = [host_log_mel(sound, SHORT).astype(recipes.LOGMEL_DTYPE) for sound in sounds]

    def features(inputs, first_layer):
        model = variables.merge(graphdef, given)
        return jax.jit(lambda x: model.features(x, first_layer=first_layer))(inputs)

    expected = features(np.stack(logmels).astype(np.float32), 0)
    recipe = recipes.maps(model_config, given, 3)
    maps = recipe.transform(logmels)
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
