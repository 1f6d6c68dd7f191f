"""`--mode=train`: trains a QVAE, or goes on with the run in the workdir."""

import contextlib
import dataclasses
import math
import pathlib
import signal
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from tqdm import tqdm

from qvae_jax import configuration, files, losses
from qvae_jax.data import batches, split_record
from qvae_jax.data.batches import Examples
from qvae_jax.errors import UserError
from qvae_jax.models import variables
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.models.mobilenet import LAST_LAYER
from qvae_jax.models.qvae import QVAE
from qvae_jax.models.variables import Variables
from qvae_jax.prepare import Prepared, prepare
from qvae_jax.progress import progress_bar
from qvae_jax.training import (
    checkpoints,
    devices,
    diagnostics_files,
    environment,
    hosts,
    optimizer,
    probe,
    reset,
    samples,
    schedules,
    start,
    summary,
    wandb_log,
)
from qvae_jax.training import state as training_state
from qvae_jax.training.diagnostics import Snapshot
from qvae_jax.training.metrics_log import METRICS_FILE, Logs, open_log, read_metrics
from qvae_jax.training.state import Progress
from qvae_jax.training.step import StepOptions, TrainState, make_eval_step, make_train_step

# The first of these parts that there is chooses the best checkpoint and stops the run early.
MONITORED = ("interpolation", "extrapolation", "train")


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same from the first step to the last."""

    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    prepared: Prepared
    spread: devices.Spread
    batch_size: int
    steps_per_epoch: int
    num_steps: int
    beta: optax.Schedule
    train_step: Callable
    eval_step: Callable
    probe: probe.Probe

    @property
    def validated(self) -> list[str]:
        """The parts that validation measures: the held-out ones, or training pairs without any."""
        held_out = [name for name in self.prepared.parts if name != "train"]
        return held_out or ["train"]

    @property
    def monitored(self) -> str:
        """The part whose loss chooses the best checkpoint."""
        return next(name for name in MONITORED if name in self.validated)


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
    start.check_devices(config)
    wandb_log.check(config.logging.wandb)
    files.make_folder(workdir)
    if (workdir / configuration.CONFIG_FILE).exists():
        configuration.read_run(workdir)  # it is about to be replaced, so it must be a run's
    _reset(config, workdir, reset_epoch)
    keep_best = config.checkpoints.keep_best
    with contextlib.closing(checkpoints.RunCheckpoints(workdir, keep_best=keep_best)) as kept:
        resumed = kept.latest_step
        begun = resumed is not None or (workdir / reset.START_FOLDER).exists()
        start.resolve_encoder(config, workdir if begun else None)
        model_config = configuration.model_config(config)
        graphdef, expected = variables.split(QVAE(model_config, rng=None))
        layers = optimizer.trained_layers(
            config.training.encoder, tuple(config.fine_tuning.layers), model_config.last_layer
        )
        if resumed is None:
            model_variables = reset.start_weights(workdir, expected)
            if model_variables is None:
                model_variables = start.initial_variables(config, model_config)
        else:
            changes = configuration.check_run(config, workdir)
            if changes and hosts.is_writer():
                environment.record_event(workdir, {"step": resumed, "changed": changes})
            saved = kept.restore(resumed)
            model_variables = checkpoints.checked_variables(
                saved, expected, where=str(kept.directory)
            )
        with hosts.writer_first("prepare"):
            prepared = prepare(config, model_config, model_variables, workdir)
        if resumed is not None:
            split_record.check_split(workdir, prepared.parts)
        if hosts.is_writer():
            split_record.record_split(workdir, prepared.parts, prepared.left_out)
            configuration.record(config, workdir)
            environment.record_environment(workdir)

        run, update_rule = _set_up(config, workdir, graphdef, layers, prepared)
        progress = Progress()
        if resumed is None:
            state = training_state.new_state(model_variables, layers, update_rule)
        else:
            state, progress = training_state.from_checkpoint(
                saved, resumed, layers, update_rule, where=str(kept.directory)
            )
            print(f"going on from step {resumed}")
        if config.ema.decay:
            state = training_state.with_average(state, saved if resumed is not None else {})
        _describe(run, state)
        state = devices.put_state(state, run.spread)
        if hosts.is_writer():
            diagnostics_files.forget_after(workdir, (resumed or 0) // run.steps_per_epoch)
        with contextlib.closing(open_log(workdir, resumed or 0, config)) as log:
            finished = _loop(run, state, progress, kept, log, resumed or 0)
        if finished and hosts.is_writer():
            _summarise(run, kept)


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
    read_only = checkpoints.RunCheckpoints(workdir, read_only=True)
    with contextlib.closing(read_only) as kept:
        if kept.latest_step is None:
            raise UserError(f"--reset_epoch: {workdir} holds no checkpoint to take weights from.")
        step, saved = kept.latest_step, kept.restore(kept.latest_step)
    start.resolve_encoder(config, workdir)
    configuration.check_run(config, workdir, configuration.FIXED_IN_A_RESET)
    model_config = configuration.model_config(config)
    expected = variables.split(QVAE(model_config, rng=None))[1]
    where = str(workdir / "checkpoints")
    weights = checkpoints.checked_variables(saved, expected, where=where)
    reset.begin_reset(workdir, step, weights)
    print(f"starting anew from the weights of step {step}")


def _set_up(
    config, workdir, graphdef, layers, prepared
) -> tuple[Run, optax.GradientTransformation]:
    examples = prepared.parts["train"]
    spread = devices.spread(config.parallel, config.batch_norm)
    accumulation_steps = config.training.accumulation_steps
    batch_size = min(config.training.batch_size, len(examples))
    if batch_size < 2:
        raise UserError(
            f"a batch holds {batch_size} example, too few for BatchNorm to train on (there are "
            f"{len(examples)} training pairs): set training.batch_size to 2 or more, or give more "
            "pairs."
        )
    devices.check_batch_size(batch_size, spread.mesh.size, accumulation_steps)
    steps_per_epoch = config.training.steps_per_epoch or len(examples) // batch_size
    learning_rate, encoder_rate = _learning_rates(config, steps_per_epoch)
    update_rule = optimizer.adamw(
        learning_rate,
        encoder_rate,
        beta1=config.optimizer.beta1,
        beta2=config.optimizer.beta2,
        weight_decay=config.optimizer.weight_decay,
        clip_norm=config.optimizer.clip_norm,
    )
    options = StepOptions(
        loss_weights=configuration.loss_weights(config),
        beta=_beta(config, steps_per_epoch),
        learning_rate=learning_rate,
        precomputed_features=config.training.encoder == "frozen",
        train_layers=_batch_norm_layers(config, layers),
        temperature=config.training.temperature,
        seed=config.training.seed,
        first_layer=prepared.first_layer,
        accumulation_steps=accumulation_steps,
        average_decay=config.ema.decay,
        compute_dtype=jnp.bfloat16 if config.training.dtype == "bfloat16" else None,
        axis_name=spread.axis_name,
        batch_norm_per_device=config.batch_norm == "per_device",
    )
    eval_step = make_eval_step(
        graphdef, options, batch_statistics=config.validation.batch_statistics
    )
    run = Run(
        config=config,
        workdir=workdir,
        prepared=prepared,
        spread=spread,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        num_steps=config.training.num_epochs * steps_per_epoch,
        beta=options.beta,
        train_step=devices.compile_train_step(
            make_train_step(graphdef, update_rule, options), spread
        ),
        eval_step=devices.compile_eval_step(eval_step, spread),
        probe=probe.make_probe(graphdef, options, spread),
    )
    return run, update_rule


def _batch_norm_layers(config, trained: frozenset[int]) -> frozenset[int]:
    """The encoder layers whose BatchNorm trains: those that learn or, as in the original, all."""
    drifting = config.fine_tuning.frozen_batch_norm == "train"
    if drifting and config.training.encoder == "fine_tuned":
        return frozenset(range(LAST_LAYER + 1))
    return trained


def _learning_rates(config, steps_per_epoch: int) -> tuple[optax.Schedule, optax.Schedule]:
    """Of heads and decoder, and of the encoder."""
    fine_tuned = config.training.encoder == "fine_tuned"
    peak = config.optimizer.learning_rate
    peaks = (peak, config.fine_tuning.learning_rate if fine_tuned else peak)
    if config.optimizer.schedule == "constant":
        return tuple(optax.constant_schedule(peak) for peak in peaks)
    return tuple(
        schedules.cosine_learning_rate(
            peak,
            final=config.optimizer.final_learning_rate,
            warmup_epochs=config.optimizer.warmup_epochs,
            num_epochs=config.training.num_epochs,
            steps_per_epoch=steps_per_epoch,
        )
        for peak in peaks
    )


def _beta(config, steps_per_epoch: int) -> optax.Schedule:
    beta = config.beta
    if beta.schedule == "fixed":
        return optax.constant_schedule(beta.fixed)
    if beta.schedule == "cyclical":
        return schedules.cyclical_beta(
            beta.minimum, beta.maximum, cycle_steps=beta.cycle_steps, proportion=beta.proportion
        )
    return schedules.linear_beta(
        beta.initial,
        beta.target,
        warmup_epochs=config.optimizer.warmup_epochs,
        rampup_fraction=beta.rampup_fraction,
        num_epochs=config.training.num_epochs,
        steps_per_epoch=steps_per_epoch,
    )


def _loop(
    run: Run,
    state: TrainState,
    progress: Progress,
    kept: checkpoints.RunCheckpoints,
    log: Logs,
    first_step: int,
) -> bool:
    """All remaining steps; false where a signal ended them early."""
    examples, config = run.prepared.parts["train"], run.config
    own = devices.own_rows(run.batch_size, run.spread)

    def batch_of(step: int):
        indices = batches.training_indices(
            len(examples), run.batch_size, config.training.seed, step
        )
        return devices.put_batch(examples.batch(indices[own]), run.spread)

    patience = config.early_stopping.patience_epochs
    if patience and progress.stale_epochs >= patience:
        return True
    report = _StepReport(run, log, first_step, kept)
    feed = batches.prefetch(batch_of, first_step, run.num_steps)
    with contextlib.closing(feed), contextlib.closing(report), _stop_signals() as stop_requested:
        for step, (batch, wait_s) in enumerate(batches.timed(feed), start=first_step + 1):
            state, metrics = run.train_step(state, batch)
            report.after_step(step, devices.get_state(metrics, run.spread))
            report.add_wait(wait_s)
            if step % run.steps_per_epoch == 0:
                report.flush()
                _end_of_epoch(run, state, progress, kept, log, report, step)
                if patience and progress.stale_epochs >= patience:
                    report.say(
                        f"stopping early: the {run.monitored} loss has not fallen by "
                        f"{config.early_stopping.min_delta} for {progress.stale_epochs} epochs."
                    )
                    return True
            # After the epoch's end, so that a run that goes on from here has not missed it.
            if hosts.agree_to_stop(step, stop_requested):
                report.flush()
                log.flush()
                _save(kept, step, devices.get_state(state, run.spread), progress, None)
                report.say(f"stopped and saved at step {step}; the same command goes on from it.")
                return False
    return True


def _end_of_epoch(run, state, progress, kept, log, report, step: int) -> None:
    """Validates, writes samples and saves, each where its interval says so."""
    config, epoch = run.config, step // run.steps_per_epoch
    state_here = devices.get_state(state, run.spread)
    last = step == run.num_steps
    due = lambda interval: last or epoch % interval == 0  # noqa: E731
    validation_loss = None
    stop = False
    speed = report.speed()
    if speed:
        log.write(step, "speed", speed, epoch=epoch)
    if due(config.validation.every_epochs):
        results = _validate(run, state.averaged(), step, kept)
        for part, values in results.items():
            log.write(step, "validation" if part == "train" else part, values, epoch=epoch)
        validation_loss = results[run.monitored]["total"]
        progress.update(
            validation_loss, config.validation.every_epochs, config.early_stopping.min_delta
        )
        patience = config.early_stopping.patience_epochs
        stop = bool(patience) and progress.stale_epochs >= patience
        report.say(_epoch_line(run, epoch, results))
    if stop or due(config.logging.samples_every_epochs):
        _write_samples(run, state.averaged(), log, epoch, step)
    if config.diagnostics.every_epochs and (stop or due(config.diagnostics.every_epochs)):
        _write_diagnostics(run, state, epoch, step)
    if stop or due(config.checkpoints.every_epochs):
        # Metrics first: a run that goes on from this checkpoint does not write them again.
        log.flush()
        _save(kept, step, state_here, progress, validation_loss)
    log.flush()


def _save(
    kept: checkpoints.RunCheckpoints,
    step: int,
    state: TrainState,
    progress: Progress,
    validation_loss: float | None,
) -> None:
    """Saves a checkpoint, but never one from which no run could go on."""
    tree = training_state.to_checkpoint(state, progress)
    for part in (part for part in tree if part != "progress"):
        for name, array in tree[part].items():
            if not np.isfinite(np.asarray(array)).all():
                raise UserError(
                    f"{name} ({part}) is not finite after step {step}; {_kept(kept)}: lower "
                    "optimizer.learning_rate and run again."
                )
    kept.save(step, tree, validation_loss)


def _kept(kept: checkpoints.RunCheckpoints) -> str:
    latest = kept.latest_step
    return "no checkpoint was saved yet" if latest is None else f"step {latest} is kept"


def _validate(
    run: Run, model_variables: Variables, step: int, kept: checkpoints.RunCheckpoints
) -> dict[str, dict[str, float]]:
    """Mean loss and terms of each validated part at z = μ."""
    results = {}
    for part in run.validated:
        sums, examples = {}, run.prepared.parts[part]
        for metrics, _, num_valid in _evaluate(run, model_variables, examples, step):
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value * num_valid
        results[part] = {name: total / len(examples) for name, total in sums.items()}
        _require_finite(results[part], losses.TERMS, f"the {part} loss", step, kept)
    return results


def _evaluate(run: Run, model_variables: Variables, examples: Examples, step: int):
    """Yields the metrics, the audio on the devices, and the number of examples of each batch."""
    beta = np.float32(run.beta(step))
    own = devices.own_rows(run.batch_size, run.spread)
    starts = range(0, len(examples), run.batch_size)
    for first, batch in zip(starts, batches.evaluation_batches(examples, run.batch_size, own)):
        batch = devices.put_batch(batch, run.spread)
        metrics, audio = run.eval_step(model_variables, batch, beta)
        metrics = jax.device_get(devices.get_state(metrics, run.spread))
        num_valid = min(run.batch_size, len(examples) - first)
        yield {name: float(value) for name, value in metrics.items()}, audio, num_valid


def _write_samples(
    run: Run, model_variables: Variables, log: Logs, epoch: int, step: int
) -> None:
    if not run.config.logging.num_samples:
        return
    folder = run.workdir / "samples" / f"epoch_{epoch:04d}"
    for part, examples in run.prepared.parts.items():
        metrics, audio = _first_samples(run, model_variables, examples, step)
        if not hosts.is_writer():
            continue
        title = f"{part}, epoch {epoch}: loss {metrics['total']:.2f}"
        samples.write_samples(folder, part, run.prepared.index, examples, audio, title)
        for i, waveform in enumerate(audio):
            log.write_audio(step, f"{part}_{i + 1:02d}", waveform, SAMPLE_RATE_HZ)


def _write_diagnostics(run: Run, state: TrainState, epoch: int, step: int) -> None:
    parts = {part: run.prepared.parts[part] for part in run.validated}
    found = probe.examine(
        run.probe,
        state,
        parts,
        run.prepared.parts["train"],
        run.batch_size,
        run.config.diagnostics.num_examples,
    )
    if hosts.is_writer():
        snapshot = Snapshot(epoch, step, tuple(parts), found)
        diagnostics_files.write(run.workdir, snapshot)


def _first_samples(run: Run, model_variables: Variables, examples: Examples, step: int):
    """Loss and audio [samples, 59049] of the first samples of a part."""
    count = min(run.config.logging.num_samples, len(examples))
    audio, totals = [], []
    few = dataclasses.replace(
        examples,
        pairs=examples.pairs[:count],
        input_rows=examples.input_rows[:count],
        target_rows=examples.target_rows[:count],
    )
    for metrics, generated, num_valid in _evaluate(run, model_variables, few, step):
        audio.append(devices.get_rows(generated, run.spread)[:num_valid])
        totals += [metrics["total"]] * num_valid
    return {"total": float(np.mean(totals))}, np.concatenate(audio)


class _StepReport:
    """Fetches each step's metrics one step late, checks and logs them, and moves the bar.

    Late, so that the device computes the next step while the host waits for the last one.
    """

    def __init__(self, run: Run, log: Logs, first_step: int, kept):
        self._run, self._log, self._kept = run, log, kept
        self._pending = None
        self._bar = progress_bar(
            "training",
            total=run.num_steps,
            unit="step",
            initial=first_step,
            shown=hosts.is_writer(),
        )
        self._waited_s = self._spent_s = 0.0
        self._last_s = None

    def after_step(self, step: int, metrics: dict) -> None:
        self.flush()
        self._pending = step, metrics

    def add_wait(self, wait_s: float) -> None:
        """Counts the step that has just been taken, and what its batch was waited for."""
        now_s = time.perf_counter()
        if self._last_s is not None:
            self._waited_s += wait_s
            self._spent_s += now_s - self._last_s
        self._last_s = now_s

    def speed(self) -> dict[str, float]:
        """Since the last call: data_wait, the share of the steps' time spent waiting for batches.

        The device may have been at work meanwhile, so it waits no longer than that. The first
        step does not count: it waits for the first batch and for the compiler.
        """
        waited_s, spent_s = self._waited_s, self._spent_s
        self._waited_s = self._spent_s = 0.0
        self._last_s = None
        return {"data_wait": waited_s / spent_s} if spent_s else {}

    def flush(self) -> None:
        """Handles the metrics that are still on the device."""
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        names = (*losses.TERMS, "total", "gradient_norm")
        _require_finite(values, names, "the loss", step, self._kept)
        if step % self._run.config.logging.every_steps == 0:
            epoch = (step - 1) // self._run.steps_per_epoch + 1
            self._log.write(step, "train", values, epoch=epoch)
        shown = {name: f"{values[name]:.3g}" for name in ("total", *losses.TERMS)}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(1)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(text)

    def close(self) -> None:
        self._bar.close()


def _require_finite(
    values: dict[str, float], names, what: str, step: int, kept: checkpoints.RunCheckpoints
) -> None:
    for name in names:
        if not math.isfinite(values[name]):
            raise UserError(
                f"{what} is not finite at step {step}, first in {name!r} ({values[name]}); "
                f"{_kept(kept)}: lower optimizer.learning_rate and run again."
            )


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """A function that tells whether SIGTERM or SIGINT has come; a second one acts as usual."""
    received = []
    previous = {}

    def remember(number, frame):
        received.append(number)
        signal.signal(number, previous[number])

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, remember)
    except ValueError:  # signals reach the main thread only; elsewhere there is nothing to catch
        previous = {}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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


def _epoch_line(run: Run, epoch: int, results: dict[str, dict[str, float]]) -> str:
    texts = []
    for part, values in results.items():
        terms = " ".join(f"{name} {values[name]:.3g}" for name in losses.TERMS)
        texts.append(f"{part} {values['total']:.3f} ({terms})")
    return f"epoch {epoch}/{run.config.training.num_epochs}  " + "  ".join(texts)


def _summarise(run: Run, kept: checkpoints.RunCheckpoints) -> None:
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
        f"next:               python3 main.py --mode=generate --workdir={run.workdir} "
        "--inputs=FOLDER --output_dir=OUT"
    )
