"""Mean and spread of the training inputs' features: what counts, the floor, and by which model."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qvae_jax.data.batches import Examples
from qvae_jax.data.index import Pair
from qvae_jax.data.prepared import Prepared
from qvae_jax.models import layers, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.training import hosts
from qvae_jax.training.feature_statistics import (
    SMALLEST_SHARE,
    mean_and_spread,
    with_statistics,
)

ROWS = 0.05 + 0.02 * np.random.default_rng(0).standard_normal((21, 6)).astype(np.float32)


def in_parts(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def prepared(inputs: np.ndarray, rows: list[int], first_layer: int = 0) -> Prepared:
    """A training part whose pairs use these rows of the inputs."""
    pairs = (Pair("1_x", "1_x", "x"),) * len(rows)
    input_rows = np.array(rows)
    examples = Examples(pairs, inputs, np.zeros((1, 1)), input_rows, np.zeros(len(rows), int))
    return Prepared(None, {"train": examples}, {}, first_layer)


@pytest.mark.parametrize("size", [1, 4, 21])
def test_they_are_those_of_all_rows_however_these_are_cut(size):
    mean, spread = mean_and_spread(in_parts(ROWS, size))
    assert mean.dtype == spread.dtype == np.float32
    np.testing.assert_array_equal(mean, ROWS.astype(np.float64).mean(0).astype(np.float32))
    np.testing.assert_allclose(spread, ROWS.astype(np.float64).std(0), rtol=1e-6)


@given(
    arrays(np.float32, (7, 3), elements=st.floats(-1, 1, width=32)),
    st.floats(-1000, 1000, width=32),
)
def test_nothing_is_magnified_more_than_the_floor_allows(rows, away):
    rows = rows + np.float32(away)
    mean, spread = mean_and_spread([rows])
    wide = rows.astype(np.float64)
    typical = np.sqrt(wide.var(0).mean())
    assert np.isfinite(mean).all() and (spread > 0).all()
    assert (spread >= 0.999 * min(1.0, SMALLEST_SHARE * typical)).all()
    # A float32 mean is half a rounding off, of which a tenth of the typical spread makes more.
    rounding = np.abs(mean) * np.finfo(np.float32).eps / spread
    standard = (wide - mean) / spread
    assert (np.abs(standard.mean(0)) <= 1e-6 + rounding).all()
    assert (np.sqrt(np.square(standard).mean(0)) <= 1.001 + rounding).all()


def test_a_dimension_that_never_moves_is_magnified_ten_times_as_much_as_the_typical_one():
    rows = ROWS.copy()
    rows[:, 2] = 0.3
    mean, spread = mean_and_spread(in_parts(rows, 5))
    typical = np.sqrt(rows.astype(np.float64).var(0).mean())
    assert mean[2] == np.float32(0.3)
    assert spread[2] == pytest.approx(SMALLEST_SHARE * typical, rel=1e-6)
    others = np.delete(spread, 2)
    np.testing.assert_allclose(others, np.delete(rows, 2, 1).astype(np.float64).std(0), rtol=1e-6)


@pytest.mark.parametrize("value", [1e-45, 1e-40, 1e-37])
def test_what_float32_hardly_holds_is_not_divided_by(value):
    rows = np.zeros((7, 3), np.float32)
    rows[0, 0] = value
    np.testing.assert_array_equal(mean_and_spread([rows])[1], 1.0)


@pytest.mark.parametrize("rounding", [0.0, 1e-8])
@pytest.mark.parametrize("count", [1, 5])
def test_of_inputs_that_are_all_the_same_only_the_mean_is_taken_away(count, rounding):
    rows = np.tile(ROWS[:1], (count, 1))
    rows[0] += np.float32(rounding)
    mean, spread = mean_and_spread([rows])
    np.testing.assert_allclose(mean, rows[0], atol=2e-8)
    np.testing.assert_array_equal(spread, 1.0)


@pytest.fixture(scope="module")
def model():
    """(structure, variables) of a model whose features are those of two layers."""
    config = QVAEConfig(
        encoder_width=0.1, feature_space="1", latent_dim=2, decoder_width=0.05,
        standardise_features=True,
    )  # fmt: skip
    return variables.split(QVAE(config, rng=np.random.default_rng(0)))


def test_precomputed_features_count_once_however_many_pairs_use_them(model):
    graphdef, given = model
    found = with_statistics(given, graphdef, prepared(ROWS, [3, 1, 3, 3, 8, 3]), precomputed=True)
    mean, spread = mean_and_spread([ROWS[[1, 3, 8]]])
    np.testing.assert_array_equal(found.batch_stats["standardise.mean"], mean)
    np.testing.assert_array_equal(found.batch_stats["standardise.spread"], spread)
    assert found.params is given.params
    rest = found.batch_stats.keys() - {"standardise.mean", "standardise.spread"}
    assert rest and all(found.batch_stats[name] is given.batch_stats[name] for name in rest)


@pytest.mark.parametrize("first_layer", [0, 1])
def test_the_encoder_makes_the_features_of_log_mels_and_maps(model, first_layer):
    graphdef, given = model
    random = np.random.default_rng(2)
    shape = (20, 16, 24) if first_layer == 0 else (20, 8, 12, 8)
    inputs = random.standard_normal(shape).astype(np.float16)
    rows = [*range(18), 4, 17]  # more than one batch, and two of them twice
    found = with_statistics(
        given, graphdef, prepared(inputs, rows, first_layer), precomputed=False
    ).batch_stats
    features = jax.jit(
        lambda given, x: variables.merge(graphdef, given).features(x, first_layer=first_layer)
    )(given, inputs[:18].astype(np.float32))
    mean, spread = mean_and_spread([np.asarray(features)])
    np.testing.assert_allclose(found["standardise.mean"], mean, rtol=1e-4, atol=1e-7)
    wide = layers.wideness(len(spread))
    np.testing.assert_allclose(found["standardise.spread"], spread * wide, rtol=1e-4)


def test_alone_a_process_computes_for_itself():
    made = {"a": np.ones(3)}
    assert hosts.writers_arrays(lambda: made, {"a": np.zeros(3)}) is made
