"""Metrics to a JSONL file, to TensorBoard and, where the config says so, to wandb."""

import contextlib
import json
import pathlib
import sys
import time
import types
from collections.abc import Callable, Iterator

import ml_collections
import numpy as np
from tqdm import tqdm

from qvae_jax.runs import METRICS_FILE, TENSORBOARD, read_metrics
from qvae_jax.system import files
from qvae_jax.system.errors import first_line
from qvae_jax.training import hosts
from qvae_jax.training.wandb_log import WandbLog


class MetricsLog:
    """Writes one JSON object a line to `workdir/metrics.jsonl`, a run's record of its numbers.

    Opening it at a step drops the lines of later steps, which a resumed run will write again.
    """

    def __init__(self, workdir: pathlib.Path, step: int):
        self._path = workdir / METRICS_FILE
        if self._path.exists():
            kept = [
                line
                for line in read_metrics(workdir, leave_out_damaged=True)
                if line["step"] <= step
            ]
            with files.replacing(self._path) as temporary:
                temporary.write_text("".join(_line(entry) for entry in kept), "utf-8")
        with files.explaining_write_errors(self._path):
            self._file = open(self._path, "a", encoding="utf-8")

    def write(self, step: int, part: str, values: dict[str, float], **extra) -> None:
        """Writes the values of one part ("train", "interpolation", …) after a step."""
        entry = {"step": step, "part": part, **extra, **values}
        with files.explaining_write_errors(self._path):
            self._file.write(_line(entry))

    def flush(self) -> None:
        """Makes sure that all of it is on disk."""
        with files.explaining_write_errors(self._path):
            self._file.flush()

    def close(self) -> None:
        """Ends it; the file is closed even where the rest cannot be written."""
        with files.explaining_write_errors(self._path):
            self._file.close()


class TensorBoardLog:
    """Writes the same numbers, and audio, to `workdir/tensorboard`.

    It writes in the caller's thread. tensorboardX's own SummaryWriter has a thread for that, which
    dies of a full disk, and then the training would wait for it for ever.
    """

    def __init__(self, workdir: pathlib.Path, step: int):
        self._modules = _tensorboard()
        folder = workdir / TENSORBOARD
        folder.mkdir(exist_ok=True)
        self._events = self._modules.event_file_writer.EventsWriter(str(folder / "events"))
        session_log = self._modules.event_pb2.SessionLog
        # TensorBoard drops what an earlier attempt wrote at this step and later ones.
        self._write(step + 1, session_log=session_log(status=session_log.START))

    def write(self, step: int, part: str, values: dict[str, float], **extra) -> None:
        """Writes the values of one part after a step."""
        for name, value in values.items():
            self._write(step, summary=self._modules.summary.scalar(f"{part}/{name}", value))

    def write_audio(self, step: int, name: str, samples: np.ndarray, sample_rate_hz: int) -> None:
        """Writes a waveform [samples]."""
        self._write(step, summary=self._modules.summary.audio(name, samples, sample_rate_hz))

    def flush(self) -> None:
        """Makes sure that all of it is on disk."""
        self._events.flush()

    def close(self) -> None:
        """Ends it."""
        self._events.close()

    def _write(self, step: int, **content) -> None:
        event = self._modules.event_pb2.Event(wall_time=time.time(), step=step, **content)
        self._events.write_event(event)


class Logs:
    """A run's logs as one: its record, and others that may fail without harm.

    When one of the others fails, that is said once and nothing more is written to it. In a process
    that does not write there is no log at all.
    """

    def __init__(self, record: MetricsLog | None = None, **others: Callable):
        """others: by name, functions that open one."""
        self._record = record
        self._others = {}
        for name, open_log in others.items():
            with self._unless_it_fails(name):
                self._others[name] = open_log()

    def write(self, step: int, part: str, values: dict[str, float], **extra) -> None:
        """Writes the values of one part ("train", "interpolation", …) after a step to each."""
        if self._record is not None:
            self._record.write(step, part, values, **extra)
        self._of_others(lambda log: log.write(step, part, values, **extra))

    def write_audio(self, step: int, name: str, samples: np.ndarray, sample_rate_hz: int) -> None:
        """Writes a waveform [samples] to each but the record."""
        self._of_others(lambda log: log.write_audio(step, name, samples, sample_rate_hz))

    def flush(self) -> None:
        """Makes sure that all of it is on disk."""
        if self._record is not None:
            self._record.flush()
        self._of_others(lambda log: log.flush())

    def close(self) -> None:
        """Ends each."""
        self._of_others(lambda log: log.close())
        self._others.clear()
        if self._record is not None:
            self._record.close()

    def _of_others(self, call: Callable) -> None:
        for name, log in list(self._others.items()):
            with self._unless_it_fails(name):
                call(log)

    @contextlib.contextmanager
    def _unless_it_fails(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a disk's, a network's, a service's: no run ends by them
            self._others.pop(name, None)
            tqdm.write(f"{name} failed ({first_line(error)}); the run goes on without it.")


def open_log(workdir: pathlib.Path, step: int, config: ml_collections.ConfigDict) -> Logs:
    """The log of a run that begins or goes on at a step; only one process writes."""
    if not hosts.is_writer():
        return Logs()
    others = {"TensorBoard": lambda: TensorBoardLog(workdir, step)}
    if project := config.logging.wandb:
        others["wandb"] = lambda: WandbLog(workdir, project, config.to_dict())
    return Logs(MetricsLog(workdir, step), **others)


def _tensorboard() -> types.SimpleNamespace:
    """tensorboardX's modules, without torch, which it would import where installed and never use.

    That is a second and 190 MB. What torch there is otherwise stays as it is.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # so that its import fails
    try:
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2
    finally:
        if hidden:
            del sys.modules["torch"]
    return types.SimpleNamespace(
        event_file_writer=event_file_writer, summary=summary, event_pb2=event_pb2
    )


def _line(entry: dict) -> str:
    return json.dumps(entry) + "\n"
