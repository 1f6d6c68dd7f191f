"""What a run of encoders for search ends in: the best of them as folders that other modes take."""

import contextlib
import dataclasses
import shutil

from qvae_jax import configuration, runs
from qvae_jax.models import qvim, stored, variables
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.system import files
from qvae_jax.training.setup import Setup


def write(setup: Setup, best_step: int) -> None:
    """Writes the encoders of the best checkpoint into `workdir/encoder`, unless they lie there.

    A pair of them is two folders in it (stored.encoder_folders), a shared one is the folder itself.
    Those of an earlier best are removed first: a run that is killed here writes them when the same
    command is given again. Raises UserError where they cannot be written.
    """
    folder = setup.workdir / runs.ENCODER
    described = _description(setup, best_step)
    if folder.is_dir():
        if any(_holds(part, described) for part in stored.encoder_folders(folder)):
            return
        with files.explaining_write_errors(folder):
            shutil.rmtree(folder)
    model_config = configuration.model_config(setup.config)
    expected = variables.split(setup.task.model(setup.config, model_config))[1]
    checkpoints = stored.Checkpoints(setup.workdir / runs.CHECKPOINTS, setup.task.best)
    with contextlib.closing(checkpoints) as kept:
        saved = kept.restore(best_step)
    last = stored.checked_variables(saved, expected, where=str(checkpoints.directory))
    found = qvim.encoders(stored.averaged(saved, last))
    if len(found) == 1:
        stored.save_model(folder, described, found[qvim.IMITATION])
    else:
        stored.save_models(folder, {side: (described, encoder) for side, encoder in found.items()})


def _holds(folder, described: dict) -> bool:
    return stored.read_description(folder) == described


def _description(setup: Setup, best_step: int) -> dict:
    """What each of the folders says of its encoder, as JSON gives it back."""
    found = configuration.model_config(setup.config)
    names = (*configuration.ENCODER_SETTINGS[:4], "front_end")
    model = dataclasses.asdict(QVAEConfig(**{name: getattr(found, name) for name in names}))
    return {
        "kind": "encoder",
        "model": {n: list(v) if isinstance(v, tuple) else v for n, v in model.items()},
        "source": {"run": setup.workdir.name, "step": best_step},
    }
