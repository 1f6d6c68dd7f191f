"""One process at a time: a lock that is released when its process ends, in whatever way."""

import contextlib
import errno
import os
import pathlib
import socket
from collections.abc import Callable, Iterator

from qvae_jax.system import files

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two processes apart
    fcntl = None

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # from disks mounted without locks


@contextlib.contextmanager
def locked(path: pathlib.Path, on_held: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock at `path` while the block lasts; the file stays, and names the last holder.

    Where another process holds the lock, calls on_held with that process's number and host, and
    waits for it unless on_held raises. On disks without locks nothing is locked.
    Raises UserError where the file cannot be written.
    """
    with files.explaining_write_errors(path):
        lock = open(path, "a+", encoding="utf-8")
    with lock:
        if not _taken(lock, wait=False):
            lock.seek(0)
            on_held(lock.read().strip() or "another process")
            _taken(lock, wait=True)
        with files.explaining_write_errors(path):
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
        yield


def _taken(lock, *, wait: bool) -> bool:
    """Whether this process has the lock now, or no process can have one."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True
