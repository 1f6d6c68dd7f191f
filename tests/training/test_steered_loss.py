"""The loss of a steered model: which curves are rendered, what each part of it teaches, rows that fill."""

import functools

import jax
import numpy as np
import optax
import pytest

import compiling
import golden_rules
from forms import noise
from qvae_jax import losses
from qvae_jax.audio import controls
from qvae_jax.audio.controls import HOP_LENGTH
from qvae_jax.models import steered, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig, sample_latent
from qvae_jax.training.steered_loss import SteeredLoss

FRAMES = 27
SAMPLES = FRAMES * HOP_LENGTH
BATCH = 3
WEIGHTS = losses.LossWeights(spectral=0.0, mel=0.0, waveform=0.0, magnitude=1.0, gesture=0.3)
KEY = jax.random.key(0)


@pytest.fixture(scope="module", autouse=True)
def short():
    """Sounds of 27 frames, one window for their loss, and few blocks, all to compile less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steered, "GESTURE_FIRST_FRAMES", 1)
        patch.setattr(steered, "DILATIONS", (1, 2))
        patch.setattr(steered, "GESTURE_DILATIONS", (1,))
        patch.setattr(losses, "MAGNITUDE_WINDOWS", (256,))
        yield


@pytest.fixture(scope="module")
def batch() -> dict:
    targets = golden_rules.signals(BATCH, SAMPLES, 22_050, 3)
    lengths = np.array([SAMPLES, 3000, 5000], np.int32)
    targets = np.float32(targets * (np.arange(SAMPLES) < lengths[:, None]))
    curves = np.asarray(jax.jit(controls.controls)(targets, lengths))
    return {
        "inputs": noise(BATCH, 96) / 10,
        "targets": targets,
        "controls": curves,
        "lengths": lengths,
        "told": np.array([[True] * 4, [False] * 4, [True, False, True, True]]),
    }


@pytest.fixture(scope="module")
def model(short):
    config = QVAEConfig(encoder_width=0.1, latent_dim=4, decoder_type="steered", decoder_width=0.02)
    return variables.split(QVAE(config, rng=np.random.default_rng(0)))


def _loss(structure, **changes) -> SteeredLoss:
    options = dict(
        weights=WEIGHTS,
        beta=optax.constant_schedule(0.01),
        precomputed_features=True,
        train_layers=frozenset(),
        temperature=1.0,
    )
    return SteeredLoss(structure, **options | changes)


@pytest.fixture(scope="module")
def train(model):
    """(batch, weights) -> (total, terms, gradient by name); compiled for each weights."""
    structure, given = model

    @functools.cache
    def program(weights):
        loss = _loss(structure, weights=weights)

        def total(params, batch):
            found, (terms, _) = loss(given._replace(params=params), batch, KEY, 0)
            return found, terms

        return jax.jit(jax.value_and_grad(total, has_aux=True))

    def run(batch, weights=WEIGHTS):
        # Two programs, whose gradients are compared: optimised, they round alike.
        with compiling.with_optimisation():
            (total, terms), gradient = program(weights)(given.params, batch)
        return float(total), {name: float(term) for name, term in terms.items()}, gradient

    return run


@pytest.fixture(scope="module")
def evaluate(model):
    structure, given = model
    program = jax.jit(_loss(structure).evaluate)
    return lambda batch: program(given, batch, 0)


def _of(gradient: dict, prefix: str) -> dict[str, np.ndarray]:
    return {name: np.asarray(x) for name, x in gradient.items() if name.startswith(prefix)}


def test_its_terms_and_their_weights(train, batch):
    total, terms, gradient = train(batch)
    assert set(terms) == {"magnitude", "gesture", "kl", "beta"}
    weighted = terms["magnitude"] + 0.3 * terms["gesture"] + 0.01 * terms["kl"]
    assert total == pytest.approx(weighted, rel=1e-5)
    for name, array in gradient.items():
        assert np.isfinite(array).all(), name
        if not name.startswith("encoder."):
            assert np.any(array), name


def test_a_gesture_learns_from_its_distance_alone(train, batch):
    """Not from the sound that is made of it where a curve is not told."""
    _, _, of_both = train(batch)
    _, _, of_sound = train(batch, losses.LossWeights(0.0, 0.0, 0.0, magnitude=1.0))
    assert not any(x.any() for x in _of(of_sound, "decoder.gesture.").values())
    # And a renderer from the sound alone.
    for name, array in _of(of_sound, "decoder.renderer.").items():
        np.testing.assert_allclose(of_both[name], array, atol=1e-4 * np.abs(array).max())


def test_where_a_curve_is_not_told_the_gestures_takes_its_place(train, batch, model):
    structure, given = model

    @jax.jit
    def gestured(inputs):
        own = variables.merge(structure, given)
        latent_key, _ = jax.random.split(KEY)
        mu, logvar = own.posterior(inputs)
        z = sample_latent(mu, logvar, latent_key)
        return steered.within_range(own.decoder.gesture(z)[0])

    mixed = np.where(batch["told"][:, None], batch["controls"], gestured(batch["inputs"]))
    expected = train(batch)[1]["magnitude"]
    every = {"told": np.ones((BATCH, 4), bool)}
    assert train(batch | {"controls": mixed} | every)[1]["magnitude"] == pytest.approx(
        expected, rel=1e-5
    )
    assert train(batch | every)[1]["magnitude"] != pytest.approx(expected, rel=1e-3)


def test_evaluation_renders_the_mean_by_the_targets_curves_with_the_same_noise(
    evaluate, batch, model
):
    structure, given = model
    metrics, audio = evaluate(batch)

    @jax.jit
    def directly(inputs, curves):
        own = variables.merge(structure, given)
        mu, _ = own.posterior(inputs)
        seeds = np.zeros((BATCH, 2), np.uint32)
        by_gesture = own.decoder(mu, seeds=seeds)
        return own.decoder.renderer(mu, curves, seeds), by_gesture

    expected, by_gesture = directly(batch["inputs"], batch["controls"])
    np.testing.assert_allclose(audio, expected, atol=1e-5)
    distances = [
        float(losses.magnitude_distance(x, batch["targets"], batch["lengths"]).mean())
        for x in (expected, by_gesture)
    ]
    assert float(metrics["magnitude"]) == pytest.approx(distances[0], rel=1e-4)
    assert float(metrics["by_gesture"]) == pytest.approx(distances[1], rel=1e-4)
    assert set(metrics) == {"total", "magnitude", "gesture", "kl", "by_gesture"}


def test_rows_that_fill_a_batch_change_nothing(evaluate, batch):
    valid = np.array([True, False, True])
    spoilt = {name: np.array(array) for name, array in batch.items()}
    spoilt["inputs"][1], spoilt["lengths"][1] = 7.0, 0
    spoilt["targets"][1], spoilt["controls"][1] = np.nan, np.nan
    found, audio = evaluate(spoilt | {"valid": valid})
    alone, audio_alone = evaluate({name: array[valid] for name, array in batch.items()})
    for name in alone:
        assert float(found[name]) == pytest.approx(float(alone[name]), rel=1e-5), name
    np.testing.assert_allclose(audio[valid], audio_alone, atol=1e-6)


def test_blocks_in_bfloat16_give_losses_in_float32(model, batch):
    structure, given = model
    loss = _loss(structure, compute_dtype=jax.numpy.bfloat16)
    total, (terms, _) = jax.eval_shape(lambda: loss(given, batch, KEY, 0))
    assert total.dtype == np.float32 and {x.dtype for x in terms.values()} == {np.dtype("float32")}
    program = str(jax.make_jaxpr(lambda: loss(given, batch, KEY, 0)[0])())
    assert program.count("bf16[") > 100
