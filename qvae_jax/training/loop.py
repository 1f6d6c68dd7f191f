"""The steps of a run, and what happens after each epoch of them."""

import contextlib
import signal
from collections.abc import Callable, Iterator

import jax

from qvae_jax import losses
from qvae_jax.data import batches
from qvae_jax.diagnostics import files as diagnostics_files
from qvae_jax.diagnostics import probe
from qvae_jax.diagnostics.arrays import Snapshot
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.models.variables import Variables
from qvae_jax.training import devices, finite, hosts, samples, validation
from qvae_jax.training import state as training_state
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.metrics_log import Logs
from qvae_jax.training.run import Run
from qvae_jax.training.state import Progress
from qvae_jax.training.step import TrainState
from qvae_jax.training.step_report import StepReport


def run_steps(
    run: Run,
    state: TrainState,
    progress: Progress,
    kept: RunCheckpoints,
    log: Logs,
    first_step: int,
) -> bool:
    """All steps after first_step; false where a signal ended them early.

    SIGTERM and SIGINT end them after the step that is being taken, which is then saved.
    Raises UserError where a loss is not finite or a checkpoint cannot be saved.
    """
    if run.stops_early(progress):
        return True
    feed = batches.prefetch(_batch_of(run), first_step, run.num_steps)
    report = StepReport(run, log, first_step, kept)
    with contextlib.closing(feed), contextlib.closing(report), _stop_signals() as stop_requested:
        for step, (batch, wait_s) in enumerate(batches.timed(feed), start=first_step + 1):
            state, metrics = run.train_step(state, batch)
            report.after_step(step, devices.get_state(metrics, run.spread))
            report.add_wait(wait_s)
            if step % run.steps_per_epoch == 0:
                report.flush()
                end_of_epoch(run, state, progress, kept, log, report, step)
                if run.stops_early(progress):
                    report.say(_early_stop_line(run, progress))
                    return True
            # After the epoch's end, so that a run that goes on from here has not missed it.
            if hosts.agree_to_stop(step, stop_requested):
                report.flush()
                log.flush()
                save(kept, step, devices.get_state(state, run.spread), progress, None)
                kept.wait()
                report.say(f"stopped and saved at step {step}; the same command goes on from it.")
                return False
    return True


def _batch_of(run: Run) -> Callable[[int], dict]:
    """The function (steps taken before) -> batch, on the devices."""
    examples, seed = run.prepared.parts["train"], run.config.training.seed
    own = devices.own_rows(run.batch_size, run.spread)

    def batch_of(step: int) -> dict:
        indices = batches.training_indices(len(examples), run.batch_size, seed, step)
        return devices.put_batch(examples.batch(indices[own]), run.spread)

    return batch_of


def end_of_epoch(
    run: Run,
    state: TrainState,
    progress: Progress,
    kept: RunCheckpoints,
    log: Logs,
    report: StepReport,
    step: int,
) -> None:
    """Validates, writes samples and diagnostics and saves, each where its interval says so."""
    config, epoch = run.config, step // run.steps_per_epoch
    last = step == run.num_steps
    speed = report.speed()
    if speed:
        log.write(step, "speed", speed, epoch=epoch)
    validation_loss = None
    if last or epoch % config.validation.every_epochs == 0:
        results = _validate(run, state, kept, log, step)
        validation_loss = results[run.monitored]["total"]
        progress.update(
            validation_loss, config.validation.every_epochs, config.early_stopping.min_delta
        )
        report.say(_epoch_line(run, epoch, results))
    last = last or run.stops_early(progress)
    due = lambda interval: last or epoch % interval == 0
    if due(config.logging.samples_every_epochs):
        write_samples(run, state.averaged(), log, epoch, step)
    if config.diagnostics.every_epochs and due(config.diagnostics.every_epochs):
        _write_diagnostics(run, state, epoch, step)
    if due(config.checkpoints.every_epochs):
        # Metrics first: a run that goes on from this checkpoint does not write them again.
        log.flush()
        save(kept, step, devices.get_state(state, run.spread), progress, validation_loss)
    log.flush()


def save(
    kept: RunCheckpoints,
    step: int,
    state: TrainState,
    progress: Progress,
    validation_loss: float | None,
) -> None:
    """Saves a checkpoint, but never one from which no run could go on."""
    tree = jax.device_get(training_state.to_checkpoint(state, progress))
    finite.require_finite_state(tree, step, kept)
    kept.save(step, tree, validation_loss)


def _validate(
    run: Run, state: TrainState, kept: RunCheckpoints, log: Logs, step: int
) -> dict[str, dict[str, float]]:
    """Mean loss and terms of each validated part, logged."""
    results = validation.validate(run, state.averaged(), step, kept)
    for part, values in results.items():
        name = "validation" if part == "train" else part
        log.write(step, name, values, epoch=step // run.steps_per_epoch)
    return results


def write_samples(run: Run, model_variables: Variables, log: Logs, epoch: int, step: int) -> None:
    """Writes and logs what becomes of the first examples of each part."""
    if not run.config.logging.num_samples:
        return
    folder = run.workdir / "samples" / f"epoch_{epoch:04d}"
    for part, examples in run.prepared.parts.items():
        metrics, audio = validation.first_samples(run, model_variables, examples, step)
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


def _epoch_line(run: Run, epoch: int, results: dict[str, dict[str, float]]) -> str:
    texts = []
    for part, values in results.items():
        terms = " ".join(f"{name} {values[name]:.3g}" for name in losses.TERMS)
        texts.append(f"{part} {values['total']:.3f} ({terms})")
    return f"epoch {epoch}/{run.config.training.num_epochs}  " + "  ".join(texts)


def _early_stop_line(run: Run, progress: Progress) -> str:
    return (
        f"stopping early: the {run.monitored} loss has not fallen by "
        f"{run.config.early_stopping.min_delta} for {progress.stale_epochs} epochs."
    )
