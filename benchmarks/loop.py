"""`python -m benchmarks.loop`: what a training epoch costs beyond its bare steps.

The peer of each epoch is as many calls of the same compiled step on a batch that is on the device
already, right after it: what is left are reading, logging and saving. Diagnostics, samples and
validation are off. The model is the full one, its encoder frozen, on the synthetic data set. The
cores' time says more than the clock on a machine that others use too.
"""

import argparse
import pathlib
import tempfile
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from configs import quickstart
from qvae_jax import train
from qvae_jax.data import batches
from qvae_jax.training import loop
from qvae_jax.training.run import Run

GOAL = 0.03


def main() -> None:
    """Prints one line for each epoch but the first, which compiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    epochs = []
    with tempfile.TemporaryDirectory() as folder:
        with mock.patch.object(loop, "end_of_epoch", _timed(epochs)):
            train.train(_config(options.steps, options.epochs), pathlib.Path(folder) / "run")
    shares = [real / bare - 1 for real, bare in epochs[1:]]
    for (real, bare), share in zip(epochs[1:], shares):
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


def _timed(epochs: list):
    """The loop's end_of_epoch, before which an epoch's seconds and those of bare steps are noted.

    So an epoch has the save that the one before it began, from its first moment to its last.
    """
    end_of_epoch = loop.end_of_epoch
    started = [_now_s()]

    def timed(run, state, *others):
        real = _now_s() - started[0]
        epochs.append((real, _bare_seconds(run, state)))
        started[0] = _now_s()
        end_of_epoch(run, state, *others)

    return timed


def _now_s() -> np.ndarray:
    """The time that passes, and that of all cores together."""
    return np.array([time.perf_counter(), time.process_time()])


def _bare_seconds(run: Run, state) -> np.ndarray:
    examples = run.prepared.parts["train"]
    indices = batches.training_indices(
        len(examples), run.batch_size, run.config.training.seed, 0
    )
    batch = jax.device_put(examples.batch(indices))
    state = jax.tree.map(jnp.copy, state)  # the step takes its state's memory over
    jax.block_until_ready((batch, state))
    start = _now_s()
    for _ in range(run.steps_per_epoch):
        state, metrics = run.train_step(state, batch)
    jax.block_until_ready(metrics)
    return _now_s() - start


if __name__ == "__main__":
    main()
