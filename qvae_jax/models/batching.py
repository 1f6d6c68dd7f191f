"""Any number of rows through a program that is compiled for one number of them."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import jax
import numpy as np

Item = TypeVar("Item")


def in_batches(compute: Callable, rows: np.ndarray | tuple[np.ndarray, ...], batch_size: int):
    """compute(rows) for rows [n, ...] of any n, by a compute that takes batch_size at a time.

    rows may be several such arrays. The last batch is filled up with zeros. What compute gives, an
    array [batch_size, ...] or a tuple of them, comes back as NumPy arrays [n, ...].
    """
    found = []
    num_rows = len(jax.tree.leaves(rows)[0])

    def filled(array: np.ndarray, first: int) -> np.ndarray:
        batch = array[first : first + batch_size]
        return np.concatenate(
            [batch, np.zeros((batch_size - len(batch), *array.shape[1:]), array.dtype)]
        )

    for first in range(0, max(1, num_rows), batch_size):  # of no rows, one batch tells the shapes
        made = compute(jax.tree.map(lambda array, first=first: filled(array, first), rows))
        count = min(batch_size, num_rows - first)
        found.append(jax.tree.map(lambda out, n=count: np.asarray(out)[:n], made))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def batches(items: Iterable[Item], batch_size: int) -> Iterator[list[Item]]:
    """The items in lists of batch_size, the last one of what is left; taken as they are needed."""
    items = iter(items)
    while batch := list(itertools.islice(items, batch_size)):
        yield batch
