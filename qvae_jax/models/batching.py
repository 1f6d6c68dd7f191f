"""Any number of rows through a program that is compiled for one number of them."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import jax
import numpy as np

Item = TypeVar("Item")


def in_batches(compute: Callable, rows: np.ndarray, batch_size: int):
    """compute(rows) for rows [n, ...] of any n, by a compute that takes batch_size at a time.

    The last batch is filled up with zeros. What compute gives, an array [batch_size, ...] or a tuple
    of them, comes back as NumPy arrays [n, ...].
    """
    found = []
    for first in range(0, max(1, len(rows)), batch_size):  # of no rows, one batch tells the shapes
        batch = rows[first : first + batch_size]
        filled = np.zeros((batch_size, *rows.shape[1:]), rows.dtype)
        filled[: len(batch)] = batch
        found.append(jax.tree.map(lambda out, n=len(batch): np.asarray(out)[:n], compute(filled)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def batches(items: Iterable[Item], batch_size: int) -> Iterator[list[Item]]:
    """The items in lists of batch_size, the last one of what is left; taken as they are needed."""
    items = iter(items)
    while batch := list(itertools.islice(items, batch_size)):
        yield batch
