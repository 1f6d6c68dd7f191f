"""What is said and logged of each step, one step late.

A number that is not finite ends the run before it is learnt from or saved.
"""

import math
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from tqdm import tqdm

from qvae_jax.models.variables import Arrays
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar
from qvae_jax.training import hosts
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.metrics_log import Logs
from qvae_jax.training.setup import Setup


class StepReport:
    """Fetches each step's metrics one step late, checks and logs them, and moves the bar.

    Late, so that the device computes the next step while the host waits for the last one.
    """

    def __init__(self, setup: Setup, log: Logs, first_step: int, kept: RunCheckpoints):
        self._setup, self._log, self._kept = setup, log, kept
        self._pending = None
        self._bar = progress_bar(
            "training",
            total=setup.num_steps,
            unit="step",
            initial=first_step,
            shown=hosts.is_writer(),
        )
        self._waited_s = self._spent_s = 0.0
        self._last_s = None

    def after_step(self, step: int, metrics: dict) -> None:
        """Takes the metrics of a step, still on the device, and handles those of the one before."""
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
        terms = self._setup.loss.terms
        names = (*terms, "total", "gradient_norm")
        require_finite(values, names, "the loss", step, self._kept)
        if step % self._setup.config.logging.every_steps == 0:
            epoch = (step - 1) // self._setup.steps_per_epoch + 1
            self._log.write(step, "train", values, epoch=epoch)
        shown = {name: f"{values[name]:.3g}" for name in ("total", *terms)}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(1)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(text)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()


def require_finite(
    values: Mapping[str, float], names: Sequence[str], what: str, step: int, kept: RunCheckpoints
) -> None:
    """Raises UserError naming the first of these values that is not finite."""
    for name in names:
        if not math.isfinite(values[name]):
            raise UserError(
                f"{what} is not finite at step {step}, first in {name!r} ({values[name]}); "
                f"{_kept(kept)}: lower optimizer.learning_rate and run again."
            )


def require_finite_state(tree: Mapping[str, Arrays], step: int, kept: RunCheckpoints) -> None:
    """Raises UserError naming the first array that is not finite in what is about to be saved."""
    for part in (part for part in tree if part != "progress"):
        for name, array in tree[part].items():
            if not np.isfinite(array).all():
                raise UserError(
                    f"{name} ({part}) is not finite after step {step}; {_kept(kept)}: lower "
                    "optimizer.learning_rate and run again."
                )


def _kept(kept: RunCheckpoints) -> str:
    latest = kept.latest_step
    return "no checkpoint was saved yet" if latest is None else f"step {latest} is kept"
