"""Two processes that train together on the loopback interface, one of which may end."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np
import pytest

import virtual_devices
import waiting
from qvae_jax.diagnostics import files as diagnostics_files
from qvae_jax.models import stored
from qvae_jax.runs import read_metrics
from qvae_jax.system.errors import UserError, counted
from qvae_jax.training import hosts

REPOSITORY = pathlib.Path(__file__).parents[2]
OTHERS_ENDED = "error: another process has ended or cannot be reached"
JOINED = """
import sys, time
from qvae_jax.training import hosts
hosts.HEARTBEAT_TIMEOUT_S = 3
with hosts.joined(sys.argv[1], 2, int(sys.argv[2])):
    print("joined", flush=True)
    time.sleep(1000)
"""


@contextlib.contextmanager
def reserved_address() -> Iterator[str]:
    """An address for a coordinator, with a port that nobody else is given while the block lasts."""
    with socket.socket() as holder:
        # The coordinator sets this option too, and so may share the port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


def started(
    data_set, workdir, address: str, count: int, number: int, *moment, devices: int = 1, **changes
):
    environment = virtual_devices.environment(devices)
    program = REPOSITORY / "tests/support/two_hosts.py"
    settings = json.dumps(changes)
    command = [sys.executable, program, data_set, workdir, address, count, number, settings]
    return subprocess.Popen(
        list(map(str, [*command, *moment])),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process) -> tuple[int, str, str]:
    output, error = process.communicate(timeout=waiting.HANG_S)
    return process.returncode, output, error


def together(data_set, workdir, *moment, dying: int = 1, **changes) -> list[tuple[int, str, str]]:
    """What two processes end with, one of which may get a signal at some step."""
    with reserved_address() as address:
        processes = [
            started(data_set, workdir, address, 2, i, *(moment if i == dying else ()), **changes)
            for i in (0, 1)
        ]
        if not moment or moment[1] != signal.SIGKILL:
            return [finished(process) for process in processes]
        results = {dying: finished(processes[dying])}
        killed_at_s = time.monotonic()
        results[1 - dying] = finished(processes[1 - dying])
        assert time.monotonic() - killed_at_s < 90  # three of our heartbeats; JAX's own is 100 s
        return [results[0], results[1]]


def final(workdir) -> tuple[int, dict]:
    kept = stored.Checkpoints(workdir / "checkpoints")
    step = kept.latest_step
    tree = kept.restore(step)
    kept.close()
    return step, tree


def totals(workdir) -> dict[int, float]:
    return {e["step"]: e["total"] for e in read_metrics(workdir) if e["part"] == "train"}


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_after_a_kill(data_set, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for status, _, error in together(data_set, undisturbed):
        assert status == 0, error
    step, expected = final(undisturbed)
    assert step == 120 and sorted(totals(undisturbed)) == list(range(1, 121))
    assert len(list(undisturbed.rglob("*_generated.wav"))) == 6
    # Against one process: the first steps, before rounding has grown.
    alone = started(data_set, tmp_path / "alone", "", 1, 0, 5, int(signal.SIGTERM))
    assert finished(alone)[0] == 0
    one, two = totals(tmp_path / "alone"), totals(undisturbed)
    assert one[1] == pytest.approx(two[1], rel=1e-5)

    first, second = together(data_set, killed, 45, int(signal.SIGKILL))
    assert second[0] == -signal.SIGKILL
    status, _, error = first
    assert status == 1 and error.count("\n") == 1, error
    assert error.startswith(OTHERS_ENDED)
    assert final(killed)[0] == 30
    results = together(data_set, killed)
    assert [status for status, *_ in results] == [0, 0], results
    assert "going on from step 30" in results[0][1] and "going on" not in results[1][1]
    step, found = final(killed)
    assert step == 120
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow
def test_the_first_process_may_be_the_one_that_is_killed(data_set, tmp_path):
    first, second = together(data_set, tmp_path / "run", 45, int(signal.SIGKILL), dying=0)
    assert first[0] == -signal.SIGKILL
    assert second[0] == 1 and second[2].splitlines()[-1].startswith(OTHERS_ENDED), second
    assert final(tmp_path / "run")[0] == 30
    results = together(data_set, tmp_path / "run")
    assert [status for status, *_ in results] == [0, 0], results
    assert "going on from step 30" in results[0][1] and final(tmp_path / "run")[0] == 120


@pytest.mark.slow
def test_diagnostics_of_two_processes_are_those_of_one(data_set, tmp_path):
    few = {
        "training.num_epochs": 2,
        "training.steps_per_epoch": 1,
        "optimizer.learning_rate": 1e-9,  # so that rounding does not grow from step to step
        "diagnostics.every_epochs": 1,
        "diagnostics.num_examples": 3,  # two batches, the second one half filled
        "model.standardise_features": True,  # by what the first process has computed
        "logging.num_samples": 0,
    }
    results = together(data_set, tmp_path / "two", **few)
    assert [status for status, *_ in results] == [0, 0], results
    assert finished(started(data_set, tmp_path / "one", "", 1, 0, **few))[0] == 0
    assert (tmp_path / "two" / "0.wrote").exists() and not (tmp_path / "two" / "1.wrote").exists()
    found, expected = (diagnostics_files.read_all(tmp_path / name) for name in ("two", "one"))
    assert [s.epoch for s in found] == [s.epoch for s in expected] == [1, 2]
    for ours, theirs in zip(found, expected):
        assert ours.parts == theirs.parts and ours.arrays.keys() == theirs.arrays.keys()
        assert list(ours.gradient_norms) == list(theirs.gradient_norms)
        for name, array in theirs.arrays.items():
            if array.dtype.kind != "f":
                np.testing.assert_array_equal(ours.arrays[name], array, err_msg=name)
            else:  # the gradient's own rounding: see test_devices.py
                rtol = 1e-2 if name == "gradient_norms" else 1e-4
                atol = rtol * np.abs(array).max()
                np.testing.assert_allclose(
                    ours.arrays[name], array, rtol=0, atol=atol, err_msg=name
                )


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_waits_is_told_of_the_others_end(killed):
    """Nothing is computed that could fail: JAX's own coordination ends the process that is left."""
    options = {"env": os.environ | {"JAX_PLATFORMS": "cpu"}, "cwd": REPOSITORY, "text": True}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with reserved_address() as address:
        command = [sys.executable, "-c", JOINED, address]
        processes = [subprocess.Popen([*command, str(i)], **options, **pipes) for i in (0, 1)]
        for process in processes:
            assert process.stdout.readline() == "joined\n"
        processes[killed].kill()
        status, _, error = finished(processes[1 - killed])
        finished(processes[killed])
    assert status == 1 and error.splitlines()[-1].startswith(OTHERS_ENDED), error
    assert error.count("error: ") == 1


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_goes_on_with_any_number_of_devices(data_set, tmp_path):
    results = together(data_set, tmp_path / "run", 45, int(signal.SIGTERM))
    assert [status for status, *_ in results] == [0, 0], results
    assert "stopped and saved at step 50" in results[0][1]
    step, before = final(tmp_path / "run")
    assert step == 50
    for devices in (2, 1):
        alone = started(
            data_set, tmp_path / "run", "", 1, 0, 5, int(signal.SIGTERM), devices=devices
        )
        status, output, error = finished(alone)
        assert status == 0, error
        assert f"going on from step {step}" in output
        assert f"on {counted(devices, 'cpu device')}" in output
        assert final(tmp_path / "run")[0] > step
        step, after = final(tmp_path / "run")
        assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, before)


@pytest.mark.parametrize("given", [("a:1", None, None), (None, 2, 0), ("a:1", 2, None)])
def test_some_of_the_flags_are_not_enough(given):
    with pytest.raises(UserError, match="belong together: give all three"):
        with hosts.joined(*given):
            pass


@pytest.mark.parametrize(
    ("variables", "joins"),
    [
        ({}, False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, False),
        ({"SLURM_JOB_ID": "7"}, False),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, True),
    ],
    ids=str,
)
def test_the_environment_says_whether_there_are_others(monkeypatch, variables, joins):
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *how, **more: asked.append(how))
    with hosts.joined():
        assert bool(asked) == joins


def test_one_process_waits_for_nobody():
    with hosts.joined(), hosts.writer_first("prepare"):
        assert hosts.is_writer()
    assert hosts.agree_to_stop(3, lambda: True) and not hosts.agree_to_stop(3, lambda: False)
