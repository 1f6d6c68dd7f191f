"""glibc's memory, tuned in three places: before a program starts, while it compiles, in readers.

No JAX here until something compiles: a program asks for huge pages before it imports anything slow.
"""

import contextlib
import ctypes
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping

# Says "always [madvise] never", the choice in brackets; only madvise leaves it to the program.
SYSTEM_CHOICE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"  # since glibc 2.35; an older one ignores it

COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's name for the end of a compilation
WORTHWHILE_S = 1.0  # what compiles faster leaves little

# glibc returns each large array to the system as soon as it is freed, and the next one starts with
# a page fault every 4 KB: an eighth of the work of a process that reads audio.
_KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**26)}


def restart_with_huge_pages() -> None:
    """Replaces this process by the same command with huge pages, if it may ask for them.

    glibc reads its tunables only when a program starts. Does nothing where with_huge_pages changes
    nothing, so a process restarts once at most.
    """
    wanted = with_huge_pages(os.environ)
    if wanted != os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


def with_huge_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a program gets its large arrays on pages of 2 MB.

    A training step allocates and frees hundreds of megabytes. On pages of 4 KB, each of which the
    system has to find and clear when it is first touched, a step on two cores takes 1.2 times
    (frozen encoder) to 1.4 times (from scratch) as long.

    The environment comes back as it is where Linux does not leave the choice to programs, and where
    it already sets glibc.malloc.hugetlb: 0 means no huge pages.
    """
    tunables = environment.get(VARIABLE, "")
    if TUNABLE in tunables or not _is_left_to_programs():
        return dict(environment)
    return dict(environment) | {VARIABLE: f"{tunables}:{TUNABLE}=1".removeprefix(":")}


def keeping_freed_memory(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a process keeps what it frees, to use it again.

    Where the environment sets one of glibc's thresholds itself, that one stays.
    """
    return _KEEPING | dict(environment)


@contextlib.contextmanager
def given_back_after_compiling() -> Iterator[None]:
    """While the block runs, each long compilation is followed by give_back_freed_memory.

    Compiling the full training step takes 0.7 GB in small pieces. glibc keeps 0.6 GB of them after
    they are freed, and XLA's own buffers, which are mapped separately, would come on top.
    """
    import jax

    def after(event: str, duration_s: float, **details: object) -> None:
        if event == COMPILED and duration_s > WORTHWHILE_S:
            give_back_freed_memory()

    jax.monitoring.register_event_duration_secs_listener(after)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(after)


def give_back_freed_memory() -> None:
    """Returns freed memory of all threads to the system; does nothing without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _is_left_to_programs() -> bool:
    try:
        return "[madvise]" in SYSTEM_CHOICE.read_text()
    except OSError:  # not Linux
        return False
