"""Functions computed by several processes; that none is left over, tests of reading show."""

import subprocess
import sys

import pytest

from qvae_jax.data import processes
from qvae_jax.data.processes import NotStarted, ProcessEnded, map_in_processes


def square(number: int) -> int:
    """number², but fails or ends its process at some numbers."""
    if number == 40:
        raise ValueError("forty is bad")
    if number == 50:
        raise MemoryError
    if number == 60:
        sys.stdout.write("what a library prints")
        sys.stdout.flush()
    return number**2


@pytest.mark.parametrize("num_processes", [1, 2, 5])
@pytest.mark.parametrize("num_items", [0, 1, 3, 30])
def test_results_come_in_the_order_of_the_items(num_items, num_processes):
    found = list(map_in_processes(square, range(num_items), num_processes))
    assert found == [number**2 for number in range(num_items)]


def test_no_process_is_started_that_would_have_no_item(monkeypatch):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **b: started.append(popen(*a, **b)) or started[-1]
    )
    assert list(map_in_processes(square, [1, 2], 8)) == [1, 4] and len(started) == 2


def test_what_the_function_raises_is_raised_here_with_its_traceback():
    results = map_in_processes(square, [38, 39, 40, 41], 2)
    assert [next(results), next(results)] == [38**2, 39**2]
    with pytest.raises(RuntimeError, match="(?s)in square.*ValueError: forty is bad"):
        next(results)


def test_a_process_without_memory_counts_as_ended():
    results = map_in_processes(square, [50], 1)
    with pytest.raises(ProcessEnded) as raised:
        next(results)
    assert not isinstance(raised.value, NotStarted)


def test_what_libraries_print_is_no_result(capfd):
    assert list(map_in_processes(square, [60], 1)) == [3600]
    assert capfd.readouterr() == ("", "what a library prints")
    assert list(map_in_processes(square, [60], 1, stderr=subprocess.DEVNULL)) == [3600]
    assert capfd.readouterr() == ("", "")


def refusing(*_, **__):
    raise OSError("Cannot allocate memory")


@pytest.mark.parametrize(
    ("place", "name", "instead"),
    [
        (processes, "_START", "raise SystemExit(1)"),  # before it reads what it is given
        (processes, "_START", "import sys; sys.stdin.buffer.read(1)"),
        (subprocess, "Popen", refusing),
    ],
)
def test_a_process_that_cannot_start_is_told_apart(monkeypatch, place, name, instead):
    monkeypatch.setattr(place, name, instead)
    with pytest.raises(NotStarted):
        list(map_in_processes(square, range(100_000), 2))
