"""`python -m benchmarks.loop`: what a training epoch costs beyond its bare steps.

The peer is the same compiled step, called on a batch that is on the device already. The loop and
the peer take turns of a few steps, so that whatever else the machine does affects both alike. What
the loop costs beyond the peer is reading, logging and saving: diagnostics, samples and validation
are off. The model is the full one with a frozen encoder, on the synthetic data set in batches of 8;
an epoch of VimSketch has about 350 steps of 32. On a machine that others use, time on the cores
says more than the wall clock.
"""

import argparse
import pathlib
import signal
import tempfile
import time
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from configs import quickstart
from qvae_jax.modes import train
from qvae_jax.modes.requests import TrainRequest
from qvae_jax.system import memory
from qvae_jax.training import devices

GOAL = 0.03
STEPS_IN_A_TURN = 10


class InTurns:
    """A training step that, after each turn of calls, takes as many bare steps, and times both.

    A turn lasts until the first call of the next one, so it includes what the loop does between
    steps. An epoch ends in the middle of a turn, which therefore includes the save that goes on in
    the background. The steps before the first turn compile. After num_turns the run is told to
    stop.
    """

    def __init__(self, step: Callable, num_turns: int):
        self.turns = []  # (loop, bare steps), each in seconds of the clock and of the cores
        self._step, self._num_turns = step, num_turns
        self._calls, self._start = 0, None

    def __call__(self, state, batch):
        if self._calls % STEPS_IN_A_TURN == STEPS_IN_A_TURN // 2:
            self._change_turns(state, batch)
        self._calls += 1
        return self._step(state, batch)

    def _change_turns(self, state, batch) -> None:
        jax.block_until_ready((state, batch))
        if self._start is not None:
            self.turns.append((_now_s() - self._start, self._bare_seconds(state, batch)))
        if len(self.turns) == self._num_turns:
            signal.raise_signal(signal.SIGTERM)
        self._start = _now_s()

    def _bare_seconds(self, state, batch) -> np.ndarray:
        state = jax.tree.map(jnp.copy, state)  # because the step donates its state's memory
        jax.block_until_ready(state)
        start = _now_s()
        for _ in range(STEPS_IN_A_TURN):
            state, metrics = self._step(state, batch)
        jax.block_until_ready((state, metrics))
        return _now_s() - start


def main() -> None:
    """Prints one line for each epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=100, help="steps of an epoch, a multiple of 10"
    )
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    turns_in_an_epoch = options.steps // STEPS_IN_A_TURN
    compile_train_step, timed = devices.compile_train_step, []

    def compile_timed(step: Callable, placement: devices.Placement) -> InTurns:
        timed.append(
            InTurns(compile_train_step(step, placement), options.epochs * turns_in_an_epoch)
        )
        return timed[0]

    with tempfile.TemporaryDirectory() as folder:
        with mock.patch.object(devices, "compile_train_step", compile_timed):
            request = TrainRequest(workdir=str(pathlib.Path(folder) / "run"))
            train.train(_config(options.steps, options.epochs + 1), request)
    turns = np.reshape(timed[0].turns, (options.epochs, turns_in_an_epoch, 2, 2))
    epochs = turns.sum(axis=1)
    shares = epochs[:, 0] / epochs[:, 1] - 1
    for (real, bare), share in zip(epochs, shares):
        print(
            f"epoch {real[0]:6.2f} s, bare steps {bare[0]:6.2f} s: {share[0]:+.1%}; "
            f"of the cores {real[1]:6.2f} s and {bare[1]:6.2f} s: {share[1]:+.1%}"
        )
    elapsed, of_cores = np.median(shares, axis=0)
    print(f"median {elapsed:+.1%} (of the cores {of_cores:+.1%}), wanted at most {GOAL:.0%}")


def _config(steps: int, epochs: int):
    config = quickstart.get_config()
    config.model.encoder_width = 1.0
    config.model.decoder.width = 1.0
    config.model.latent_dim = 64
    config.model.feature_space = "final"
    config.training.steps_per_epoch = steps
    config.training.num_epochs = epochs
    config.validation.every_epochs = epochs + 1
    config.checkpoints.every_epochs = 1
    config.logging.num_samples = 0
    config.diagnostics.every_epochs = 0
    return config


def _now_s() -> np.ndarray:
    """Seconds of the wall clock, and of all cores together."""
    return np.array([time.perf_counter(), time.process_time()])


if __name__ == "__main__":
    memory.restart_with_huge_pages()  # as main.py does
    main()
