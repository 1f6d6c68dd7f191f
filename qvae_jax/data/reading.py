"""Audio files read by several processes at once, and given in the order asked for."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from qvae_jax.audio.windows import Sound
from qvae_jax.data.processes import ProcessEnded, map_in_processes
from qvae_jax.system.cores import num_usable_cores
from qvae_jax.system.errors import UserError

FEW_FILES = 64  # reading these takes less time than starting processes
MOST_PROCESSES = 8  # more would only wait for the transform, and each takes about 60 MB

Load = Callable[[Sound], np.ndarray]


def default_num_processes() -> int:
    """A process for each core that this process may use, at most MOST_PROCESSES."""
    return min(num_usable_cores(), MOST_PROCESSES)


def read_all(
    load: Load, paths: Sequence[Sound], num_processes: int
) -> Iterator[np.ndarray | UserError]:
    """load(path) for each path in turn, or the UserError that it raised.

    With more than one process and more than FEW_FILES files, other processes read ahead of the
    caller (see map_in_processes). Raises UserError where one of them ends unexpectedly.
    """
    loaded = functools.partial(_loaded, load)
    if num_processes == 1 or len(paths) <= FEW_FILES:
        yield from map(loaded, paths)
        return
    num_read = 0
    try:
        for result in map_in_processes(loaded, paths, num_processes):
            yield result
            num_read += 1
    except ProcessEnded as error:
        raise UserError(
            f"a process that reads audio ended unexpectedly, at {paths[num_read]} or soon after "
            "it: set data.num_processes to 1 to see at which file, or free some memory."
        ) from error


def _loaded(load: Load, path: Sound) -> np.ndarray | UserError:
    try:
        return load(path)
    except UserError as error:
        return error
