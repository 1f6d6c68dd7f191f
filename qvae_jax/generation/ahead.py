"""Reading and writing beside the model: files are read ahead of it and written behind it."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# Two batches: one that the model computes, and one that is ready for it.
NUM_AHEAD = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    threads: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """function(item) of each item, in order, computed by threads up to NUM_AHEAD items ahead.

    items are taken by the caller's thread. What function raises is raised at its item's place.
    """
    pending = collections.deque()
    for item in items:
        pending.append(threads.submit(function, item))
        if len(pending) > NUM_AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
