"""How a run begins, goes on from its last checkpoint, or begins anew from its own weights.

The last is `--reset_epoch`: what the run wrote moves to `before_reset_N` in its folder, and `start`
holds the weights. A kill at any moment leaves either the old run or a reset that the next start
brings to its end.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import ml_collections
import optax

from qvae_jax import configuration, runs
from qvae_jax.data import split_record
from qvae_jax.data.prepared import Prepared
from qvae_jax.models import stored, variables
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.system import files, locks, output_folders
from qvae_jax.system.errors import UserError, counted
from qvae_jax.training import devices, environment, hosts, loop
from qvae_jax.training import state as training_state
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.loop import EpochAction
from qvae_jax.training.metrics_log import open_log
from qvae_jax.training.setup import Setup, Task, set_up
from qvae_jax.training.state import Progress, TrainState

MOVED = (
    runs.CHECKPOINTS,
    runs.METRICS_FILE,
    runs.TENSORBOARD,
    runs.SAMPLES,
    runs.SPLIT_FILE,
    runs.DIAGNOSTICS,
    runs.WANDB_FILE,  # the new run counts its steps anew, which wandb takes from a new run only
    runs.START,
)
RECORDS = (runs.SPLIT_FILE, runs.ENVIRONMENT_FILE, runs.METRICS_FILE)  # of a new run


class Finished(NamedTuple):
    """A run that has come to its end."""

    setup: Setup
    checkpoints: pathlib.Path  # their folder
    best_step: int | None


def train(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    task: Task,
    actions_for: Callable[[Setup, int], Sequence[EpochAction]],
    *,
    reset: bool = False,
) -> Finished | None:
    """Trains the run in a folder from where it stands; None where a signal ended it early.

    Args:
        config: checked already.
        workdir: of the run; nobody else may train in it meanwhile.
        task: what is trained.
        actions_for: (setup, first step) -> what is done at the end of epochs.
        reset: whether a new run begins from the old one's last weights.

    Raises UserError for settings or data that make no sense, where the loss is not finite, and
    where the folder holds a file of a run's that no run wrote.
    """
    files.make_folder(workdir)
    _require_run_or_free(workdir)
    with _alone(workdir):
        _reset(config, workdir, task, reset)
        keep_best = config.checkpoints.keep_best
        opened = RunCheckpoints(workdir, keep_best=keep_best, best=task.best)
        with contextlib.closing(opened) as kept:
            return _train_on(config, workdir, task, kept, actions_for)


def _require_run_or_free(workdir: pathlib.Path) -> None:
    """Raises UserError where a file would be replaced that no run wrote."""
    # A start that is killed early leaves a folder for checkpoints with none in it.
    checkpoints = (workdir / runs.CHECKPOINTS).glob("[0-9]*")
    if (workdir / runs.CONFIG_FILE).exists() or any(checkpoints):
        configuration.read_run(workdir)
        return
    # A start that is killed may have recorded its split alone.
    own = [runs.SPLIT_FILE] if split_record.is_in(workdir) else []
    mend = "move it away or name another --workdir"
    output_folders.require_free(workdir, RECORDS, own, mend=mend)


@contextlib.contextmanager
def _alone(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps a second run out of the folder; of several hosts the writer does so for all."""

    def refuse(holder: str) -> None:
        raise UserError(
            f"{workdir} is being trained in by {holder}: wait for it to end, stop it, or name "
            "another --workdir."
        )

    if not hosts.is_writer():
        yield
        return
    with locks.locked(workdir / runs.LOCK_FILE, refuse):
        yield


def _train_on(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    task: Task,
    kept: RunCheckpoints,
    actions_for: Callable[[Setup, int], Sequence[EpochAction]],
) -> Finished | None:
    """Trains from the last checkpoint, or from the start where there is none."""
    first_step = kept.latest_step or 0
    begun = first_step > 0 or (workdir / runs.START).exists()
    configuration.resolve_encoder(config, workdir if begun else None)
    model_config = configuration.model_config(config)
    model = task.model(config, model_config)
    expected = variables.split(model)[1]
    layers = configuration.trained_layers(config, model_config)
    saved = _saved(config, workdir, kept) if first_step else {}
    if saved:
        first = stored.checked_variables(saved, expected, where=str(kept.directory))
    else:
        _tell_of_lost_checkpoints(workdir)
        first = start_weights(workdir, expected)
    is_new = first is None
    if is_new:
        first = task.initial_variables(config, model_config)
    prepared = _prepared(config, workdir, task, model_config, first, layers, resumed=bool(saved))
    if is_new:
        first = task.fitted(config, model, first, prepared)
    setup, update_rule = set_up(task, config, workdir, model, model_config, layers, prepared)
    state, progress = _first_state(setup, kept, saved, first, layers, update_rule)
    _describe(setup, state)
    state = devices.put_state(state, setup.placement)
    actions = actions_for(setup, first_step)
    with contextlib.closing(open_log(workdir, first_step, config)) as log:
        finished = loop.run_steps(setup, state, progress, kept, log, first_step, actions)
    return Finished(setup, kept.directory, kept.best_step) if finished else None


def _tell_of_lost_checkpoints(workdir: pathlib.Path) -> None:
    """Says so where a run begins anew whose metrics tell of steps that no checkpoint is left of."""
    if not hosts.is_writer() or not (workdir / runs.METRICS_FILE).is_file():
        return
    logged = runs.read_metrics(workdir, leave_out_damaged=True)
    if steps := max((entry["step"] for entry in logged), default=0):
        print(
            f"{workdir} holds no checkpoint of the {counted(steps, 'step')} in {runs.METRICS_FILE}: "
            "training begins anew."
        )


def _saved(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, kept: RunCheckpoints
) -> dict[str, Arrays]:
    """The last checkpoint, if this config may go on from it; records what the config changes."""
    changes = configuration.check_run(config, workdir)
    if changes and hosts.is_writer():
        environment.record_event(workdir, {"step": kept.latest_step, "changed": changes})
    return kept.restore(kept.latest_step)


def _prepared(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    task: Task,
    model_config: QVAEConfig,
    first: Variables,
    layers: frozenset[int],
    *,
    resumed: bool,
) -> Prepared:
    """The data set, split as before in a run that goes on; then the run is put on record."""
    # Without a checkpoint nothing has been learnt, and a start that was interrupted begins anew.
    recorded = split_record.recorded_split(workdir) if resumed else None
    with hosts.writer_first("prepare"):
        prepared = task.prepare(config, model_config, first, workdir, layers, recorded)
    if hosts.is_writer():
        split_record.record_split(workdir, prepared.parts, prepared.left_out)
        configuration.record(config, workdir)
        environment.record_environment(workdir)
    return prepared


def _first_state(
    setup: Setup,
    kept: RunCheckpoints,
    saved: Mapping[str, Arrays],
    first: Variables,
    layers: frozenset[int],
    update_rule: optax.GradientTransformation,
) -> tuple[TrainState, Progress]:
    """The state to start from: the checkpoint's, or these variables with a new optimiser."""
    if saved:
        step = kept.latest_step
        state, progress = training_state.from_checkpoint(
            saved, step, layers, update_rule, where=str(kept.directory)
        )
        print(f"going on from step {step}")
    else:
        state, progress = training_state.new_state(first, layers, update_rule), Progress()
    if setup.config.ema.decay:
        state = training_state.with_average(state, saved)
    return state, progress


def _describe(setup: Setup, state: TrainState) -> None:
    """Prints what is about to be trained, and on how much."""
    counts = environment.count_by_part(state.trainable, state.frozen, setup.names)
    print(environment.parameter_table(counts))
    total = counts[environment.ALL_PARTS]
    parts = ", ".join(f"{len(examples)} {name}" for name, examples in setup.prepared.parts.items())
    print(
        f"{total.trainable:,} parameters learn, {total.frozen:,} do not; pairs: "
        f"{parts}; {counted(setup.config.training.num_epochs, 'epoch')} of "
        f"{counted(setup.steps_per_epoch, 'step')} with batches of {setup.batch_size} on "
        f"{counted(setup.placement.mesh.size, f'{jax.devices()[0].platform} device')}"
    )


# --- Beginning anew


def _reset(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, task: Task, wanted: bool
) -> None:
    """Resets the run where that is wanted, and finishes a reset that was interrupted."""
    if jax.process_count() > 1:
        if wanted or (workdir / runs.RESET_PENDING).exists():
            raise UserError(
                "--reset_epoch needs a single process: run it so first, and stop it by SIGTERM."
            )
        return
    if finish_reset(workdir) or not wanted:
        return
    with contextlib.closing(stored.Checkpoints(workdir / runs.CHECKPOINTS, task.best)) as kept:
        if kept.latest_step is None:
            raise UserError(f"--reset_epoch: {workdir} holds no checkpoint to take weights from.")
        step, saved = kept.latest_step, kept.restore(kept.latest_step)
    configuration.resolve_encoder(config, workdir)
    configuration.check_run(config, workdir, configuration.FIXED_IN_A_RESET)
    model_config = configuration.model_config(config)
    expected = variables.split(task.model(config, model_config))[1]
    begin_reset(workdir, step, stored.checked_variables(saved, expected, where=str(kept.directory)))
    print(f"starting anew from the weights of step {step}")


def begin_reset(workdir: pathlib.Path, step: int, weights: Variables) -> None:
    """Resets the run in workdir to begin anew from these weights, which it had after `step`."""
    number = 1
    while (workdir / f"before_reset_{number}").exists():
        number += 1
    moved_to = f"before_reset_{number}"
    description = {"kind": "start", "moved_to": moved_to, "step": step}
    # Once this folder exists the reset will be finished, however often it is interrupted.
    stored.save_model(workdir / runs.RESET_PENDING, description, weights)
    finish_reset(workdir)


def finish_reset(workdir: pathlib.Path) -> bool:
    """Finishes a reset that has begun, and says whether there was one."""
    pending = workdir / runs.RESET_PENDING
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
        os.replace(pending, workdir / runs.START)
    return True


def start_weights(workdir: pathlib.Path, expected: Variables) -> Variables | None:
    """The weights that a reset left to start from; None in a run that was never reset.

    Raises UserError where they do not fit the model.
    """
    folder = workdir / runs.START
    return stored.load_arrays(folder, expected) if folder.exists() else None
