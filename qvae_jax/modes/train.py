"""`--mode=train`: trains a QVAE, or goes on with the run in the workdir."""

from collections.abc import Sequence

import ml_collections

from qvae_jax import runs
from qvae_jax.diagnostics.epoch_action import diagnostics_action
from qvae_jax.modes import training_runs
from qvae_jax.modes.requests import TrainRequest
from qvae_jax.system.command import command
from qvae_jax.training import validation
from qvae_jax.training.loop import EpochAction
from qvae_jax.training.qvae_task import QVAETask
from qvae_jax.training.setup import Setup
from qvae_jax.training.start import Finished


def train(config: ml_collections.ConfigDict, request: TrainRequest) -> bool:
    """Trains as the config says; all that it writes goes into the request's workdir.

    Gives whether the run has come to its end, and in this process alone.

    A run that the workdir holds already goes on from its last checkpoint, as if it had never
    stopped. With reset_epoch, a new run begins there from the old one's last weights; see
    training/start.py. Raises UserError for settings or data that make no sense, and where the loss
    is not finite.
    """
    return training_runs.run(config, request, QVAETask(), _actions, _summarise)


def _actions(setup: Setup, first_step: int) -> Sequence[EpochAction]:
    """What is made at the end of epochs: samples, and diagnostics."""
    samples = EpochAction(
        "samples",
        setup.config.logging.samples_every_epochs,
        validation.write_samples,
        validation.has_samples,
    )
    return samples, diagnostics_action(setup, first_step)


def _summarise(finished: Finished) -> None:
    config, workdir = finished.setup.config, finished.setup.workdir
    places = {}
    if config.logging.num_samples:
        places["audio and pictures"] = runs.SAMPLES
    if config.diagnostics.every_epochs:
        places["diagnostics"] = f"{runs.DIAGNOSTICS} (see --mode=diagnose)"
    training_runs.summarise(
        finished,
        places,
        f"{command()} --mode=generate --workdir={workdir} --inputs=FOLDER --output_dir=OUT",
    )
