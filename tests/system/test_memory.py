"""glibc's memory: commands that restart with huge pages, and memory given back or kept."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import waiting
from qvae_jax.system import memory

REPOSITORY = pathlib.Path(__file__).parents[2]
LEFT_TO_PROGRAMS = "always [madvise] never\n"
ADDED = "glibc.malloc.hugetlb=1"
# Prints the process, its arguments and its tunables, before what may restart it and after it.
PROGRAM = """
import os, pathlib, sys
from qvae_jax.system import memory

memory.SYSTEM_CHOICE = pathlib.Path(sys.argv[1])
say = lambda: print(os.getpid(), sys.argv[2:], os.environ.get("GLIBC_TUNABLES"), flush=True)
say()
memory.restart_with_huge_pages()
say()
"""
ARGUMENTS = ["--name=a b", "", "'\"$HOME", "ü"]


def _run(arguments: list[str], tunables: str | None = None) -> subprocess.CompletedProcess:
    """Python with these arguments, in an environment with these tunables or none."""
    environment = {k: v for k, v in os.environ.items() if k != memory.VARIABLE}
    if tunables is not None:
        environment[memory.VARIABLE] = tunables
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=waiting.HANG_S,
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
    not memory.SYSTEM_CHOICE.is_file()
    or LEFT_TO_PROGRAMS.strip() not in memory.SYSTEM_CHOICE.read_text(),
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


def test_a_reader_keeps_what_it_frees_unless_told_otherwise():
    kept = memory.keeping_freed_memory({"HOME": "/x", "MALLOC_TRIM_THRESHOLD_": "7"})
    assert kept == {
        "HOME": "/x",
        "MALLOC_TRIM_THRESHOLD_": "7",
        "MALLOC_MMAP_THRESHOLD_": "33554432",
    }


def test_nothing_slow_is_imported_before_a_restart():
    program = "import sys; from qvae_jax.system import memory; print('jax' in sys.modules)"
    assert _run(["-c", program]).stdout == "False\n"


def test_freed_memory_is_given_back_between_compiling_and_running(monkeypatch):
    order = []
    monkeypatch.setattr(memory, "WORTHWHILE_S", 0.0)
    monkeypatch.setattr(memory, "give_back_freed_memory", lambda: order.append("given back"))

    def program(x):
        return jax.pure_callback(lambda x: (order.append("run"), x)[1], x, x)

    x = np.float32(1.5)
    with memory.given_back_after_compiling():
        assert float(jax.jit(program)(x)) == 1.5
        assert order == ["given back", "run"]
    assert float(jax.jit(lambda x: program(x) + 1)(x)) == 2.5
    assert order.count("given back") == 1, "and only while it is wanted"


def test_what_compiles_fast_is_not_worth_it(monkeypatch):
    given_back = []
    monkeypatch.setattr(memory, "WORTHWHILE_S", 1e9)
    monkeypatch.setattr(memory, "give_back_freed_memory", lambda: given_back.append(True))
    with memory.given_back_after_compiling():
        jax.jit(lambda x: x - 3)(np.float32(1.0))
    assert not given_back


def test_freed_pieces_leave_the_process():
    """Many small ones, as a compiler's: glibc keeps them until it is told."""
    resident = lambda: int(open("/proc/self/statm").read().split()[1])
    pieces = [bytes(2000) for _ in range(100_000)]
    keep = bytearray(1)  # above them, so that the heap's end stays where it is
    full = resident()
    del pieces
    memory.give_back_freed_memory()
    assert resident() < full - 0.5 * 100_000 * 2000 / 4096
    del keep
