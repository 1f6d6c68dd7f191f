"""Audio files read by several processes at once, in the order they are asked for."""

import collections
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from qvae_jax.errors import UserError

FEW_FILES = 64  # so many are read sooner than processes start
FILES_AHEAD = 8  # of each process: read, but not yet taken
MOST_PROCESSES = 8  # more only wait for the transform, and each takes some 60 MB

Load = Callable[[pathlib.Path], np.ndarray]


def default_num_processes() -> int:
    """One for each core that this process may use, within reason."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(usable or 1, MOST_PROCESSES)


def read_all(
    load: Load, paths: Sequence[pathlib.Path], num_processes: int
) -> Iterator[np.ndarray | UserError]:
    """load(path) for each path in turn, or the UserError that it raised.

    With more than one process and more than a few files, processes read ahead of the caller. They
    are started afresh and import what `load` needs, which should not be JAX: it takes seconds and
    hundreds of megabytes. They end with this process, even if it is killed.
    Raises UserError where one of them ends unexpectedly.
    """
    if num_processes == 1 or len(paths) <= FEW_FILES:
        for path in paths:
            yield _loaded(load, path)
        return
    pool = futures.ProcessPoolExecutor(
        num_processes, multiprocessing.get_context("spawn"), initializer=_begin
    )
    waiting = collections.deque()
    path = paths[0]

    def first_result() -> np.ndarray | UserError:
        nonlocal path
        path, future = waiting.popleft()
        return future.result()

    try:
        for next_path in paths:
            waiting.append((next_path, pool.submit(_loaded, load, next_path)))
            if len(waiting) == num_processes * FILES_AHEAD:
                yield first_result()
        while waiting:
            yield first_result()
    except BrokenProcessPool as error:
        raise UserError(
            f"a process that reads audio ended unexpectedly at {path} or soon after it: set "
            "data.num_processes to 1 to see at which file, or free some memory."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _loaded(load: Load, path: pathlib.Path) -> np.ndarray | UserError:
    try:
        return load(path)
    except UserError as error:
        return error


def _begin() -> None:
    """Prepares a reading process: it leaves SIGINT to the main process, and ends when that does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Waiting for work, a process would not notice that nobody is left to send any.
    multiprocessing.parent_process().join()
    os._exit(1)
