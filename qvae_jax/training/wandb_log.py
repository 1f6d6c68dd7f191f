"""Metrics to Weights & Biases, which is optional."""

import contextlib
import importlib.metadata
import pathlib
import uuid
from collections.abc import Iterator

import numpy as np

from qvae_jax.runs import WANDB_FILE
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

INIT_TIMEOUT_S = 30.0  # where the server does not answer, the run begins without it
FINISH_TIMEOUT_S = 60.0  # a run that is told to stop may be given no more than that


class WandbLog:
    """Writes what MetricsLog writes to a wandb run, always the same one for a workdir."""

    def __init__(self, workdir: pathlib.Path, project: str, settings: dict):
        import wandb

        with _settings_explained():
            self._run = wandb.init(
                project=project,
                id=_run_id(workdir, project),
                resume="allow",
                name=workdir.resolve().name,
                dir=str(workdir),
                config=settings,
                settings=wandb.Settings(
                    # Standard output and standard error stay as they are.
                    console="off",
                    silent=True,
                    init_timeout=INIT_TIMEOUT_S,
                    login_timeout=INIT_TIMEOUT_S,
                    finish_timeout=FINISH_TIMEOUT_S,
                    finish_timeout_raises=True,
                ),
            )
        # A run that goes on from a checkpoint repeats steps, and wandb takes no step twice.
        self._first_step = self._run.step

    def write(self, step: int, part: str, values: dict[str, float], **extra) -> None:
        """Writes the values of one part ("train", "interpolation", …) after a step."""
        named = {f"{part}/{name}": value for name, value in values.items()}
        self._log(step, named | extra)

    def write_audio(self, step: int, name: str, samples: np.ndarray, sample_rate_hz: int) -> None:
        """Writes a waveform [samples]."""
        if step < self._first_step:
            return
        import wandb

        self._log(step, {f"audio/{name}": wandb.Audio(samples, sample_rate=sample_rate_hz)})

    def flush(self) -> None:
        """Nothing: wandb sends by itself."""

    def close(self) -> None:
        """Waits until all is sent, for FINISH_TIMEOUT_S at most."""
        self._run.finish()
        self._run = None

    def _log(self, step: int, values: dict) -> None:
        if step >= self._first_step:
            self._run.log(values, step=step)


@contextlib.contextmanager
def _settings_explained() -> Iterator[None]:
    """Turns what wandb has against its settings, WANDB_MODE for one, into a line that names them."""
    try:
        yield
    except ValueError as error:
        if not hasattr(error, "errors"):  # which pydantic's have; their first line is a count
            raise
        said = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"of its settings, {'; '.join(said)}") from error


def check(project: str) -> None:
    """Raises UserError where a project is named but wandb is not installed."""
    # Its metadata and no import: a folder `wandb`, which its runs leave, imports as well.
    try:
        importlib.metadata.version("wandb")
    except importlib.metadata.PackageNotFoundError as error:
        if project:
            raise UserError(
                f"logging.wandb is {project!r}, but wandb is not installed: "
                "`python3 -m pip install wandb`, or leave the setting empty."
            ) from error


def _run_id(workdir: pathlib.Path, project: str) -> str:
    """The id of the wandb run of a workdir: the one on record for this project, or a new one."""
    path = workdir / WANDB_FILE
    recorded = files.read_json(path) if path.exists() else None
    if isinstance(recorded, dict) and recorded.get("project") == project:
        if isinstance(recorded.get("id"), str) and recorded["id"]:
            return recorded["id"]
    new = uuid.uuid4().hex[:12]
    files.write_json(path, {"project": project, "id": new})
    return new
