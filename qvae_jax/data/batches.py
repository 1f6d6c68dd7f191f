"""Batches as a pure function of (seed, step), fetched ahead by a thread."""

import dataclasses
import mmap
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from qvae_jax.data.index import Pair

Batch = dict[str, np.ndarray]
Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Examples:
    """The pairs of one part of a split, and where their arrays lie in the cache.

    Attributes:
        pairs: imitation and reference of each example.
        inputs: what the encoder's learning part is given: features [rows, feature_dim], log-mels
            [rows, mels, frames] or maps [rows, mels, frames, channels].
        targets: audio [rows, samples] at the model's rate.
        input_rows: the row in `inputs` of each pair, int [pairs].
        target_rows: the row in `targets` of each pair, int [pairs].
        gestures: of a steered decoder, each target's curves and length (recipes.GESTURE) [rows].
        gesture_rows: the row in `gestures` of each pair, int [pairs].
    """

    pairs: tuple[Pair, ...]
    inputs: np.ndarray
    targets: np.ndarray
    input_rows: np.ndarray
    target_rows: np.ndarray
    gestures: np.ndarray | None = None
    gesture_rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, indices: np.ndarray) -> Batch:
        """The examples at positions [batch]: "inputs" and "targets", float32 [batch, …] each.

        With gestures, also "controls", float32 [batch, 243, 4], and "lengths" in samples at
        22,050 Hz, int32 [batch].
        """
        found = {
            "inputs": taken(self.inputs, self.input_rows[indices]).astype(np.float32, copy=False),
            "targets": taken(self.targets, self.target_rows[indices]).astype(
                np.float32, copy=False
            ),
        }
        if self.gestures is not None:
            gestures = taken(self.gestures, self.gesture_rows[indices])
            found["controls"] = np.ascontiguousarray(gestures["controls"])
            found["lengths"] = np.ascontiguousarray(gestures["length"])
        return found

    def at(self, positions: np.ndarray) -> "Examples":
        """The examples at these positions alone, in their order."""
        rows = {
            name: array[positions]
            for name in ("input_rows", "target_rows", "gesture_rows")
            if (array := getattr(self, name)) is not None
        }
        return dataclasses.replace(self, pairs=tuple(self.pairs[i] for i in positions), **rows)

    def distinct_inputs(self, batch_size: int) -> Iterator[np.ndarray]:
        """Every input once, however many pairs use it: float32 [batch_size or fewer, …] each."""
        rows = np.unique(self.input_rows)
        for first in range(0, len(rows), batch_size):
            found = taken(self.inputs, rows[first : first + batch_size])
            yield found.astype(np.float32, copy=False)


class JoinedRows:
    """Rows of several arrays of one kind, numbered on from each to the next, left where they lie.

    Attributes:
        arrays: them; shape and dtype of their rows are the same.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = tuple(arrays)
        self._firsts = np.cumsum([0, *map(len, self.arrays)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the rows of these numbers, int [n]."""
        of_array = np.searchsorted(self._firsts, rows, side="right") - 1
        first = self.arrays[0]
        found = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for number, array in enumerate(self.arrays):
            own = of_array == number
            if own.any():
                found[own] = taken(array, rows[own] - self._firsts[number])
        return found


def joined(parts: Sequence[Examples]) -> Examples:
    """The examples of one part or several, one after the other."""
    if len(parts) == 1:
        return parts[0]
    arrays: dict[str, JoinedRows | np.ndarray] = {}
    for name, rows in (
        ("inputs", "input_rows"),
        ("targets", "target_rows"),
        ("gestures", "gesture_rows"),
    ):
        found = [getattr(part, name) for part in parts]
        if found[0] is not None:
            firsts = np.cumsum([0, *map(len, found)])
            arrays[name] = JoinedRows(found)
            arrays[rows] = np.concatenate(
                [getattr(part, rows) + first for part, first in zip(parts, firsts)]
            )
    return Examples(tuple(pair for part in parts for pair in part.pairs), **arrays)


def taken(array: np.ndarray | JoinedRows, rows: np.ndarray) -> np.ndarray:
    """A copy of some rows; the pages of a memory map that this touched are given back."""
    found = array[rows]
    if isinstance(array, JoinedRows):
        return found
    # Pages that stay mapped count as this process's memory, until that is the whole file.
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
    return found


def training_indices(num_examples: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Positions of the examples in the batch of a step, [min(batch_size, num_examples)].

    Each pass over the data has its own order, drawn from (seed, pass). Examples left over, too few
    for another batch, are not used in that pass.
    """
    batch_size = min(batch_size, num_examples)
    batches_per_pass = num_examples // batch_size
    pass_number, batch_number = divmod(step, batches_per_pass)
    order = np.random.default_rng([seed, pass_number]).permutation(num_examples)
    return order[batch_number * batch_size : (batch_number + 1) * batch_size]


def evaluation_batches(
    examples: Examples, batch_size: int, rows: slice = slice(None)
) -> Iterator[Batch]:
    """All examples once, in order, in batches of one size, the last one padded.

    Gives what Examples.batch does, and "valid", bool [rows], which is false for padding. Only `rows` of each batch are read and given.
    """
    for start in range(0, len(examples), batch_size):
        indices = np.arange(start, start + batch_size)[rows]
        valid = indices < len(examples)
        yield examples.batch(np.where(valid, indices, 0)) | {"valid": valid}


def prefetch(make: Callable[[int], Item], start: int, stop: int, depth: int = 2) -> Iterator[Item]:
    """make(start), …, make(stop − 1), computed by a thread up to `depth` items ahead.

    An exception that make raises is raised here in the place of that item. Leaving the loop early,
    or closing the iterator, ends the thread.
    """
    items: queue.Queue = queue.Queue(depth)
    closed = threading.Event()

    def put(entry) -> bool:
        while not closed.is_set():
            try:
                items.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for i in range(start, stop):
                if not put((make(i), None)):
                    return
        except BaseException as error:  # the consumer raises it
            put((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            item, error = items.get()
            if error is not None:
                raise error
            yield item
    finally:
        closed.set()
        thread.join()


def timed(items: Iterator[Item]) -> Iterator[tuple[Item, float]]:
    """Each item, with the seconds that the wait for it took."""
    while True:
        start_s = time.perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        yield item, time.perf_counter() - start_s
