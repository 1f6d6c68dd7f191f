"""Reading and writing beside the model: files are read ahead of it and written behind it."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

NUM_AHEAD = 16  # two batches: one that the model computes, and one that is ready for it

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    threads: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_ahead: int = NUM_AHEAD,
) -> Iterator[Result]:
    """function(item) of each item, in order, computed by threads up to num_ahead items ahead.

    items are taken by the caller's thread. What function raises is raised at its item's place.
    """
    pending = collections.deque()
    for item in items:
        pending.append(threads.submit(function, item))
        if len(pending) > num_ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
