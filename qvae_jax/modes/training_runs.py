"""What the modes share that train: --mode=train and --mode=pretrain."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import ml_collections

from qvae_jax import configuration, runs
from qvae_jax.modes.requests import PretrainRequest, TrainRequest
from qvae_jax.system import memory
from qvae_jax.training import devices, hosts, start, wandb_log
from qvae_jax.training.loop import EpochAction
from qvae_jax.training.setup import Setup, Task
from qvae_jax.training.start import Finished


def run(
    config: ml_collections.ConfigDict,
    request: TrainRequest | PretrainRequest,
    task: Task,
    actions_for: Callable[[Setup, int], Sequence[EpochAction]],
    at_end: Callable[[Finished], None],
) -> bool:
    """Trains, or goes on, as config and request say; see training/start.py.

    at_end is called, in the process that writes, when the run has come to its end. Gives whether it
    has, and in this process alone.
    """
    together = request.coordinator_address, request.num_processes, request.process_id
    with hosts.joined(*together), hosts.writer_speaks(), memory.given_back_after_compiling():
        configuration.check(config)
        configuration.check_objective(config, task.objective)
        devices.check_devices(config)
        wandb_log.check(config.logging.wandb)
        workdir = pathlib.Path(request.workdir)
        finished = start.train(config, workdir, task, actions_for, reset=request.reset_epoch)
        if finished and hosts.is_writer():
            at_end(finished)
        return finished is not None and jax.process_count() == 1


def summarise(finished: Finished, places: Mapping[str, str], next_step: str) -> None:
    """The last lines: how far the loss fell, where everything lies, and what to do next.

    places are those of this kind of run, by what lies there, as the workdir names them.
    """
    setup = finished.setup
    workdir, best = setup.workdir, setup.task.best
    entries = [entry for entry in runs.read_metrics(workdir) if entry["part"] == "train"]
    if entries:
        first, last = entries[0], entries[-1]
        recent = [entry["total"] for entry in entries if entry["epoch"] == last["epoch"]]
        print(
            f"training loss went from {first['total']:.2f} at step {first['step']} to "
            f"{sum(recent) / len(recent):.2f} in epoch {last['epoch']}; "
            f"step {finished.best_step} is best by its {setup.monitored} {best.title}"
        )
    everywhere = {
        "checkpoints": finished.checkpoints.relative_to(workdir.resolve()),
        "metrics": f"{runs.METRICS_FILE} and {runs.TENSORBOARD}",
    }
    for what, where in {**everywhere, **places}.items():
        print(f"{what + ':':20}{workdir / where}")
    print(f"{'next:':20}{next_step}")
