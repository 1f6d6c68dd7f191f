"""What a run was made with, kept in its folder: `environment.json` and `history.json`."""

import importlib.metadata
import pathlib
import platform
import subprocess

import jax

from qvae_jax.system import files
from qvae_jax.system.errors import UserError

ENVIRONMENT_FILE = "environment.json"
HISTORY_FILE = "history.json"
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "librosa",
    "soundfile",
    "soxr",
    "ml_collections",
)
GIT_TIMEOUT_S = 10


def record_environment(workdir: pathlib.Path) -> None:
    """Writes package versions, the git commit and the devices of this start of the run."""
    devices = jax.devices()
    environment = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_commit": git_commit(),
        "devices": f"{len(devices)} {devices[0].device_kind}",
        "processes": jax.process_count(),
    }
    files.write_json(workdir / ENVIRONMENT_FILE, environment)


def record_event(workdir: pathlib.Path, event: dict) -> None:
    """Adds an event to the run's history; one that a kill made happen twice is kept once."""
    events = read_history(workdir)
    if event not in events[-1:]:
        files.write_json(workdir / HISTORY_FILE, [*events, event])


def read_history(workdir: pathlib.Path) -> list[dict]:
    """The events of a run, the oldest first: settings changed, and resets.

    Raises UserError for a file that is damaged.
    """
    path = workdir / HISTORY_FILE
    if not path.exists():
        return []
    events = files.read_json(path)
    if not isinstance(events, list):
        raise UserError(f"{path} is not the history of a run: move it away.")
    return events


def git_commit() -> str | None:
    """The commit of this code, with "+" where files differ from it; None outside a repository."""
    here = pathlib.Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+" if _git(here, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: pathlib.Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_S,
        check=True,
    )
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
