"""Audio files read by several processes at once, and given in the order asked for."""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from qvae_jax.audio.windows import Sound
from qvae_jax.system import memory
from qvae_jax.system.cores import num_usable_cores
from qvae_jax.system.errors import UserError

FEW_FILES = 64  # reading these takes less time than starting processes
FILES_AHEAD = 8  # that each process has read, but that are not yet taken
MOST_PROCESSES = 8  # more would only wait for the transform, and each takes about 60 MB

Load = Callable[[Sound], np.ndarray]

# Not by multiprocessing: its processes import the caller's main module, with JAX and whatever else
# that imports, and run it where it has no guard.
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    f"from {__name__} import _serve; _serve()"
)


def default_num_processes() -> int:
    """A process for each core that this process may use, at most MOST_PROCESSES."""
    return min(num_usable_cores(), MOST_PROCESSES)


def read_all(
    load: Load, paths: Sequence[Sound], num_processes: int
) -> Iterator[np.ndarray | UserError]:
    """load(path) for each path in turn, or the UserError that it raised.

    With more than one process and more than FEW_FILES files, other processes read ahead of the
    caller, and each takes every num_processes-th file. What they warn of is warned of here. They import what `load` needs, which should
    not be JAX: that takes seconds and hundreds of megabytes. They end when this process does, even
    if it is killed. Raises UserError where one of them ends unexpectedly.
    """
    if num_processes == 1 or len(paths) <= FEW_FILES:
        for path in paths:
            yield _loaded(load, path)
        return
    with contextlib.ExitStack() as running:
        readers = [running.enter_context(_reader()) for _ in range(num_processes)]
        path = paths[0]
        try:
            for number, reader in enumerate(readers):
                pickle.dump(sys.path, reader.stdin)
                pickle.dump((load, paths[number::num_processes]), reader.stdin)
                reader.stdin.flush()
            for number, path in enumerate(paths):
                loaded, warned = pickle.load(readers[number % num_processes].stdout)
                for warning in warned:
                    warnings.warn(warning, stacklevel=2)
                yield loaded
        except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                f"a process that reads audio ended unexpectedly, at {path} or soon after it: set "
                "data.num_processes to 1 to see at which file, or free some memory."
            ) from error


@contextlib.contextmanager
def _reader() -> Iterator[subprocess.Popen]:
    """A process that runs _serve until the block ends."""
    command = [sys.executable, "-c", _START]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=memory.keeping_freed_memory(os.environ),
    )
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        process.wait()


def _serve() -> None:
    """Reads the files named on standard input, and writes what load makes to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles it
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # where libraries may print
    load, paths = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_main_process, daemon=True).start()
    finished: queue.Queue = queue.Queue(FILES_AHEAD)
    threading.Thread(target=_send, args=(finished, results), daemon=True).start()
    warned: list[Warning] = []
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_: warned.append(message)
    for path in paths:
        loaded = _loaded(load, path)
        finished.put((loaded, warned.copy()))
        warned.clear()
    finished.join()
    # Not by returning: the interpreter cannot end while a thread waits for standard input.
    os._exit(0)


def _send(finished: queue.Queue, results) -> None:
    while True:
        pickle.dump(finished.get(), results, protocol=pickle.HIGHEST_PROTOCOL)
        results.flush()
        finished.task_done()


def _end_with_main_process() -> None:
    sys.stdin.buffer.read()  # standard input ends when the main process does
    os._exit(1)


def _loaded(load: Load, path: Sound) -> np.ndarray | UserError:
    try:
        return load(path)
    except UserError as error:
        return error
