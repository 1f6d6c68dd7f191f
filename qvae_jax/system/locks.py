"""One process at a time: a lock that is released when its process ends, in whatever way."""

import contextlib
import errno
import os
import pathlib
import socket
from collections.abc import Callable, Iterator
from typing import TextIO

from qvae_jax.system import files

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two processes apart
    fcntl = None

FOLDER_LOCK = ".held"  # not that of a run, whose folder may be held while it trains
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
        _take(lock, path, on_held)
        yield


@contextlib.contextmanager
def alone_in(folder: pathlib.Path, on_held: Callable[[str], None]) -> Iterator[None]:
    """Holds the folder, made where it is absent, while the block lasts, as locked holds its file.

    Afterwards nothing tells of it: the lock's file is gone, and so is a folder that was made for
    the block and is still empty.
    """
    made, lock = [], None
    try:
        while lock is None:
            absent = (folder, *folder.absolute().parents)
            made += [each for each in absent if not os.path.lexists(each)]
            files.make_folder(folder)
            lock = _lock_of(folder, on_held)
        with lock:
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows keeps files that are open
                    (folder / FOLDER_LOCK).unlink()
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


def _lock_of(folder: pathlib.Path, on_held: Callable[[str], None]) -> TextIO | None:
    """The folder's lock, taken; None where the one that held it has removed it meanwhile."""
    path = folder / FOLDER_LOCK
    with files.explaining_write_errors(path):
        try:
            lock = _opened(path)
        except FileNotFoundError:
            if folder.is_dir():
                raise
            return None
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock)
        _take(lock, path, on_held)
        if not path.exists() or not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return None
        stack.pop_all()
        return lock


def _opened(path: pathlib.Path) -> TextIO:
    try:
        return open(path, "a+", encoding="utf-8")
    except PermissionError:
        # Another user's, left by a kill; a lock need not be written to be taken.
        return open(path, encoding="utf-8")


def _take(lock: TextIO, path: pathlib.Path, on_held: Callable[[str], None]) -> None:
    if not _taken(lock, wait=False):
        lock.seek(0)
        on_held(lock.read().strip() or "another process")
        _taken(lock, wait=True)
    if not lock.writable():
        return
    with files.explaining_write_errors(path):
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()


def _taken(lock: TextIO, *, wait: bool) -> bool:
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
