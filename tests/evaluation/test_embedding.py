"""Embedders: whose they are, any number of sounds, and values that are finite."""

import numpy as np
import pytest

import small_run
from qvae_jax import configuration
from qvae_jax.evaluation import embedding
from qvae_jax.generation.model import Model, load_model
from qvae_jax.models import stored
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError


def test_an_embedder_of_the_models_own_weights_is_not_independent(frozen_run, tmp_path):
    model = load_model(workdir=str(frozen_run))
    prefix = "encoder."
    own = Variables(
        *(
            {name.removeprefix(prefix): x for name, x in part.items() if name.startswith(prefix)}
            for part in model.variables
        )
    )
    own.params["features.16.kernel"] = 2 * np.asarray(own.params["features.16.kernel"])
    description = {"kind": "encoder", "model": {"encoder_width": 0.1, "front_end": {}}}
    stored.save_model(tmp_path / "tuned", description, own)
    assert not embedding.load_embedder(str(tmp_path / "tuned"), model).independent


@pytest.fixture(scope="module")
def model(data_set) -> Model:
    config = small_run.config(data_set)
    model_config = configuration.model_config(config)
    return Model(model_config, configuration.initial_variables(config, model_config))


def test_any_number_of_sounds_is_what_they_are_one_by_one(model):
    embedder = embedding.load_embedder(None, model)
    sounds = np.random.default_rng(0).standard_normal((11, 59_049)).astype(np.float32) / 10
    together = embedder.embed(sounds)
    assert together.shape[0] == 11 and not embedder.independent
    alone = np.concatenate([embedder.embed(sound[None]) for sound in sounds])
    largest = np.abs(together).max()  # of an encoder with random weights next to nothing
    np.testing.assert_allclose(together / largest, alone / largest, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01 * largest


def test_embeddings_that_are_not_finite_are_refused(model, monkeypatch):
    spoilt = lambda given, waveforms: np.full((len(waveforms), 4), np.nan)
    monkeypatch.setattr(embedding, "_pooled", lambda *_: spoilt)
    with pytest.raises(UserError, match="The embedder gives values that are not finite"):
        embedding.load_embedder(None, model).embed(np.zeros((1, 59_049), np.float32))
