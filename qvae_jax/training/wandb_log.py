"""Metrics to Weights & Biases, which is optional and may fail without harm to a run."""

import importlib.metadata
import pathlib
import uuid
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from qvae_jax.system import files
from qvae_jax.system.errors import UserError, first_line

RUN_FILE = "wandb_run.json"
INIT_TIMEOUT_S = 30.0  # where the server does not answer, the run begins without it
FINISH_TIMEOUT_S = 60.0  # a run that is told to stop may be given no more than that


class WandbLog:
    """Writes what MetricsLog writes to a wandb run, always the same one for a workdir.

    Whatever goes wrong with wandb is said once, and from then on nothing more is written to it.
    """

    def __init__(self, workdir: pathlib.Path, project: str, settings: dict):
        run_id = _run_id(workdir, project)
        self._run, self._first_step = None, 0
        self._attempt(lambda: self._open(workdir, project, run_id, settings))

    def _open(self, workdir: pathlib.Path, project: str, run_id: str, settings: dict) -> None:
        import wandb

        self._run = wandb.init(
            project=project,
            id=run_id,
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
        self._log(step, lambda: named | extra)

    def write_audio(self, step: int, name: str, samples: np.ndarray, sample_rate_hz: int) -> None:
        """Writes a waveform [samples]."""

        def audio() -> dict:
            import wandb

            return {f"audio/{name}": wandb.Audio(samples, sample_rate=sample_rate_hz)}

        self._log(step, audio)

    def flush(self) -> None:
        """Nothing: wandb sends by itself."""

    def close(self) -> None:
        """Waits until all is sent, for FINISH_TIMEOUT_S at most."""
        if self._run is not None:
            self._attempt(self._run.finish)
            self._run = None

    def _log(self, step: int, values: Callable[[], dict]) -> None:
        if self._run is not None and step >= self._first_step:
            self._attempt(lambda: self._run.log(values(), step=step))

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # wandb's own, the network's, its service's: no run ends by them
            self._run = None
            tqdm.write(f"wandb failed ({first_line(error)}); the run goes on without it.")


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
    path = workdir / RUN_FILE
    recorded = files.read_json(path) if path.exists() else None
    if isinstance(recorded, dict) and recorded.get("project") == project:
        if isinstance(recorded.get("id"), str) and recorded["id"]:
            return recorded["id"]
    new = uuid.uuid4().hex[:12]
    files.write_json(path, {"project": project, "id": new})
    return new
