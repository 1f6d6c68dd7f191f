"""Encoders that hear: what they embed, whose they are, and by what one is told from another."""

import dataclasses

import numpy as np
import pytest

import small_encoders
import steered_model
from qvae_jax.models import stored
from qvae_jax.retrieval import encoders
from qvae_jax.system.errors import UserError

NUM_SAMPLES = steered_model.CONFIG.front_end.num_samples


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return small_encoders.write_pair(tmp_path_factory.mktemp("pair"))


def waveforms(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(NUM_SAMPLES // (i + 1)).astype(np.float32) for i in range(count)]


def test_embeddings_are_the_models_features_one_by_one_or_together():
    config = dataclasses.replace(steered_model.CONFIG, feature_space="final")
    model = steered_model.Model(config, stored.initial_variables(config, seed=0))
    own, of_library = encoders.of_model(model.config, model.variables)
    assert own is of_library
    heard = waveforms(5)
    together = own.embed(heard, "abcde", batch_size=2)
    assert together.dtype == np.float32 and together.shape == (5, own.dim)
    for waveform, row in zip(heard, together):
        padded = np.pad(waveform, (0, NUM_SAMPLES - len(waveform)))
        np.testing.assert_allclose(model.features(padded[None])[0], row, atol=1e-6)
        np.testing.assert_array_equal(own.embed([waveform], "a", batch_size=2)[0], row)


def test_of_a_pair_each_hears_its_own(pair):
    both = encoders.load_encoders(pair)
    alone = encoders.load_encoders(pair / "reference")
    assert alone.imitation is alone.reference
    assert both.reference.digest == alone.reference.digest != both.imitation.digest
    heard = waveforms(1)
    embedded = [each.embed(heard, "a", 1) for each in (*both, alone.reference)]
    np.testing.assert_array_equal(embedded[1], embedded[2])
    assert np.abs(embedded[0] - embedded[1]).max() > 1e-3


def test_a_pair_that_cannot_be_compared_is_refused(tmp_path):
    small_encoders.write(tmp_path / "imitation")
    small_encoders.write(tmp_path / "reference", encoder_width=0.3)
    with pytest.raises(UserError, match="are no pair: embeddings of"):
        encoders.load_encoders(tmp_path)


def test_a_whole_models_folder_has_its_encoder(tmp_path):
    steered_model.write(tmp_path / "model")
    own = encoders.of_model(steered_model.CONFIG, steered_model.model().variables)
    assert encoders.load_encoders(tmp_path / "model").imitation.digest == own.imitation.digest


def test_a_model_has_the_other_of_the_pair_that_it_still_has_one_of(pair, tmp_path):
    config, folder = steered_model.CONFIG, str(pair)
    model = stored.initial_variables(config, seed=0, encoder_checkpoint=folder)
    known = encoders.load_encoders(pair)
    kept = encoders.of_model(config, model, folder)
    assert [each.digest for each in kept] == [each.digest for each in known]
    name = "encoder.features.16.kernel"
    tuned = model._replace(params=model.params | {name: 2 * model.params[name]})
    for of, pretrained in ((tuned, folder), (model, str(tmp_path / "gone")), (model, "")):
        own = encoders.of_model(config, of, pretrained)
        assert own.imitation is own.reference


def test_what_embeds_otherwise_has_another_digest_and_a_head_does_not_count():
    def digest(seed: int = 0, **changes) -> str:
        return encoders.Encoder(*small_encoders.drawn(seed, **changes)).digest

    own = digest()
    assert digest(encoder_head="fully_convolutional", encoder_classes=3) == own
    longer = dataclasses.replace(small_encoders.CONFIG.front_end, duration_s=2.0)
    assert len({own, digest(seed=1), digest(front_end=longer)}) == 3


def test_what_is_not_finite_is_named():
    config = steered_model.CONFIG
    model = stored.initial_variables(config, seed=0)
    broken = {n: np.full_like(a, np.nan) for n, a in model.params.items() if "features.16" in n}
    own, _ = encoders.of_model(config, model._replace(params=model.params | broken))
    with pytest.raises(UserError, match="not finite for hum.wav: its weights are damaged"):
        own.embed(waveforms(1), ["hum.wav"], 1)
