"""Diagnostics as something that training makes at the end of epochs."""

from tqdm import tqdm

from qvae_jax.diagnostics import files, probe
from qvae_jax.diagnostics.arrays import Snapshot
from qvae_jax.system.errors import UserError
from qvae_jax.training import hosts
from qvae_jax.training.loop import EpochAction
from qvae_jax.training.metrics_log import Logs
from qvae_jax.training.setup import Setup
from qvae_jax.training.state import TrainState


def diagnostics_action(setup: Setup, first_step: int) -> EpochAction:
    """The action that examines a state and writes what it finds, due as the config says.

    What an earlier attempt wrote of epochs after first_step is removed at once, if it can be.
    """
    if hosts.is_writer():
        _forget_after(setup, first_step // setup.steps_per_epoch)
    examine = probe.make_probe(setup.loss, setup.step_options, setup.placement)

    def act(setup: Setup, state: TrainState, log: Logs, epoch: int, step: int) -> None:
        parts = {part: setup.prepared.parts[part] for part in setup.validated}
        found = probe.examine(
            examine,
            state,
            parts,
            setup.prepared.parts["train"],
            setup.batch_size,
            setup.config.diagnostics.num_examples,
            setup.names,
        )
        if hosts.is_writer():
            files.write(setup.workdir, Snapshot(epoch, step, tuple(parts), found))

    def is_done(setup: Setup, epoch: int) -> bool:
        return files.are_written(setup.workdir, epoch)

    return EpochAction("diagnostics", setup.config.diagnostics.every_epochs, act, is_done)


def _forget_after(setup: Setup, epoch: int) -> None:
    try:
        files.forget_after(setup.workdir, epoch)
    except UserError as error:
        tqdm.write(
            f"diagnostics of an earlier attempt cannot be removed ({str(error).rstrip('.')}); the "
            "run goes on."
        )
