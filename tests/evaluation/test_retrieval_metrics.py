"""Measures of retrieval against independent implementations, with items that are alike."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from qvae_jax.evaluation import retrieval_metrics

TOLERANCE = 1e-12
# Few values, so that many are alike.
SIMILARITY = st.lists(st.sampled_from([0.1, 0.25, 0.5, 1.0]), min_size=6, max_size=6)


def ranks_of(similarity, own: int) -> list[int]:
    """The rank of an item in every order that a sort by similarity may give."""
    orders = [
        order
        for order in itertools.permutations(range(len(similarity)))
        if all(similarity[a] >= similarity[b] for a, b in itertools.pairwise(order))
    ]
    return [1 + order.index(own) for order in orders]


@settings(max_examples=15)
@given(similarity=SIMILARITY, own=st.integers(0, 5))
def test_ranks_are_means_over_all_orders_of_items_that_are_alike(similarity, own):
    ranks = ranks_of(similarity, own)
    better, alike = retrieval_metrics.places_before(np.array([similarity]), np.array([own]))
    found = {"mrr": retrieval_metrics.reciprocal_ranks(better, alike)}
    found |= {k: retrieval_metrics.recall(better, alike, k) for k in (1, 2)}
    assert abs(found["mrr"][0] - np.mean([1 / rank for rank in ranks])) < TOLERANCE
    for k in (1, 2):
        assert abs(found[k][0] - np.mean([rank <= k for rank in ranks])) < TOLERANCE


@settings(max_examples=40)
@given(similarity=SIMILARITY, relevant=st.lists(st.booleans(), min_size=6, max_size=6))
def test_ndcg_equals_scikit_learns(similarity, relevant):
    found = retrieval_metrics.ndcg(np.array([similarity]), np.array([relevant]))
    expected = ndcg_score([relevant], [similarity]) if any(relevant) else 0.0
    assert abs(found[0] - expected) < TOLERANCE


def test_many_queries_are_measured_by_their_cosine():
    rng = np.random.default_rng(0)
    queries, items = rng.standard_normal((40, 8)), rng.standard_normal((25, 8))
    items[5] = 3 * items[4]  # alike to every query
    right, classes = rng.integers(25, size=40), rng.integers(4, size=25)
    relevant = classes[right][:, None] == classes
    found = retrieval_metrics.retrieval(queries, items, right, relevant)
    assert tuple(found) == retrieval_metrics.MEASURES
    similarity = retrieval_metrics.cosine_similarity(queries, items).round(10)
    for query in range(40):
        first = 1 + (similarity[query] > similarity[query, right[query]]).sum()
        places = (first, first + 1) if right[query] in (4, 5) else (first,)
        expected = np.mean([1 / place for place in places])
        assert abs(found["mrr"][query] - expected) < TOLERANCE
    expected = [ndcg_score([r], [s]) for r, s in zip(relevant, similarity)]
    np.testing.assert_allclose(found["ndcg"], expected, rtol=0, atol=TOLERANCE)


def test_an_encoder_to_which_all_sounds_are_alike_finds_nothing():
    found = retrieval_metrics.retrieval(
        np.ones((2, 3)), np.ones((4, 3)), np.array([0, 3]), np.eye(4, dtype=bool)[[0, 3]]
    )
    assert found["mrr"] == pytest.approx(np.mean([1, 1 / 2, 1 / 3, 1 / 4]))
    assert found["recall_at_1"] == pytest.approx(1 / 4)
