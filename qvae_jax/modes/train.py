"""`--mode=train`: trains a QVAE, or goes on with the run in the workdir."""

import pathlib
from collections.abc import Sequence

import jax
import ml_collections

from qvae_jax import configuration, runs
from qvae_jax.diagnostics.epoch_action import diagnostics_action
from qvae_jax.modes.requests import TrainRequest
from qvae_jax.system import memory
from qvae_jax.system.command import command
from qvae_jax.training import devices, hosts, start, validation, wandb_log
from qvae_jax.training.loop import EpochAction
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
    together = request.coordinator_address, request.num_processes, request.process_id
    with hosts.joined(*together), hosts.writer_speaks(), memory.given_back_after_compiling():
        configuration.check(config)
        devices.check_devices(config)
        wandb_log.check(config.logging.wandb)
        workdir = pathlib.Path(request.workdir)
        finished = start.train(config, workdir, _actions, reset=request.reset_epoch)
        if finished and hosts.is_writer():
            _summarise(finished)
        return finished is not None and jax.process_count() == 1


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
    """The last lines: how far the loss fell, and where everything lies."""
    setup = finished.setup
    workdir, config = setup.workdir, setup.config
    entries = [entry for entry in runs.read_metrics(workdir) if entry["part"] == "train"]
    if entries:
        first, last = entries[0], entries[-1]
        recent = [entry["total"] for entry in entries if entry["epoch"] == last["epoch"]]
        print(
            f"training loss went from {first['total']:.2f} at step {first['step']} to "
            f"{sum(recent) / len(recent):.2f} in epoch {last['epoch']}; "
            f"step {finished.best_step} is best by its {setup.monitored} loss"
        )
    places = {
        "checkpoints": finished.checkpoints.relative_to(workdir.resolve()),
        "metrics": f"{runs.METRICS_FILE} and {runs.TENSORBOARD}",
    }
    if config.logging.num_samples:
        places["audio and pictures"] = runs.SAMPLES
    if config.diagnostics.every_epochs:
        places["diagnostics"] = f"{runs.DIAGNOSTICS} (see --mode=diagnose)"
    for what, where in places.items():
        print(f"{what + ':':20}{workdir / where}")
    print(
        f"next:               {command()} --mode=generate --workdir={workdir} "
        "--inputs=FOLDER --output_dir=OUT"
    )
