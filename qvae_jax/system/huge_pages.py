"""Large arrays on memory pages of 2 MB, where Linux leaves the choice to the program.

A training step takes and gives back hundreds of megabytes of memory. In pages of 4 KB, each of
which the system finds and clears at its first touch, a step on two cores takes 1.2 (frozen encoder)
to 1.4 times (from scratch) as long.
"""

import os
import pathlib
import sys
from collections.abc import Mapping

# Says "always [madvise] never", the choice in brackets; under another one there is none to make.
SYSTEM_CHOICE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"  # of glibc 2.35 and newer; others pass over it


def restart_with_huge_pages() -> None:
    """Runs this process's command anew in its place with huge pages, if it may ask for them.

    glibc reads its tunables only as a program begins. Does nothing where with_huge_pages does not.
    """
    wanted = with_huge_pages(os.environ)
    if wanted != os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


def with_huge_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a program asks for huge pages.

    It is environment itself where Linux does not leave them to programs, or where it says already
    what glibc.malloc.hugetlb shall be: 0 is without.
    """
    tunables = environment.get(VARIABLE, "")
    if TUNABLE in tunables or not _is_left_to_programs():
        return dict(environment)
    return dict(environment) | {VARIABLE: f"{tunables}:{TUNABLE}=1".removeprefix(":")}


def _is_left_to_programs() -> bool:
    try:
        return "[madvise]" in SYSTEM_CHOICE.read_text()
    except OSError:  # not Linux
        return False
