"""How well queries find their own item among all, and those of its class.

Items as similar to a query as one another have no order among themselves, so a measure is its mean
over all orders of them. Without that, an encoder to which all sounds are alike would rank every
item first.
"""

import numpy as np

from qvae_jax.evaluation.metrics import cosine_similarity

DECIMALS = 10  # of cosines: what differs by less differs by rounding alone
MEASURES = ("mrr", "recall_at_1", "recall_at_2", "ndcg")


def retrieval(
    queries: np.ndarray, items: np.ndarray, right: np.ndarray, relevant: np.ndarray
) -> dict[str, np.ndarray]:
    """Every one of MEASURES for each query, [queries]; their means are what is reported.

    Args:
        queries, items: embeddings [queries, d] and [items, d], compared by their cosine. Each item
            and each query is there once: what is listed twice counts once (QVIM challenge, 2025).
        right: the place of each query's own item, int [queries].
        relevant: which items are of each query's class, bool [queries, items].
    """
    similarity = np.round(cosine_similarity(queries, items), DECIMALS)
    better, alike = places_before(similarity, right)
    return {
        "mrr": reciprocal_ranks(better, alike),
        "recall_at_1": recall(better, alike, 1),
        "recall_at_2": recall(better, alike, 2),
        "ndcg": ndcg(similarity, relevant),
    }


def mean_cosines(queries: np.ndarray, items: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Mean cosine of queries with their own item, and with another one: whether they lie apart."""
    similarity = cosine_similarity(queries, items)
    own = np.take_along_axis(similarity, right[:, None], axis=1).sum()
    num_others = max(1, similarity.size - len(queries))
    return {
        "own_cosine": float(own / len(queries)),
        "other_cosine": float((similarity.sum() - own) / num_others),
    }


def places_before(similarity: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many items are more similar than a query's own, and how many just as much, itself included.

    similarity is [queries, items], right int [queries]; two int [queries].
    """
    own = np.take_along_axis(similarity, right[:, None], axis=1)
    return (similarity > own).sum(axis=1), (similarity == own).sum(axis=1)


def reciprocal_ranks(better: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """1 / rank of each query's own item, [queries], by its places_before."""
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, 1 + (better + alike).max()))])
    return (harmonic[better + alike] - harmonic[better]) / alike


def recall(better: np.ndarray, alike: np.ndarray, k: int) -> np.ndarray:
    """Whether each query's own item is among the first k, [queries], by its places_before."""
    return np.clip((k - better) / alike, 0.0, 1.0)


def ndcg(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain of each query, [queries], over all items.

    relevant [queries, items] is true for items of the query's class, which gain 1 / log2(1 + rank)
    (Järvelin & Kekäläinen 2002). 0 for a query without any.
    """
    return np.array([_ndcg(*query) for query in zip(similarity, relevant, strict=True)])


def _ndcg(similarity: np.ndarray, relevant: np.ndarray) -> float:
    discounts = 1 / np.log2(np.arange(2, len(similarity) + 2))
    _, group, sizes = np.unique(-similarity, return_inverse=True, return_counts=True)
    share = np.bincount(group, relevant, len(sizes)) / sizes  # of each group that is relevant
    gains = np.add.reduceat(discounts, np.concatenate([[0], np.cumsum(sizes)[:-1]])) @ share
    best = discounts[: relevant.sum()].sum()
    return float(gains / best) if best else 0.0
