"""The QVAE's loss outside a step: evaluation, and what the diagnostics draw."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from filled import REDUCED_SAMPLES, reduced_stages
from qvae_jax import losses
from qvae_jax.models import decoders, layers, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.training.qvae_loss import FEATURE_NOISE, QVAELoss
from reduced_batches import BATCH, FEATURE_BATCH, SHALLOW

NAMES = ("total", *losses.ORIGINAL, "kl")


def reduced_qvae(**changes) -> QVAE:
    """mn01 around the reduced decoder, drawn."""
    with reduced_stages():
        config = QVAEConfig(encoder_width=0.1, latent_dim=4, **changes)
        return QVAE(config, rng=np.random.default_rng(0))


def qvae_loss(graphdef, **changes) -> QVAELoss:
    options = dict(
        weights=losses.LossWeights(),
        beta=optax.constant_schedule(0.0),
        precomputed_features=True,
        train_layers=frozenset(),
        temperature=0.0,
    )
    return QVAELoss(graphdef, **options | changes)


def test_evaluation_decodes_the_mean_with_running_statistics():
    # Those of the fine-tuned layers too.
    graphdef, given = variables.split(reduced_qvae(**SHALLOW))
    loss = qvae_loss(
        graphdef,
        beta=lambda number: 0.1 * number,
        precomputed_features=False,
        train_layers=frozenset({1, 4}),
    )

    @jax.jit
    def expected(given, inputs):
        model = variables.merge(graphdef, given)
        mu, logvar = model.posterior(model.features(inputs))
        return model.decode(mu), jnp.mean(losses.kl_divergence(mu, logvar))

    metrics, audio = jax.jit(loss.evaluate)(given, BATCH, 5)
    expected_audio, expected_kl = expected(given, BATCH["inputs"])
    np.testing.assert_allclose(audio, expected_audio, atol=1e-5)
    assert float(metrics["kl"]) == pytest.approx(float(expected_kl), rel=1e-5)
    weighted = metrics["spectral"] + 1.5 * metrics["mel"] + metrics["waveform"]
    assert float(metrics["total"]) == pytest.approx(float(weighted + 0.5 * metrics["kl"]))


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_filling_rows_do_not_count_in_evaluation(batch_statistics):
    graphdef, given = variables.split(reduced_qvae())
    evaluation = qvae_loss(graphdef, beta=lambda number: 0.5).evaluate
    run = jax.jit(functools.partial(evaluation, batch_statistics=batch_statistics))
    evaluate = lambda batch: run(given, batch, 0)[0]
    valid = np.array([True, False, True])
    spoilt = {name: np.array(array) for name, array in FEATURE_BATCH.items()}
    spoilt["inputs"][1], spoilt["targets"][1] = 7.0, np.nan
    metrics = evaluate(FEATURE_BATCH | {"valid": valid})
    spoilt_metrics = evaluate(spoilt | {"valid": valid})
    alone = evaluate({name: array[valid] for name, array in FEATURE_BATCH.items()})
    for name in NAMES:
        assert float(metrics[name]) == pytest.approx(float(alone[name]), rel=1e-6), name
        assert float(spoilt_metrics[name]) == pytest.approx(float(alone[name]), rel=1e-6), name


def test_batch_statistics_drop_nothing_out(monkeypatch):
    monkeypatch.setattr(decoders.Improved, "WIDTHS", (8,) * 3)
    monkeypatch.setattr(QVAELoss, "_compared", lambda *given: (0.0, {}))
    graphdef, given = variables.split(reduced_qvae(decoder_type="improved", decoder_dropout=0.9))
    run = jax.jit(functools.partial(qvae_loss(graphdef).evaluate, batch_statistics=True))
    valid = np.array([True, False, True])
    # Statistics of two rows multiply what float32 rounds.
    with jax.enable_x64(True):
        given, batch = jax.tree.map(np.float64, (given, FEATURE_BATCH))
        _, padded = run(given, batch | {"valid": valid}, 0)
        _, alone = run(given, {name: array[valid] for name, array in batch.items()}, 0)
        padded, alone = np.asarray(padded), np.asarray(alone)
    np.testing.assert_allclose(padded[valid], alone, atol=1e-9)
    assert np.ptp(alone) > 1e-3


def test_draws_are_around_the_mean_and_each_is_another():
    graphdef, given = variables.split(reduced_qvae())
    loss, inputs = qvae_loss(graphdef), FEATURE_BATCH["inputs"]
    mu, logvar = loss.posterior(given, inputs)
    draws = jax.jit(lambda key: loss.draws(given, inputs, key, 2))(jax.random.key(0))
    assert draws.shape == (3, 2, REDUCED_SAMPLES)
    key = jax.random.split(jax.random.key(0), 2)[1]
    z = mu + jnp.exp(0.5 * logvar) * jax.random.normal(key, mu.shape)
    expected = variables.merge(graphdef, given).decode(z)
    np.testing.assert_allclose(draws[:, 1], expected, atol=1e-5)
    assert np.abs(draws[:, 0] - draws[:, 1]).max() > 1e-3


def test_noise_on_the_features_is_a_share_of_their_spread():
    graphdef, given = variables.split(reduced_qvae(standardise_features=True))
    random = np.random.default_rng(3)
    stats = {
        "standardise.mean": random.standard_normal(given.batch_stats["standardise.mean"].shape),
        "standardise.spread": 0.5 + random.random(given.batch_stats["standardise.spread"].shape),
    }
    stats = {name: array.astype(np.float32) for name, array in stats.items()}
    given = given._replace(batch_stats=given.batch_stats | stats)
    key, features = jax.random.key(7), FEATURE_BATCH["inputs"]
    total_of = lambda noise: jax.jit(qvae_loss(graphdef, feature_noise=noise))
    _, (terms, _) = total_of(0.25)(given, FEATURE_BATCH, key, 0)

    drawn = jax.random.normal(jax.random.fold_in(key, FEATURE_NOISE), features.shape)
    wide = layers.wideness(features.shape[-1])
    noisy = features + 0.25 * stats["standardise.spread"] / wide * drawn
    mu, logvar = variables.merge(graphdef, given).posterior(noisy)
    expected = jnp.mean(losses.kl_divergence(mu, logvar))
    assert float(terms["kl"]) == pytest.approx(float(expected), rel=1e-5)
    _, (without, _) = total_of(0.0)(given, FEATURE_BATCH, key, 0)
    assert abs(float(terms["kl"]) - float(without["kl"])) > 1e-3
