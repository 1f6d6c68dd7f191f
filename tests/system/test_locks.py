"""A lock keeps other processes out, and ends with its holder."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

import small_run
import waiting
from qvae_jax import runs
from qvae_jax.modes.requests import TrainRequest
from qvae_jax.modes.train import train
from qvae_jax.system import locks
from qvae_jax.system.errors import UserError

fcntl = pytest.importorskip("fcntl")

HOLDER = """
import pathlib, sys
from qvae_jax.system import locks
with locks.locked(pathlib.Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds `tmp_path/.lock`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refuse(holder: str) -> None:
    raise UserError(holder)


def test_a_lock_names_its_holder_and_ends_with_it_even_if_killed(tmp_path, holder):
    with pytest.raises(UserError, match=f"^process {holder.pid} on {socket.gethostname()}$"):
        with locks.locked(tmp_path / ".lock", refuse):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    for _ in range(2):  # and with the block
        with locks.locked(tmp_path / ".lock", refuse):
            assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()


def test_a_lock_can_be_waited_for(tmp_path, holder):
    told, is_told, taken = [], threading.Event(), threading.Event()

    def tell(holder: str) -> None:
        told.append(holder)
        is_told.set()

    def take() -> None:
        with locks.locked(tmp_path / ".lock", tell):
            taken.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    assert is_told.wait(waiting.HANG_S) and not taken.wait(0.1)
    holder.kill()
    assert taken.wait(waiting.HANG_S)
    assert told == [f"process {holder.pid} on {socket.gethostname()}"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_locks_keeps_nobody_out(tmp_path, monkeypatch, number):
    def flock(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locks.locked(tmp_path / ".lock", refuse):
        pass


def test_a_lock_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="absent/.lock cannot be written"):
        with locks.locked(tmp_path / "absent" / ".lock", refuse):
            pass


def test_a_second_run_in_a_workdir_is_refused(data_set, tmp_path, holder):
    where = f"{tmp_path} is being trained in by process {holder.pid} on"
    with pytest.raises(UserError, match=where) as raised:
        train(small_run.config(data_set), TrainRequest(workdir=str(tmp_path)))
    assert "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == [runs.LOCK_FILE]


def test_a_folders_lock_that_another_user_left_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / locks.FOLDER_LOCK).write_text("process 1 on elsewhere\n")
    opened = open

    def opened_for_reading(path, mode="r", **options):
        if mode != "r":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # root may write all
        return opened(path, mode, **options)

    monkeypatch.setattr("builtins.open", opened_for_reading)
    with locks.alone_in(tmp_path, refuse):
        with (
            pytest.raises(UserError, match="process 1 on elsewhere"),
            locks.alone_in(tmp_path, refuse),
        ):
            pytest.fail("it is held")
    assert os.listdir(tmp_path) == []
