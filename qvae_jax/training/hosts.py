"""Several processes, one on each host, that train together. With one process nothing here acts.

Every process runs the same program on its share of each batch. The first one alone writes and
speaks; checkpoints are written by all of them together.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from qvae_jax.system import platforms
from qvae_jax.system.errors import UserError, first_line

STEPS_BETWEEN_AGREEMENTS = 10
JOINING_TIMEOUT_S = 300
HEARTBEAT_TIMEOUT_S = 30  # a process that says nothing for so long has ended

_leaving = threading.Lock()


@contextlib.contextmanager
def joined(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> Iterator[None]:
    """Joins this process with the others while the block lasts, before anything uses a device.

    The arguments say how, all three of them; without any, the environment may (SLURM with several
    tasks, a Cloud TPU of several hosts, JAX_COORDINATOR_ADDRESS). Else this process is alone.
    Where another process ends or cannot be reached, this one says so and exits with status 1.
    Raises UserError where only some of the arguments are given, and where no device starts.
    """
    given = (coordinator_address, num_processes, process_id)
    if None in given and any(value is not None for value in given):
        raise UserError(
            "--coordinator_address, --num_processes and --process_id belong together: give all "
            "three, or none on SLURM and Cloud TPU."
        )
    if coordinator_address is None and not _in_cluster():
        platforms.start_backend()
        yield
        return
    with _aborts_explained():
        _initialize(*given)
        if jax.process_count() == 1:
            yield
            return
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            _leave(_others_ended(first_line(error)))
        except UserError as error:
            _leave(str(error))
        jax.distributed.shutdown()


def _initialize(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
    # Our own handler of SIGTERM saves the run; JAX's would take the signal from it.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            initialization_timeout=JOINING_TIMEOUT_S,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
        )
    except Exception as error:  # ValueError, or what gRPC makes of it
        _leave(
            f"this process cannot join the others ({first_line(error)}): start all of them, with "
            "the same --coordinator_address and a --process_id each."
        )
    try:
        platforms.start_backend()
    except UserError as error:
        _leave(str(error))


@contextlib.contextmanager
def _aborts_explained() -> Iterator[None]:
    """While the block lasts, an abort of this process ends it with our line and status 1.

    JAX aborts in a thread of its own as soon as it hears that another process has ended. It offers
    no way to be told first: the callback that its client takes fails on the status it is given.
    """
    # Handlers of the signal module run in the main thread, for which abort leaves no time. This
    # one runs inside abort. (jax_enable_recoverability is no way around it: it spares a process
    # whose peers have ended, but not one whose coordinator has.)
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(
        lambda number: _leave(_others_ended("JAX says why above"))
    )
    set_handler = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(
        ("PyOS_setsig", ctypes.pythonapi)
    )
    previous = set_handler(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        set_handler(signal.SIGABRT, previous)


def _others_ended(reason: str) -> str:
    return (
        f"another process has ended or cannot be reached ({reason}): run the same command again "
        "in all of them, and they go on from the last checkpoint."
    )


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


def writer_says(answer: bool) -> bool:
    """The writer's answer, in every process: only the writer has looked at what is on disk."""
    if jax.process_count() == 1:
        return answer
    return bool(multihost_utils.broadcast_one_to_all(np.array(answer)))


def writers_arrays(
    compute: Callable[[], dict[str, np.ndarray]], like: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What compute() gives the writer, in every process; of the names, shapes and types of `like`."""
    if jax.process_count() == 1:
        return compute()
    found = compute() if is_writer() else like
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(found))


def _in_cluster() -> bool:
    """Whether the environment says that this is one of several processes."""
    environment = os.environ
    return (
        "JAX_COORDINATOR_ADDRESS" in environment
        or ("SLURM_PROCID" in environment and int(environment.get("SLURM_NTASKS", "1")) > 1)
        or "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        or "MEGASCALE_COORDINATOR_ADDRESS" in environment
    )


def _leave(message: str) -> NoReturn:
    """Says why and ends at once: a regular exit would wait for the processes that are gone."""
    _leaving.acquire()  # never released: of two threads with a reason to leave, one says so
    print("error: " + " ".join(message.splitlines()), file=sys.stderr, flush=True)
    os._exit(1)
