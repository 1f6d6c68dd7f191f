"""Metrics to a JSONL file, to TensorBoard and, where the config says so, to wandb."""

import json
import pathlib
import sys
import types

import ml_collections
import numpy as np

from qvae_jax.runs import METRICS_FILE, TENSORBOARD, read_metrics
from qvae_jax.system import files
from qvae_jax.training import hosts
from qvae_jax.training.wandb_log import WandbLog


class MetricsLog:
    """Writes one JSON object a line to `workdir/metrics.jsonl`, and the same to TensorBoard.

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
            # TensorBoard drops what an earlier attempt wrote at purge_step and after it.
            self._board = _tensorboard().SummaryWriter(
                str(workdir / TENSORBOARD), purge_step=step + 1
            )

    def write(self, step: int, part: str, values: dict[str, float], **extra) -> None:
        """Writes the values of one part ("train", "interpolation", …) after a step."""
        entry = {"step": step, "part": part, **extra, **values}
        with files.explaining_write_errors(self._path):
            self._file.write(_line(entry))
        for name, value in values.items():
            self._board.add_scalar(f"{part}/{name}", value, step)

    def write_audio(self, step: int, name: str, samples: np.ndarray, sample_rate_hz: int) -> None:
        """Writes a waveform [samples] to TensorBoard."""
        self._board.add_audio(name, samples, step, sample_rate=sample_rate_hz)

    def flush(self) -> None:
        """Makes sure that all of it is on disk."""
        with files.explaining_write_errors(self._path):
            self._file.flush()
        self._board.flush()

    def close(self) -> None:
        """Ends both."""
        self.flush()
        self._file.close()
        self._board.close()


class Logs:
    """Several logs as one; none at all in a process that does not write."""

    def __init__(self, *logs: MetricsLog | WandbLog):
        self._logs = logs

    def write(self, step: int, part: str, values: dict[str, float], **extra) -> None:
        """Writes the values of one part to each."""
        for log in self._logs:
            log.write(step, part, values, **extra)

    def write_audio(self, step: int, name: str, samples: np.ndarray, sample_rate_hz: int) -> None:
        """Writes a waveform [samples] to each."""
        for log in self._logs:
            log.write_audio(step, name, samples, sample_rate_hz)

    def flush(self) -> None:
        """Makes sure that all of it is on disk."""
        for log in self._logs:
            log.flush()

    def close(self) -> None:
        """Ends each."""
        for log in self._logs:
            log.close()


def open_log(workdir: pathlib.Path, step: int, config: ml_collections.ConfigDict) -> Logs:
    """The log of a run that begins or goes on at a step; only one process writes."""
    if not hosts.is_writer():
        return Logs()
    metrics_log, project = MetricsLog(workdir, step), config.logging.wandb
    if not project:
        return Logs(metrics_log)
    return Logs(metrics_log, WandbLog(workdir, project, config.to_dict()))


def _tensorboard() -> types.ModuleType:
    """tensorboardX without torch, of which it would import what is installed and then use nothing.

    That is a second and 190 MB. What torch there is otherwise stays as it is.
    """
    if "torch" in sys.modules:
        import tensorboardX

        return tensorboardX
    sys.modules["torch"] = None  # so that its import fails
    try:
        import tensorboardX
    finally:
        del sys.modules["torch"]
    return tensorboardX


def _line(entry: dict) -> str:
    return json.dumps(entry) + "\n"
