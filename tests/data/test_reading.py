"""Reading by several processes: the same as reading by one, in order, and no process is left."""

import os
import pathlib
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

import waiting
from qvae_jax.data import processes, reading
from qvae_jax.system.errors import Notice, UserError

NUM_FILES = reading.FEW_FILES + 20


def load(path: pathlib.Path) -> np.ndarray:
    """The file's bytes; some contents are bad, and one ends the process that reads it."""
    content = path.read_bytes()
    if content == b"bad":
        raise UserError(f"{path} is bad.")
    if content == b"fatal":
        os.kill(os.getpid(), signal.SIGKILL)
    return np.frombuffer(content, np.uint8)


def reader(path: pathlib.Path) -> np.ndarray:
    """The id of the process that reads."""
    return np.array([os.getpid()])


@pytest.fixture
def paths(tmp_path) -> list[pathlib.Path]:
    paths = [tmp_path / f"{number:03d}" for number in range(NUM_FILES)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * number)
    return paths


def test_any_number_of_processes_gives_the_same_in_order(paths):
    paths[7].write_bytes(b"bad")
    found = [list(reading.read_all(load, paths, number)) for number in (1, 2, 3)]
    for one, two, three in zip(*found, strict=True):
        assert str(one) == str(two) == str(three) and type(one) is type(two) is type(three)
    assert isinstance(found[0][7], UserError) and len(found[0]) == NUM_FILES
    np.testing.assert_array_equal(found[1][9], [9] * 9)


def test_a_few_files_are_read_by_this_process(paths):
    few = reading.read_all(reader, paths[: reading.FEW_FILES], 2)
    assert {int(pid[0]) for pid in few} == {os.getpid()}
    assert os.getpid() not in {int(pid[0]) for pid in reading.read_all(reader, paths, 2)}


def test_a_process_that_has_read_all_of_its_files_ends_in_silence(paths, monkeypatch, capfd):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **b: started.append(popen(*a, **b)) or started[-1]
    )
    results = reading.read_all(load, paths, 2)  # all of which fit into the pipes
    next(results)
    assert [process.wait(timeout=60) for process in started] == [0, 0]
    assert len(list(results)) == NUM_FILES - 1
    assert capfd.readouterr().err == ""


def warning_load(path: pathlib.Path) -> np.ndarray:
    """Nothing, with a notice about every tenth file, given twice."""
    for _ in range(2):
        if path.name.endswith("0"):
            warnings.warn(f"{path.name} is loud", Notice, stacklevel=2)
    return np.zeros(0)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_what_any_process_warns_of_is_warned_of_here(paths, num_processes):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in reading.read_all(warning_load, paths, num_processes):
            pass
    expected = [f"{path.name} is loud" for path in paths[::10] for _ in range(2)]
    assert [(str(each.message), each.category) for each in caught] == [
        (m, Notice) for m in expected
    ]


def test_a_process_that_is_killed_is_told_of(paths):
    paths[30].write_bytes(b"fatal")
    message = "ended unexpectedly, at .*0[0-3][0-9] .*data.num_processes"
    with pytest.raises(UserError, match=message):
        list(reading.read_all(load, paths, 2))


def test_a_process_that_does_not_start_is_told_of(paths, monkeypatch):
    monkeypatch.setattr(processes, "_START", "raise SystemExit(1)")
    with pytest.raises(UserError, match="ended unexpectedly, at .*000 "):
        list(reading.read_all(load, paths, 2))


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (200, reading.MOST_PROCESSES)])
def test_the_default_is_a_process_for_each_core_up_to_a_limit(monkeypatch, cores, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    assert reading.default_num_processes() == expected


# Reads without end, and has JAX itself; prints a line when the readers are at work.
READ_FOR_EVER = """
import pathlib, sys
import jax
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data import reading, recipes

path = pathlib.Path(sys.argv[1])
load = recipes.logmels(FrontEnd(duration_s=1.0)).load
for number, _ in enumerate(reading.read_all(load, [path] * 100_000, 2)):
    if number == 100:
        print("reading", flush=True)
"""


@pytest.mark.skipif(not pathlib.Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_readers_leave_jax_out_and_end_with_the_main_process(data_set):
    sound = sorted((data_set / "references").iterdir())[0]
    process = subprocess.Popen(
        [sys.executable, "-c", READ_FOR_EVER, str(sound)],
        cwd=pathlib.Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "reading\n"
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        readers = [pathlib.Path("/proc", pid) for pid in children.split()]
        assert len(readers) == 2
        for reader in readers:
            assert "soundfile" in (reader / "maps").read_text()
            assert "jaxlib" not in (reader / "maps").read_text()
    finally:
        process.kill()
        process.communicate()
    waiting.until(lambda: not any(_runs(reader) for reader in readers))


def _runs(process: pathlib.Path) -> bool:
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except OSError:
        return False
