"""A function of many items, computed by several processes, its results in the items' order."""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qvae_jax.system import memory

RESULTS_AHEAD = 8  # that each process has computed, but that are not yet taken

# Not by multiprocessing: its processes import the caller's main module, with JAX and whatever else
# that imports, run it where it has no guard, and outlive a caller that is killed.
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    f"from {__name__} import _serve; _serve()"
)


class ProcessEnded(Exception):
    """A process ended before it gave all of its results."""


class NotStarted(ProcessEnded):
    """A process could not be started, or ended before it began with its items."""


def map_in_processes(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    num_processes: int,
    *,
    stderr: int | None = None,
) -> Iterator[Any]:
    """function(item) of each item in turn, by processes that compute ahead of the caller.

    Each takes every num_processes-th item. What they warn of is warned of here. They import what
    `function` needs, which should not be JAX: that takes seconds and hundreds of megabytes. They
    end when this process does, even if it is killed.

    Args:
        function: importable by its name, as pickle needs it; what it returns can be pickled.
        items: what can be pickled.
        num_processes: how many processes, of which none is started that would have no item.
        stderr: where what they write goes, as subprocess.Popen takes it.

    Raises:
        NotStarted: no process can be started.
        ProcessEnded: one of them ended unexpectedly, or had too little memory, at the item whose
            turn it is or soon after it.
        RuntimeError: the function raised another exception; with that one's traceback.
    """
    num_processes = min(num_processes, len(items))
    with contextlib.ExitStack() as running:
        processes = [running.enter_context(_process(stderr)) for _ in range(num_processes)]
        for number, process in enumerate(processes):
            _begin(process, function, items[number::num_processes])
        for process in processes:
            _require_begun(process)
        for number in range(len(items)):
            result, warned, failure = _next(processes[number % num_processes])
            for warning in warned:
                warnings.warn(warning, stacklevel=2)
            if failure:
                raise RuntimeError(failure)
            yield result


@contextlib.contextmanager
def _process(stderr: int | None) -> Iterator[subprocess.Popen]:
    """A process that runs _serve until the block ends."""
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=memory.keeping_freed_memory(os.environ),
        )
    except OSError as error:
        raise NotStarted from error
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        process.wait()


def _begin(process: subprocess.Popen, function: Callable, items: Sequence) -> None:
    try:
        pickle.dump(sys.path, process.stdin)
        pickle.dump((function, items), process.stdin)
        process.stdin.flush()
    except BrokenPipeError as error:
        raise NotStarted from error


def _require_begun(process: subprocess.Popen) -> None:
    """Takes what _serve sends first."""
    try:
        _next(process)
    except ProcessEnded as error:
        raise NotStarted from error


def _next(process: subprocess.Popen) -> Any:
    try:
        return pickle.load(process.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        raise ProcessEnded from error


def _serve() -> None:
    """Writes to standard output what the function gives for the items named on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles it
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # where libraries may print
    function, items = pickle.load(sys.stdin.buffer)
    pickle.dump("begun", results)
    results.flush()
    threading.Thread(target=_end_with_main_process, daemon=True).start()
    finished: queue.Queue = queue.Queue(RESULTS_AHEAD)
    threading.Thread(target=_send, args=(finished, results), daemon=True).start()
    warned: list[Warning] = []
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_: warned.append(message)
    for item in items:
        result, failure = _computed(function, item)
        finished.put((result, warned.copy(), failure))
        warned.clear()
    finished.join()
    # Not by returning: the interpreter cannot end while a thread waits for standard input.
    os._exit(0)


def _computed(function: Callable, item: Any) -> tuple[Any, str | None]:
    """What the function gives for the item, and the traceback of what it raised."""
    try:
        return function(item), None
    except MemoryError:
        os._exit(1)  # as the system would end this process
    except Exception:
        return None, traceback.format_exc()


def _send(finished: queue.Queue, results) -> None:
    while True:
        pickle.dump(finished.get(), results, protocol=pickle.HIGHEST_PROTOCOL)
        results.flush()
        finished.task_done()


def _end_with_main_process() -> None:
    sys.stdin.buffer.read()  # standard input ends when the main process does
    os._exit(1)
