"""The systems: what each is made from, and how long its sounds are."""

import dataclasses
import inspect

import numpy as np
import pytest

from qvae_jax.audio import controls
from qvae_jax.audio.files import read_audio
from qvae_jax.audio.windows import Window
from qvae_jax.data.prepared import input_audio, target_audio
from qvae_jax.evaluation import adherence
from qvae_jax.evaluation.hearing import Hearing
from qvae_jax.evaluation.measuring import examples_of
from qvae_jax.evaluation.metrics import cosine_similarity, multi_resolution_stft
from qvae_jax.evaluation.systems import Example, Systems
from qvae_jax.generation.model import Model, load_model
from qvae_jax.generation.voice import curves_of
from qvae_jax.models import sound_encoder, stored
from qvae_jax.models.variables import Variables
from qvae_jax.runs import open_run

HOP_LENGTH = 243


class Singer:
    """A steered model in little: a run's model, but for a renderer that sings a sine."""

    is_steered = True

    def __init__(self, model, sample_rate_hz=22_050):
        self._model, self.sample_rate_hz = model, sample_rate_hz
        self.asked = []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def render(self, z, curves, **how):
        inspect.signature(Model.render).bind(self, z, curves, **how)
        self.asked.extend(zip(z, curves))
        return [self._sung(of_one) for of_one in curves]

    def _sung(self, curves):
        curve = np.repeat(curves, HOP_LENGTH * self.sample_rate_hz // 22_050, axis=0)
        hz = controls.hertz(curve[:, controls.PITCH])
        level = np.sqrt(10 ** (curve[:, controls.LOUDNESS] / 10))
        return level * np.sin(2 * np.pi * np.cumsum(hz) / self.sample_rate_hz)


@pytest.fixture(scope="module")
def model(frozen_run):
    return load_model(workdir=str(frozen_run))


@pytest.fixture(scope="module")
def examples(frozen_run):
    run = open_run(frozen_run)
    return examples_of(run.index, run.pairs("interpolation"))[:2]


@pytest.fixture(scope="module")
def references(data_set):
    return sorted((data_set / "references").iterdir())


def made_of(model, examples, training, trimmed=False):
    systems = Systems(model, Hearing(model.front_end, trimmed), training, training)
    [batch] = systems.of(examples)
    return batch, dict(batch.systems)


@pytest.fixture(scope="module")
def of_two_encoders(model):
    """The same model with a second encoder, and with that one alone."""
    config = dataclasses.replace(model.config, sound_encoder=True)
    drawn = stored.initial_variables(config, seed=1)
    both = Variables(*(new | own for new, own in zip(drawn, model.variables)))
    return Model(config, both), Model(*sound_encoder.one_alone(config, both, sounds=True))


def test_sounds_are_heard_by_the_encoder_of_sounds(model, of_two_encoders, examples, references):
    """References for own_embedding and the nearest one, and windows of a library."""
    both, second = of_two_encoders
    window = Window(references[0], 0.0, 1.0)
    rows = [*examples, Example(window, window, "tone")]
    singer = Singer(both)
    batch, made = made_of(singer, rows, references)
    hearing = Hearing(model.front_end)
    voices = np.stack([hearing.model_input(row.imitation) for row in rows])
    sounds = np.stack([hearing.model_input(row.reference) for row in rows])
    mu = np.concatenate([model.posterior(voices)[0][:2], second.posterior(voices)[0][2:]])
    np.testing.assert_allclose(batch.posterior[0], mu, rtol=1e-4, atol=1e-5)
    asked_for = [z for z, _ in singer.asked]
    assert len(asked_for) == 9  # steered, reference_curves and own_embedding of three rows
    np.testing.assert_allclose(asked_for[6:], second.posterior(sounds)[0], rtol=1e-4, atol=1e-5)
    known = np.stack([hearing.model_input(path) for path in references])
    features = np.concatenate([model.features(voices)[:2], second.features(voices)[2:]])
    places = cosine_similarity(features, second.features(known)).argmax(axis=1)
    for sound, place in zip(made["nearest"], places):
        np.testing.assert_array_equal(sound.whole.samples, target_audio(references[place]))


def test_windows_of_a_library_count_as_sounds_and_imitations_as_voices(model, examples, references):
    """To a model that believes nothing of a voice, which then has the mean's latent."""
    config = dataclasses.replace(model.config, standardise_features=True, voice_share=0.0)
    statistics = {
        name: np.float32(value).repeat(config.feature_dim())
        for name, value in (("standardise.mean", 0.01), ("standardise.spread", 1.0))
    }
    given = model.variables
    given = given._replace(batch_stats=given.batch_stats | statistics)
    deaf = Model(config, given)
    window = Window(examples[0].reference, 0.0, 1.0)
    rows = [*examples, Example(window, window, "tone")]
    batch, _ = made_of(deaf, rows, references)
    bias = given.params["mu_head.bias"]
    np.testing.assert_allclose(batch.posterior[0][:2], [bias, bias], atol=1e-6)
    assert np.abs(batch.posterior[0][2] - bias).max() > 1e-4


@pytest.mark.parametrize("sample_rate_hz", [22_050, 44_100])
def test_a_steered_model_is_given_the_curves_and_latents_of_its_systems(
    model, examples, references, sample_rate_hz
):
    singer = Singer(model, sample_rate_hz)
    if sample_rate_hz != 22_050:  # the run's own decoder has another rate
        singer.decode = lambda z, **how: np.zeros((len(z), 2 * 59_049))
    batch, made = made_of(singer, examples, references)
    assert list(made)[:5] == ["model", "steered", "reference_curves", "own_embedding", "silence"]
    imitations = [read_audio(e.imitation, 22_050, max_duration_s=1.0) for e in examples]
    voices = list(map(curves_of, imitations))
    curves = [curves_of(target_audio(e.reference)) for e in examples]
    inputs = np.stack([input_audio(e.reference, model.front_end) for e in examples])
    own_mu = model.posterior(inputs)[0]
    mu = batch.posterior[0]
    expected = [*zip(mu, voices), *zip(mu, curves), *zip(own_mu, curves)]
    assert len(singer.asked) == len(expected)
    for (z, given), (expected_z, expected_curves) in zip(singer.asked, expected):
        np.testing.assert_allclose(z, expected_z, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(given, expected_curves)
    for sound, voice in zip(made["steered"], batch.imitations):
        assert (len(sound.whole.samples), len(sound.fitted.samples)) == (91 * HOP_LENGTH, 59_049)
        found = adherence.differences(sound.whole.known(adherence.heard), voice)
        mean = lambda name: found[name].total / found[name].count
        assert mean("pitch_difference") < 1 and mean("voiced_share") > 0.9
    assert all(made[name][0].fitted is made[name][0].whole for name in ("model", "own_embedding"))


def test_baselines_of_an_imitation(model, examples, references):
    batch, made = made_of(model, examples, references)
    assert list(made) == [
        "model",
        "silence",
        "mean spectrum",
        "nearest",
        "nearest with the imitation's loudness",
        "imitation itself",
        "oracle",
    ]
    for place, example in enumerate(examples):
        sound_of = lambda name: made[name][place].whole.samples
        np.testing.assert_array_equal(sound_of("oracle"), target_audio(example.reference))
        imitation = read_audio(example.imitation, 22_050, max_duration_s=1.0)
        np.testing.assert_array_equal(sound_of("imitation itself"), imitation)
        assert len(made["imitation itself"][place].fitted.samples) == 59_049
        difference = lambda name: (
            adherence.differences(adherence.heard(sound_of(name)), batch.imitations[place])[
                "loudness_difference"
            ].total
        )
        assert difference("imitation itself") == 0
        assert difference("nearest with the imitation's loudness") < difference("nearest") / 2


def test_trimmed_systems_are_trimmed_alike(model, examples, references):
    batch, made = made_of(model, examples, references, trimmed=True)
    for name, sounds in made.items():
        peaks = [np.abs(sound.whole.samples).max() for sound in sounds]
        np.testing.assert_allclose(peaks, 0 if name == "silence" else 0.7, atol=0.01)
    # What is heard of the reference is what a system's sound is compared with.
    assert multi_resolution_stft(made["oracle"][0].fitted, batch.targets[0]) == 0
