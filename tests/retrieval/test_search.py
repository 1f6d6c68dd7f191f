"""The nearest rows are those of a plain product in float64, equal ones in their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.retrieval import search


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_plain_product(queries, embeddings, count):
    cosines = queries.astype(np.float64) @ embeddings.astype(np.float64).T
    rows = np.argsort(-cosines.round(13), axis=1, kind="stable")[:, :count]
    return rows, np.take_along_axis(cosines, rows, axis=1)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_sounds=st.integers(1, 300),
    num_queries=st.integers(1, 20),
    dim=st.sampled_from([1, 3, 64, 384]),
    count=st.integers(1, 12),
    closeness=st.sampled_from([1.0, 1e-4, 1e-8]),
)
def test_ranks_are_those_of_a_plain_product(seed, num_sounds, num_queries, dim, count, closeness):
    """closeness: how far the sounds lie apart; at 1e-8, float32 tells few of them apart."""
    rng = np.random.default_rng(seed)
    spread = closeness * rng.standard_normal((num_sounds, dim))
    embeddings = unit(rng.standard_normal(dim) + spread)
    embeddings[rng.integers(num_sounds, size=num_sounds // 4)] = embeddings[0]
    queries = unit(rng.standard_normal((num_queries, dim)))
    rows, cosines = search.nearest(queries, embeddings, count)
    plain_rows, plain_cosines = by_plain_product(queries, embeddings, count)
    np.testing.assert_array_equal(rows, plain_rows)
    np.testing.assert_allclose(cosines, plain_cosines, rtol=0, atol=1e-13)


def test_float32_alone_would_rank_otherwise():
    rng = np.random.default_rng(0)
    embeddings = unit(rng.standard_normal(384) + 1e-6 * rng.standard_normal((500, 384)))
    query = unit(rng.standard_normal((1, 384)))
    rows, _ = search.nearest(query, embeddings, 10)
    rough = np.argsort(-(embeddings @ query[0]), kind="stable")[:10]
    assert not np.array_equal(rows[0], rough)
    np.testing.assert_array_equal(rows, by_plain_product(query, embeddings, 10)[0])


@pytest.mark.parametrize("count", [3, 5])
def test_more_than_there_are_is_all_of_them(count):
    embeddings = np.eye(3, dtype=np.float32)
    rows, cosines = search.nearest(embeddings[1:2], embeddings, count)
    assert rows.tolist() == [[1, 0, 2]] and cosines.tolist() == [[1, 0, 0]]
