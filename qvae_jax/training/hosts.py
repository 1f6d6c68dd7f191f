"""Several processes, one on each host, that train together; with one process all of it is nothing.

Every process runs the same program on its share of each batch. The first one alone writes and
speaks; checkpoints are written by all of them together.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

STEPS_BETWEEN_AGREEMENTS = 10


def is_writer() -> bool:
    """Whether this process is the one that writes logs, samples and settings."""
    return jax.process_index() == 0


@contextlib.contextmanager
def writer_speaks() -> Iterator[None]:
    """Silences the standard output of all processes but the writer's while the block lasts."""
    if is_writer():
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def writer_first(name: str) -> Iterator[None]:
    """Lets the writer run the block before the others do, so that they find what it left."""
    if jax.process_count() == 1:
        yield
        return
    if not is_writer():
        multihost_utils.sync_global_devices(name)
    yield
    if is_writer():
        multihost_utils.sync_global_devices(name)


def agree_to_stop(step: int, requested: Callable[[], bool]) -> bool:
    """Whether to stop after this step: where any process was asked to, all of them do.

    Several processes ask each other at every tenth step only, for that makes them wait.
    """
    if jax.process_count() == 1:
        return requested()
    if step % STEPS_BETWEEN_AGREEMENTS:
        return False
    return bool(multihost_utils.process_allgather(np.array(requested())).any())
