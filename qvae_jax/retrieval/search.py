"""The rows of an index that are nearest to a query, exactly as a plain product ranks them."""

import numpy as np

QUERIES_AT_ONCE = 16  # so that their similarities to a large library stay small
ROWS_AT_ONCE = 4096  # of those that are compared in float64


def nearest(
    queries: np.ndarray, embeddings: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows to each query by cosine, and how similar they are, the nearest first.

    Args:
        queries: [queries, dim], of unit norm.
        embeddings: float32 [sounds, dim], of unit norm; may be mapped from disk.
        count: how many rows are wanted; fewer where there are fewer.

    Returns:
        int64 rows and float64 cosines, [queries, min(count, sounds)] each: those of the product in
        float64, with rows of one cosine in their own order.
    """
    queries = np.asarray(queries, np.float32)
    count = min(count, len(embeddings))
    rows = np.empty((len(queries), count), np.int64)
    cosines = np.empty((len(queries), count))
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        group = queries[first : first + QUERIES_AT_ONCE]
        for number, rough in enumerate((embeddings @ group.T).T, first):
            rows[number], cosines[number] = _best(queries[number], embeddings, rough, count)
    return rows, cosines


def _best(
    query: np.ndarray, embeddings: np.ndarray, rough: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best rows by the product in float64, of which rough is the one in float32."""
    # A product of dim terms, of two vectors of unit norm, is off by at most dim · 2⁻²⁴ in float32,
    # in whatever order it is summed (Higham 2002, section 3.1; twice that, for norms that are one
    # only to rounding). So whatever the exact best `count` are, they lie no more than two such
    # errors below the rough product's count-th.
    margin = 2 * 2 * len(query) * 2.0**-24
    last = np.partition(rough, len(rough) - count)[len(rough) - count]
    close = np.flatnonzero(rough >= last - margin)
    cosines = np.concatenate(
        [
            (embeddings[close[i : i + ROWS_AT_ONCE]] * query.astype(np.float64)).sum(axis=1)
            for i in range(0, len(close), ROWS_AT_ONCE)
        ]
    )
    order = np.argsort(-cosines, kind="stable")[:count]
    return close[order], cosines[order]
