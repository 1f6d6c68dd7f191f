"""`--mode=pretrain`: trains encoders to find a sound by its imitation, or goes on with such a run."""

from collections.abc import Sequence

import ml_collections

from qvae_jax import runs
from qvae_jax.modes import training_runs
from qvae_jax.modes.requests import PretrainRequest
from qvae_jax.system.command import command
from qvae_jax.training import encoder_folder
from qvae_jax.training.encoder_task import EncoderTask
from qvae_jax.training.loop import EpochAction
from qvae_jax.training.setup import Setup
from qvae_jax.training.start import Finished


def pretrain(config: ml_collections.ConfigDict, request: PretrainRequest) -> bool:
    """Trains as the config says; all that it writes goes into the request's workdir.

    At the end `workdir/encoder` holds the best encoders, from which a QVAE can be trained
    (model.encoder_checkpoint). A run goes on and begins anew as train's does, and raises UserError
    as that does.
    """
    return training_runs.run(config, request, EncoderTask(), _actions, _at_end)


def _actions(setup: Setup, first_step: int) -> Sequence[EpochAction]:
    return ()


def _at_end(finished: Finished) -> None:
    """Writes the encoders, and says where everything lies."""
    workdir = finished.setup.workdir
    encoder_folder.write(finished.setup, finished.best_step)
    training_runs.summarise(
        finished,
        {"encoders": runs.ENCODER},
        f"{command()} --mode=train --config=CONFIG --workdir=W "
        f"--config.model.encoder_checkpoint={workdir / runs.ENCODER}",
    )
