"""A command that begins anew with huge pages: once, as it was given, and where that is a choice."""

import os
import pathlib
import subprocess
import sys

import pytest

from qvae_jax.system import huge_pages

REPOSITORY = pathlib.Path(__file__).parents[2]
LEFT_TO_PROGRAMS = "always [madvise] never\n"
ADDED = "glibc.malloc.hugetlb=1"
# Prints the process, its arguments and its tunables, before what may restart it and after it.
PROGRAM = """
import os, pathlib, sys
from qvae_jax.system import huge_pages

huge_pages.SYSTEM_CHOICE = pathlib.Path(sys.argv[1])
say = lambda: print(os.getpid(), sys.argv[2:], os.environ.get("GLIBC_TUNABLES"), flush=True)
say()
huge_pages.restart_with_huge_pages()
say()
"""
ARGUMENTS = ["--name=a b", "", "'\"$HOME", "ü"]


def _run(arguments: list[str], tunables: str | None = None) -> subprocess.CompletedProcess:
    """Python with these arguments, in an environment with these tunables or none."""
    environment = {k: v for k, v in os.environ.items() if k != huge_pages.VARIABLE}
    if tunables is not None:
        environment[huge_pages.VARIABLE] = tunables
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("choice", "tunables", "restarted_with"),
    [
        (LEFT_TO_PROGRAMS, None, ADDED),
        (LEFT_TO_PROGRAMS, "", ADDED),
        (LEFT_TO_PROGRAMS, "glibc.malloc.check=0", f"glibc.malloc.check=0:{ADDED}"),
        (LEFT_TO_PROGRAMS, "glibc.malloc.hugetlb=0", None),  # the user's choice
        (LEFT_TO_PROGRAMS, "glibc.malloc.hugetlb=2:glibc.malloc.check=0", None),
        ("[always] madvise never\n", None, None),
        ("always madvise [never]\n", None, None),
        (None, None, None),  # not Linux
    ],
)
def test_restarts_at_most_once_and_with_the_same_command(
    tmp_path, choice, tunables, restarted_with
):
    path = tmp_path / "enabled"
    if choice is not None:
        path.write_text(choice)
    run = _run(["-c", PROGRAM, str(path), *ARGUMENTS], tunables)
    assert run.returncode == 0 and run.stderr == ""
    lines = run.stdout.splitlines()
    first, *_, last = lines
    assert len(lines) == (2 if restarted_with is None else 3)
    process, _, _ = first.partition(" ")
    expected = tunables if restarted_with is None else restarted_with
    assert first == f"{process} {ARGUMENTS} {tunables}"
    assert last == f"{process} {ARGUMENTS} {expected}"  # a process keeps its number


@pytest.mark.skipif(
    not huge_pages.SYSTEM_CHOICE.is_file()
    or LEFT_TO_PROGRAMS.strip() not in huge_pages.SYSTEM_CHOICE.read_text(),
    reason="this system does not leave the choice of huge pages to programs",
)
def test_main_asks_for_huge_pages(tmp_path):
    config = tmp_path / "config.py"  # a config is a program, and sees what its process was given
    config.write_text(
        "import os, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'seen')!r}).write_text(os.environ['GLIBC_TUNABLES'])\n"
        "def get_config():\n    return {}\n"
    )
    run = _run(["main.py", "--mode=doctor", f"--config={config}"])
    assert run.returncode == 1 and "gives no config" in run.stderr
    assert (tmp_path / "seen").read_text() == ADDED
