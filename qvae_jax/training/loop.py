"""The steps of a run, and what happens at the end of each epoch of them."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from qvae_jax.data import batches
from qvae_jax.system.errors import counted, first_line
from qvae_jax.training import devices, hosts
from qvae_jax.training import state as training_state
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.metrics_log import Logs
from qvae_jax.training.setup import Setup
from qvae_jax.training.state import Progress, TrainState
from qvae_jax.training.step_report import StepReport, require_finite_state

# SIGHUP comes where the terminal is closed or the connection to it is lost; Windows has none.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)

# Also where a shell started the process in the background, and with SIGINT ignored.
ALWAYS_HEEDED = (signal.SIGTERM, signal.SIGINT)


class EpochAction(NamedTuple):
    """Something to look at or hear, made at the end of an epoch; training does not depend on it.

    Attributes:
        name: of what it makes, for the line that says that it failed.
        every_epochs: how often it is due, besides at the end of the run; 0 is never.
        act: (setup, state, log, epoch, step) -> None, called by every process.
        is_done: (setup, epoch) -> whether all of an epoch's is on disk.
    """

    name: str
    every_epochs: int
    act: Callable[[Setup, TrainState, Logs, int, int], None]
    is_done: Callable[[Setup, int], bool]

    def is_due(self, epoch: int, last: bool) -> bool:
        """Whether it is to be done at the end of this epoch."""
        return bool(self.every_epochs) and (last or epoch % self.every_epochs == 0)


def run_steps(
    setup: Setup,
    state: TrainState,
    progress: Progress,
    kept: RunCheckpoints,
    log: Logs,
    first_step: int,
    actions: Sequence[EpochAction],
) -> bool:
    """All steps after first_step; false where a signal ended them early.

    SIGTERM, SIGINT and SIGHUP end them after the step that is being taken, which is then saved.
    Raises UserError where a loss is not finite or a checkpoint cannot be saved.
    """
    epochs = _EpochEnds(setup, kept, log, actions)
    epochs.make_up(state, progress, first_step)
    if setup.stops_early(progress):
        return True
    feed = batches.prefetch(_batch_of(setup), first_step, setup.num_steps)
    report = StepReport(setup, log, first_step, kept)
    with contextlib.closing(feed), contextlib.closing(report), _stop_signals() as stop_requested:
        for step, (batch, wait_s) in enumerate(batches.timed(feed), start=first_step + 1):
            state, metrics = setup.train_step(state, batch)
            report.after_step(step, devices.get_state(metrics, setup.placement))
            report.add_wait(wait_s)
            if step % setup.steps_per_epoch == 0:
                report.flush()
                epochs.end(state, progress, report, step)
                if setup.stops_early(progress):
                    report.say(_early_stop_line(setup, progress))
                    return True
            # After the epoch's end, so that a run that goes on from here has not missed it.
            if hosts.agree_to_stop(step, stop_requested):
                report.flush()
                log.flush()
                save(kept, step, devices.get_state(state, setup.placement), progress, None)
                kept.wait()
                report.say(f"stopped and saved at step {step}; the same command goes on from it.")
                return False
    return True


def _batch_of(setup: Setup) -> Callable[[int], dict]:
    """The function (steps taken before) -> batch, on the devices."""
    examples, seed = setup.prepared.parts["train"], setup.config.training.seed
    own = devices.own_rows(setup.batch_size, setup.placement)
    rows = np.arange(setup.batch_size)[own]

    def batch_of(step: int) -> dict:
        indices = batches.training_indices(len(examples), setup.batch_size, seed, step)
        batch = setup.told(examples.batch(indices[own]), step, rows)
        return devices.put_batch(batch, setup.placement)

    return batch_of


class _EpochEnds:
    """What happens at the end of an epoch: validation, a checkpoint, and then the actions."""

    def __init__(
        self, setup: Setup, kept: RunCheckpoints, log: Logs, actions: Sequence[EpochAction]
    ):
        self._setup, self._kept, self._log, self._actions = setup, kept, log, actions
        self._failed: set[str] = set()  # actions of which that has been said

    def end(self, state: TrainState, progress: Progress, report: StepReport, step: int) -> None:
        """Validates, saves and acts, each at its interval."""
        setup, log, config = self._setup, self._log, self._setup.config
        epoch, last = step // setup.steps_per_epoch, step == setup.num_steps
        speed = report.speed()
        if speed:
            log.write(step, "speed", speed, epoch=epoch)
        validated = None
        if last or epoch % config.validation.every_epochs == 0:
            results = self._validate(state, epoch, step)
            best = setup.task.best
            validated = results[setup.monitored][best.value]
            progress.update(
                best.as_loss(validated),
                config.validation.every_epochs,
                config.early_stopping.min_delta,
            )
            report.say(_epoch_line(setup, epoch, results))
        last = last or setup.stops_early(progress)
        # Metrics first: a run that goes on from this checkpoint does not write them again.
        log.flush()
        if last or epoch % config.checkpoints.every_epochs == 0:
            now = devices.get_state(state, setup.placement)
            save(self._kept, step, now, progress, validated)
        due = [action for action in self._actions if action.is_due(epoch, last)]
        self._act(due, state, epoch, step)

    def make_up(self, state: TrainState, progress: Progress, step: int) -> None:
        """Does what is missing where a run was killed between an epoch's checkpoint and its actions."""
        epoch, rest = divmod(step, self._setup.steps_per_epoch)
        if not epoch or rest:
            return
        last = step >= self._setup.num_steps or self._setup.stops_early(progress)
        due = [action for action in self._actions if action.is_due(epoch, last)]
        missing = [a for a in due if not hosts.writer_says(self._is_done(a, epoch))]
        self._act(missing, state, epoch, step)

    def _is_done(self, action: EpochAction, epoch: int) -> bool:
        try:
            return action.is_done(self._setup, epoch)
        except OSError:  # of a folder that cannot be looked into; the action itself will say so
            return False

    def _validate(self, state: TrainState, epoch: int, step: int) -> dict[str, dict[str, float]]:
        """What validation measures of each part, logged."""
        setup = self._setup
        results = setup.task.validate(setup, state.averaged(), step, self._kept)
        for part, values in results.items():
            name = "validation" if part == "train" else part
            self._log.write(step, name, values, epoch=epoch)
        return results

    def _act(
        self, actions: Sequence[EpochAction], state: TrainState, epoch: int, step: int
    ) -> None:
        if not actions:
            return
        self._kept.wait()  # a checkpoint is on disk before anything that could go wrong here
        for action in actions:
            try:
                action.act(self._setup, state, self._log, epoch, step)
            except Exception as error:  # of drawing, of sounds, of the disk: no run ends by them
                if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
                    raise  # another process has ended, of which hosts tells
                if action.name not in self._failed:
                    self._failed.add(action.name)
                    tqdm.write(
                        f"the {action.name} of epoch {epoch} could not be made "
                        f"({first_line(error).rstrip('.')}); the run goes on. Where it happens again, "
                        "nothing is said."
                    )
        self._log.flush()


def save(
    kept: RunCheckpoints,
    step: int,
    state: TrainState,
    progress: Progress,
    validated: float | None,
) -> None:
    """Saves a checkpoint; UserError instead where it holds numbers that are not finite."""
    tree = jax.device_get(training_state.to_checkpoint(state, progress))
    require_finite_state(tree, step, kept)
    kept.save(step, tree, validated)


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """A function that tells whether one of STOPPING has come; a second one acts as usual.

    SIGHUP goes on being ignored where the process ignores it, as under nohup.
    """
    received = []
    previous = {}

    def remember(number, frame):
        received.append(number)
        signal.signal(number, previous[number])

    try:
        for number in STOPPING:
            previous[number] = signal.signal(number, remember)
            if number not in ALWAYS_HEEDED and previous[number] is signal.SIG_IGN:
                signal.signal(number, signal.SIG_IGN)
    except ValueError:  # signals reach the main thread only; elsewhere there is nothing to catch
        previous = {}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _epoch_line(setup: Setup, epoch: int, results: dict[str, dict[str, float]]) -> str:
    chosen_by = setup.task.best.value
    texts = []
    for part, values in results.items():
        others = " ".join(f"{name} {values[name]:.3g}" for name in setup.loss.measured)
        texts.append(f"{part} {values[chosen_by]:.3f} ({others})")
    return f"epoch {epoch}/{setup.config.training.num_epochs}  " + "  ".join(texts)


def _early_stop_line(setup: Setup, progress: Progress) -> str:
    best = setup.task.best
    return (
        f"stopping early: the {setup.monitored} {best.title} has not {best.improved} by "
        f"{setup.config.early_stopping.min_delta} for {counted(progress.stale_epochs, 'epoch')}."
    )
