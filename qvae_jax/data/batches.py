"""Batches as a pure function of (seed, step), fetched ahead by a thread."""

import dataclasses
import mmap
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from qvae_jax.data.index import Pair

Batch = dict[str, np.ndarray]
Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Examples:
    """The pairs of one part of a split, and where their arrays lie in the cache.

    inputs holds the encoder's input, features [rows, feature_dim] or log-mels [rows, mels, frames];
    targets holds audio [rows, 59049]. Row i of a batch of pair i is inputs[input_rows[i]].
    """

    pairs: tuple[Pair, ...]
    inputs: np.ndarray
    targets: np.ndarray
    input_rows: np.ndarray
    target_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, indices: np.ndarray) -> Batch:
        """The examples at these positions: inputs and targets, both float32."""
        return {
            "inputs": _taken(self.inputs, self.input_rows[indices]),
            "targets": _taken(self.targets, self.target_rows[indices]),
        }


def _taken(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A float32 copy of some rows; of a memory map, the pages touched are given back."""
    taken = array[rows].astype(np.float32)
    # Pages that stay mapped count as this process's memory, in the end the whole file's.
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
    return taken


def training_indices(num_examples: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Positions of the examples in the batch of a step, [min(batch_size, num_examples)].

    Each pass over the data has its own order, drawn from (seed, pass); examples that do not fill
    a last batch wait for another pass.
    """
    batch_size = min(batch_size, num_examples)
    batches_per_pass = num_examples // batch_size
    pass_number, batch_number = divmod(step, batches_per_pass)
    order = np.random.default_rng([seed, pass_number]).permutation(num_examples)
    return order[batch_number * batch_size : (batch_number + 1) * batch_size]


def evaluation_batches(
    examples: Examples, batch_size: int, rows: slice = slice(None)
) -> Iterator[Batch]:
    """All examples once, in order, in batches of one size; `valid` marks the rows that count.

    Of each batch only `rows` are read and given.
    """
    for start in range(0, len(examples), batch_size):
        indices = np.arange(start, start + batch_size)[rows]
        valid = indices < len(examples)
        yield examples.batch(np.where(valid, indices, 0)) | {"valid": valid}


def prefetch(make: Callable[[int], Item], start: int, stop: int, depth: int = 2) -> Iterator[Item]:
    """make(start), …, make(stop − 1), each computed in a thread up to `depth` items ahead.

    An exception in make is raised where its item would have come. Leaving the loop early, or
    closing the iterator, ends the thread.
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
        except BaseException as error:  # handed to the consumer, who raises it
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
    """Each item, with the seconds that it was waited for."""
    while True:
        start_s = time.perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        yield item, time.perf_counter() - start_s
