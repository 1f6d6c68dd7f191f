"""What is said and logged of each step, one step late."""

import time

import jax
from tqdm import tqdm

from qvae_jax import losses
from qvae_jax.system.progress import progress_bar
from qvae_jax.training import finite, hosts
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.metrics_log import Logs
from qvae_jax.training.run import Run


class StepReport:
    """Fetches each step's metrics one step late, checks and logs them, and moves the bar.

    Late, so that the device computes the next step while the host waits for the last one.
    """

    def __init__(self, run: Run, log: Logs, first_step: int, kept: RunCheckpoints):
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
        names = (*losses.TERMS, "total", "gradient_norm")
        finite.require_finite(values, names, "the loss", step, self._kept)
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
        """Ends the bar."""
        self._bar.close()
