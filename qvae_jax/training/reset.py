"""`--reset_epoch`: the weights of a run's last checkpoint become the start of a new one.

What the run wrote moves to `before_reset_N` in its folder, and `start` holds the weights. A kill
at any moment leaves either the old run or a reset that the next start brings to its end.
"""

import os
import pathlib

from qvae_jax.models import stored
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.training import environment

START_FOLDER = "start"
PENDING_FOLDER = "reset_pending"
MOVED = (
    "checkpoints",
    "metrics.jsonl",
    "tensorboard",
    "samples",
    "split.json",
    "diagnostics",
    "wandb_run.json",  # the new run counts its steps anew, which wandb takes from a new run only
    START_FOLDER,
)


def begin_reset(workdir: pathlib.Path, step: int, weights: Variables) -> None:
    """Resets the run in workdir to begin anew from these weights, which it had after `step`."""
    number = 1
    while (workdir / f"before_reset_{number}").exists():
        number += 1
    moved_to = f"before_reset_{number}"
    description = {"kind": "start", "moved_to": moved_to, "step": step}
    # From here on the reset happens, however often it is interrupted.
    stored.save_model(workdir / PENDING_FOLDER, description, weights)
    finish_reset(workdir)


def finish_reset(workdir: pathlib.Path) -> bool:
    """Brings a reset to its end that has begun; whether there was one."""
    pending = workdir / PENDING_FOLDER
    if not pending.exists():
        return False
    description = stored.read_description(pending)
    folder = workdir / description["moved_to"]
    files.make_folder(folder)
    with files.explaining_write_errors(folder):
        for name in MOVED:
            if (workdir / name).exists() and not (folder / name).exists():
                os.replace(workdir / name, folder / name)
    event = {"step": description["step"], "reset": description["moved_to"]}
    environment.record_event(workdir, event)
    with files.explaining_write_errors(workdir):
        os.replace(pending, workdir / START_FOLDER)
    return True


def start_weights(workdir: pathlib.Path, expected: Variables) -> Variables | None:
    """The weights that a reset left to start from; None in a run that was never reset.

    Raises UserError where they do not fit the model.
    """
    folder = workdir / START_FOLDER
    return stored.load_arrays(folder, expected) if folder.exists() else None
