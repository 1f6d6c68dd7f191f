"""`--mode=train`: trains a QVAE, or goes on with the run in the workdir."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping

import jax
import ml_collections
import optax

from qvae_jax import configuration
from qvae_jax.data import split_record
from qvae_jax.data.prepared import Prepared, prepare
from qvae_jax.diagnostics import files as diagnostics_files
from qvae_jax.models import stored, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.system import files, locks, memory
from qvae_jax.system.command import command
from qvae_jax.system.errors import UserError
from qvae_jax.training import (
    checkpoints,
    devices,
    environment,
    hosts,
    loop,
    reset,
    summary,
    wandb_log,
)
from qvae_jax.training import state as training_state
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.metrics_log import METRICS_FILE, open_log, read_metrics
from qvae_jax.training.run import Run, set_up
from qvae_jax.training.state import Progress
from qvae_jax.training.step import TrainState

LOCK_FILE = ".lock"


def train(
    config: ml_collections.ConfigDict, workdir: str | pathlib.Path, *, reset_epoch: bool = False
) -> None:
    """Trains as the config says; all that it writes goes into workdir.

    A run that workdir holds already goes on from its last checkpoint, as if it had never stopped.
    With reset_epoch, a new run begins there from the old one's last weights; see training/reset.py.
    Raises UserError for settings or data that make no sense, and where the loss is not finite.
    """
    with hosts.writer_speaks():
        _train(config, pathlib.Path(workdir), reset_epoch)


def _train(config: ml_collections.ConfigDict, workdir: pathlib.Path, reset_epoch: bool) -> None:
    configuration.check(config)
    devices.check_devices(config)
    wandb_log.check(config.logging.wandb)
    files.make_folder(workdir)
    if (workdir / configuration.CONFIG_FILE).exists():
        configuration.read_run(workdir)  # it is about to be replaced, so it must be a run's
    with _alone(workdir), memory.given_back_after_compiling():
        _reset(config, workdir, reset_epoch)
        keep_best = config.checkpoints.keep_best
        with contextlib.closing(RunCheckpoints(workdir, keep_best=keep_best)) as kept:
            _train_on(config, workdir, kept)


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
    with locks.locked(workdir / LOCK_FILE, refuse):
        yield


def _train_on(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, kept: RunCheckpoints
) -> None:
    """Trains from the last checkpoint, or from the start where there is none."""
    first_step = kept.latest_step or 0
    begun = first_step > 0 or (workdir / reset.START_FOLDER).exists()
    configuration.resolve_encoder(config, workdir if begun else None)
    model_config = configuration.model_config(config)
    graphdef, expected = variables.split(QVAE(model_config, rng=None))
    layers = configuration.trained_layers(config, model_config)
    saved = _saved(config, workdir, kept) if first_step else {}
    if saved:
        first = stored.checked_variables(saved, expected, where=str(kept.directory))
    else:
        first = reset.start_weights(workdir, expected)
        first = configuration.initial_variables(config, model_config) if first is None else first
    prepared = _prepared(config, workdir, model_config, first, layers, resumed=bool(saved))
    run, update_rule = set_up(config, workdir, graphdef, layers, prepared)
    state, progress = _first_state(run, kept, saved, first, layers, update_rule)
    _describe(run, state)
    state = devices.put_state(state, run.spread)
    if hosts.is_writer():
        diagnostics_files.forget_after(workdir, first_step // run.steps_per_epoch)
    with contextlib.closing(open_log(workdir, first_step, config)) as log:
        finished = loop.run_steps(run, state, progress, kept, log, first_step)
    if finished and hosts.is_writer():
        _summarise(run, kept)


def _saved(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, kept: RunCheckpoints
) -> dict[str, Arrays]:
    """The last checkpoint, if the config may go on from it; what it changes is recorded."""
    changes = configuration.check_run(config, workdir)
    if changes and hosts.is_writer():
        environment.record_event(workdir, {"step": kept.latest_step, "changed": changes})
    return kept.restore(kept.latest_step)


def _prepared(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
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
        prepared = prepare(config, model_config, first, workdir, layers, recorded)
    if hosts.is_writer():
        split_record.record_split(workdir, prepared.parts, prepared.left_out)
        configuration.record(config, workdir)
        environment.record_environment(workdir)
    return prepared


def _first_state(
    run: Run,
    kept: RunCheckpoints,
    saved: Mapping[str, Arrays],
    first: Variables,
    layers: frozenset[int],
    update_rule: optax.GradientTransformation,
) -> tuple[TrainState, Progress]:
    """What to go on from: the checkpoint, or these variables with an optimiser that is new."""
    if saved:
        step = kept.latest_step
        state, progress = training_state.from_checkpoint(
            saved, step, layers, update_rule, where=str(kept.directory)
        )
        print(f"going on from step {step}")
    else:
        state, progress = training_state.new_state(first, layers, update_rule), Progress()
    if run.config.ema.decay:
        state = training_state.with_average(state, saved)
    return state, progress


def _reset(config, workdir: pathlib.Path, wanted: bool) -> None:
    """Begins a reset where it is wanted, and ends one that was interrupted."""
    if jax.process_count() > 1:
        if wanted or (workdir / reset.PENDING_FOLDER).exists():
            raise UserError(
                "--reset_epoch needs a single process: run it so first, and stop it by SIGTERM."
            )
        return
    if reset.finish_reset(workdir) or not wanted:
        return
    with contextlib.closing(stored.Checkpoints(workdir / checkpoints.FOLDER)) as kept:
        if kept.latest_step is None:
            raise UserError(f"--reset_epoch: {workdir} holds no checkpoint to take weights from.")
        step, saved = kept.latest_step, kept.restore(kept.latest_step)
    configuration.resolve_encoder(config, workdir)
    configuration.check_run(config, workdir, configuration.FIXED_IN_A_RESET)
    model_config = configuration.model_config(config)
    expected = variables.split(QVAE(model_config, rng=None))[1]
    where = str(kept.directory)
    weights = stored.checked_variables(saved, expected, where=where)
    reset.begin_reset(workdir, step, weights)
    print(f"starting anew from the weights of step {step}")


def _describe(run: Run, state: TrainState) -> None:
    print(summary.parameter_table(state.trainable, state.frozen))
    total = summary.count_by_part(state.trainable, state.frozen)[summary.TOTAL]
    parts = ", ".join(f"{len(examples)} {name}" for name, examples in run.prepared.parts.items())
    print(
        f"{total.trainable:,} parameters learn, {total.frozen:,} do not; pairs: "
        f"{parts}; {run.config.training.num_epochs} epochs of {run.steps_per_epoch} steps with "
        f"batches of {run.batch_size} on {run.spread.mesh.size} "
        f"{jax.devices()[0].platform} device(s)"
    )


def _summarise(run: Run, kept: RunCheckpoints) -> None:
    """The last lines: how far the loss fell, and where everything lies."""
    entries = [entry for entry in read_metrics(run.workdir) if entry["part"] == "train"]
    if entries:
        first, last = entries[0], entries[-1]
        recent = [entry["total"] for entry in entries if entry["epoch"] == last["epoch"]]
        print(
            f"training loss went from {first['total']:.2f} at step {first['step']} to "
            f"{sum(recent) / len(recent):.2f} in epoch {last['epoch']}; "
            f"step {kept.best_step} is best by its {run.monitored} loss"
        )
    places = {
        "checkpoints": kept.directory.relative_to(run.workdir.resolve()),
        "metrics": f"{METRICS_FILE} and tensorboard",
    }
    if run.config.logging.num_samples:
        places["audio and pictures"] = "samples"
    if run.config.diagnostics.every_epochs:
        places["diagnostics"] = f"{diagnostics_files.FOLDER} (see --mode=diagnose)"
    for what, where in places.items():
        print(f"{what + ':':20}{run.workdir / where}")
    print(
        f"next:               {command()} --mode=generate --workdir={run.workdir} "
        "--inputs=FOLDER --output_dir=OUT"
    )
