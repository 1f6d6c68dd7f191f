"""What a run is made with: versions and devices, its history of settings, its parameters."""

import importlib.metadata
import pathlib
import platform
import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

import jax

from qvae_jax.models.variables import Arrays
from qvae_jax.runs import ENVIRONMENT_FILE, HISTORY_FILE
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

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
ALL_PARTS = "all"


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
    """Adds an event to the run's history, once even where a kill makes it happen twice."""
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


# --- Parameters


class Count(NamedTuple):
    """Parameters that learn and parameters that do not."""

    trainable: int = 0
    frozen: int = 0


def count_by_part(trainable: Arrays, frozen: Arrays, names: Sequence[str]) -> dict[str, Count]:
    """The counts of each encoder layer, of whatever else the model has, and of all (ALL_PARTS).

    names are those of all arrays, in the order in which the parts are to come; the sum is last.
    """
    counts = dict.fromkeys([*map(_part, names), ALL_PARTS], Count())
    for name in names:
        learns = name in trainable
        here = Count(trainable[name].size, 0) if learns else Count(0, frozen[name].size)
        for part in (_part(name), ALL_PARTS):
            counts[part] = Count(*(a + b for a, b in zip(counts[part], here)))
    return counts


def parameter_table(counts: dict[str, Count]) -> str:
    """The counts of count_by_part as text, a line for each part."""
    lines = [f"{'parameters of':24}{'all':>12}{'trainable':>12}"]
    lines += [f"{part:24}{sum(n):12,}{n.trainable:12,}" for part, n in counts.items()]
    return "\n".join(lines)


def _part(name: str) -> str:
    """`encoder layer 3`, `encoder.classifier`, or the first word, as in `decoder`."""
    layer = re.match(r"encoder\.features\.(\d+)\.", name)
    if layer:
        return f"encoder layer {layer[1]}"
    return re.match(r"encoder\.\w+|\w+", name)[0]
