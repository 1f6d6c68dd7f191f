"""Embedders: whose they are, any number of sounds, and values that are finite."""

import dataclasses

import jax
import numpy as np
import pytest

import small_encoders
import small_run
import steered_model
from qvae_jax import configuration
from qvae_jax.evaluation import embedding
from qvae_jax.generation.model import Model, load_model
from qvae_jax.models import stored, variables
from qvae_jax.models.aisfx import AiSFX
from qvae_jax.models.judges import JUDGES
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.models.samplecnn import SampleCNNTagger
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
    assert not embedding.load_embedder(str(tmp_path / "tuned"), model).independent_of_encoder


@pytest.fixture(scope="module")
def model(data_set) -> Model:
    config = small_run.config(data_set)
    model_config = configuration.model_config(config)
    return Model(model_config, configuration.initial_variables(config, model_config))


def test_any_number_of_sounds_is_what_they_are_one_by_one(model):
    embedder = embedding.load_embedder(None, model)
    sounds = np.random.default_rng(0).standard_normal((11, 59_049)).astype(np.float32) / 10
    together = embedder.embed(sounds)
    assert together.shape[0] == 11 and not embedder.independent_of_encoder
    alone = np.concatenate([embedder.embed(sound[None]) for sound in sounds])
    largest = np.abs(together).max()  # of an encoder with random weights next to nothing
    np.testing.assert_allclose(together / largest, alone / largest, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01 * largest


def test_of_a_pair_of_encoders_the_one_that_hears_sounds_embeds(model, tmp_path, monkeypatch):
    description = {"kind": "encoder", "model": {"encoder_width": 0.1, "front_end": {}}}
    for seed, name in enumerate(("imitation", "reference")):
        network = encoder_network(QVAEConfig(encoder_width=0.1), rng=np.random.default_rng(seed))
        folder = tmp_path / "pair" / name
        stored.save_model(folder, description, variables.split(network)[1])
    monkeypatch.setattr(embedding, "_by_encoder", lambda config, given, whole_model: given)
    pair, reference = (
        embedding.load_embedder(str(tmp_path / folder), model)
        for folder in ("pair", "pair/reference")
    )
    assert pair.name == f"the encoder in {tmp_path / 'pair'}"
    for name, array in pair.embed.params.items():
        np.testing.assert_array_equal(array, reference.embed.params[name])


def test_of_a_models_two_encoders_the_one_that_hears_sounds_embeds(tmp_path):
    two = steered_model.model(steered_model.TWO_ENCODERS)
    second = steered_model.of_one_encoder(two, sounds=True)
    sounds = np.random.default_rng(0).standard_normal((1, 59_049)).astype(np.float32) / 10
    found, expected = (embedding.load_embedder(None, m).embed(sounds) for m in (two, second))
    np.testing.assert_array_equal(found, expected)
    own = {n.removeprefix("encoder."): a for n, a in second.variables.params.items()}
    stats = {n.removeprefix("encoder."): a for n, a in second.variables.batch_stats.items()}
    config, drawn = small_encoders.drawn()
    of_sounds = Variables(*({n: x[n] for n in d} for x, d in zip((own, stats), drawn)))
    description = {"kind": "encoder", "model": dataclasses.asdict(config)}
    stored.save_model(tmp_path / "own", description, of_sounds)
    assert not embedding.load_embedder(str(tmp_path / "own"), two).independent_of_encoder


@pytest.fixture(scope="module")
def judge_folders(tmp_path_factory) -> dict[str, str]:
    """Judges with drawn weights, by their kind."""
    folder = tmp_path_factory.mktemp("judges")
    for kind, network in DRAWN.items():
        given = variables.split(network(rng=np.random.default_rng(1)))[1]
        model = {"num_tags": 50} if kind == "samplecnn" else {}
        stored.save_model(folder / kind, {"kind": kind, "model": model}, given)
    return {kind: str(folder / kind) for kind in DRAWN}


DRAWN = {"samplecnn": SampleCNNTagger, "aisfx": AiSFX}


@pytest.mark.parametrize("kind", DRAWN)
def test_a_judge_hears_the_sound_at_its_own_rate_and_is_independent(
    kind, model, judge_folders, monkeypatch
):
    monkeypatch.setattr(embedding, "BATCH_SIZE", 1)
    embedder = embedding.load_embedder(judge_folders[kind], model)
    assert embedder.name.startswith(f"{JUDGES[kind].title} in {judge_folders[kind]}, which learnt")
    assert embedder.name.endswith("and hears the first 2.3 s") == (kind == "aisfx")
    assert embedder.independent_of_encoder and embedder.independent_of_audioset
    time = np.arange(59_049) / 22_050
    sound = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    found = embedder.embed(sound[None])
    network = DRAWN[kind](rng=np.random.default_rng(1))
    time = np.arange(network.num_samples) / network.sample_rate_hz
    heard = np.sin(2 * np.pi * 440 * time).astype(np.float32)[None]
    expected = np.asarray(jax.jit(network.embed)(heard))
    assert found.shape == (1, 512)
    np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())


def test_embeddings_that_are_not_finite_are_refused(model, monkeypatch):
    spoilt = lambda given, waveforms: np.full((len(waveforms), 4), np.nan)
    monkeypatch.setattr(embedding, "_pooled", lambda *_: spoilt)
    with pytest.raises(UserError, match="The embedder gives values that are not finite"):
        embedding.load_embedder(None, model).embed(np.zeros((1, 59_049), np.float32))
