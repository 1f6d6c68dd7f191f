"""Metrics on disk: what is written is read back, and a resumed run repeats nothing."""

import contextlib
import json
import math
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from qvae_jax.system.errors import UserError
from qvae_jax.training.metrics_log import (
    METRICS_FILE,
    Logs,
    MetricsLog,
    TensorBoardLog,
    read_metrics,
)

REPOSITORY = pathlib.Path(__file__).parents[2]
WITHOUT_TORCH = """
import importlib.util, pathlib, sys
from qvae_jax.training.metrics_log import Logs, MetricsLog, TensorBoardLog
workdir = pathlib.Path(sys.argv[1])
log = Logs(MetricsLog(workdir, 0), TensorBoard=lambda: TensorBoardLog(workdir, 0))
log.write(1, "train", {"total": 1.0})
log.close()
assert "torch" not in sys.modules
importlib.util.find_spec("torch")  # which fails on a None in sys.modules
"""


def opened(workdir, step: int = 0) -> Logs:
    """Both logs that every run has."""
    return Logs(MetricsLog(workdir, step), TensorBoard=lambda: TensorBoardLog(workdir, step))


def write_steps(workdir, first: int, last: int, *, resumed: int = 0) -> None:
    """Logs steps first to last, and a validation after each second one."""
    log = opened(workdir, resumed)
    for step in range(first, last + 1):
        log.write(step, "train", {"total": 1 / step, "kl": math.pi * step}, epoch=1)
        if step % 2 == 0:
            log.write(step, "interpolation", {"total": 2 / step})
    log.close()


def board_events(workdir) -> list[Event]:
    """All events of all TensorBoard files, in the order of their files' times."""
    events = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def test_entries_come_back_exactly(tmp_path):
    write_steps(tmp_path, 1, 3)
    assert read_metrics(tmp_path) == [
        {"step": 1, "part": "train", "epoch": 1, "total": 1.0, "kl": math.pi},
        {"step": 2, "part": "train", "epoch": 1, "total": 0.5, "kl": 2 * math.pi},
        {"step": 2, "part": "interpolation", "total": 1.0},
        {"step": 3, "part": "train", "epoch": 1, "total": 1 / 3, "kl": 3 * math.pi},
    ]


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_comes_back(tmp_path_factory, value):
    workdir = tmp_path_factory.mktemp("log")
    log = MetricsLog(workdir, 0)
    log.write(1, "train", {"total": value})
    log.close()
    assert read_metrics(workdir)[0]["total"] == value


def test_tensorboard_has_the_same_numbers(tmp_path):
    write_steps(tmp_path, 1, 2)
    scalars = [
        (event.step, value.tag, value.simple_value)
        for event in board_events(tmp_path)
        for value in event.summary.value
    ]
    expected = [
        (1, "train/total", 1.0),
        (1, "train/kl", math.pi),
        (2, "train/total", 0.5),
        (2, "train/kl", 2 * math.pi),
        (2, "interpolation/total", 1.0),
    ]
    assert [scalar[:2] for scalar in scalars] == [scalar[:2] for scalar in expected]
    assert [s[2] for s in scalars] == pytest.approx([s[2] for s in expected], rel=1e-6)


def test_tensorboard_gets_audio(tmp_path):
    log = opened(tmp_path)
    log.write_audio(3, "train_01", np.linspace(-1, 1, 441, dtype=np.float32), 22_050)
    log.close()
    [(step, audio)] = [
        (event.step, value.audio)
        for event in board_events(tmp_path)
        for value in event.summary.value
    ]
    assert step == 3 and audio.sample_rate == 22_050 and audio.length_frames == 441


def test_what_is_flushed_is_on_disk(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write(1, "train", {"total": 1.0})
    log.flush()
    assert len(read_metrics(tmp_path)) == 1
    log.close()


def test_a_resumed_run_makes_the_file_of_one_that_never_stopped(tmp_path):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    straight.mkdir(), resumed.mkdir()
    write_steps(straight, 1, 8)
    write_steps(resumed, 1, 6)  # the last checkpoint is of step 4
    with (resumed / METRICS_FILE).open("a") as file:
        file.write('{"step": 7, "part": "tra')  # a kill cut it short
    write_steps(resumed, 5, 8, resumed=4)
    assert (resumed / METRICS_FILE).read_bytes() == (straight / METRICS_FILE).read_bytes()


def test_tensorboard_is_told_what_a_resumed_run_writes_again(tmp_path):
    write_steps(tmp_path, 1, 6)
    time.sleep(1.1)  # the names of TensorBoard's files have a resolution of a second
    write_steps(tmp_path, 5, 6, resumed=4)
    # TensorBoard drops earlier events of this step and later ones: step 4 must stay.
    starts = [event.step for event in board_events(tmp_path) if event.HasField("session_log")]
    assert starts == [1, 5]


def test_a_run_without_a_checkpoint_begins_the_file_anew(tmp_path):
    write_steps(tmp_path, 1, 3)
    write_steps(tmp_path, 1, 1)
    assert [entry["step"] for entry in read_metrics(tmp_path)] == [1]


@pytest.mark.parametrize("text", ["", '{"step": 1, "part": "train"', "\n\n"])
def test_a_damaged_line_is_left_out(tmp_path, text):
    good = json.dumps({"step": 1, "part": "train", "total": 1.0})
    (tmp_path / METRICS_FILE).write_text(f"{good}\n{text}")
    assert [entry["total"] for entry in read_metrics(tmp_path)] == [1.0]


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        MetricsLog(tmp_path / "file", 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_the_users_to_mend(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path, 0)
    full = open("/dev/full", "w")
    monkeypatch.setattr(log, "_file", full)
    log.write(1, "train", {"total": 1.0})
    for call in (log.flush, log.close):
        with pytest.raises(UserError, match="metrics.jsonl.*No space left on device"):
            call()
    assert full.closed, "nothing is left to complain when the program ends"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_ends_tensorboard_and_not_the_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "tensorboard").mkdir()
    log = opened(tmp_path)
    full = open("/dev/full", "wb")
    monkeypatch.setattr(log._others["TensorBoard"]._events._py_recordio_writer, "_writer", full)
    for step in range(1, 2000):  # more than any buffer holds
        log.write(step, "train", {"total": 1.0, "mel": 2.0})
        log.flush()
    log.close()
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and "TensorBoard failed ([Errno 28] No space left" in told
    assert len(read_metrics(tmp_path)) == 1999
    with contextlib.suppress(OSError):
        full.close()


def test_a_tensorboard_that_cannot_be_opened_ends_nothing(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file")
    write_steps(tmp_path, 1, 2)
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and "TensorBoard failed (" in told
    assert len(read_metrics(tmp_path)) == 3


def test_torch_is_not_imported(tmp_path):
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)
    assert read_metrics(tmp_path) == [{"step": 1, "part": "train", "total": 1.0}]
