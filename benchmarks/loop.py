"""`python -m benchmarks.loop`: what a training epoch costs beyond its bare steps.

The peer of each epoch is as many calls of the same compiled step on a batch that is on the device
already, right after it: what is left are reading, logging and saving. Diagnostics, samples and
validation are off, so that the last epoch, which always validates, does not count. The model is
the full one, its encoder frozen, on the synthetic data set.
"""

import argparse
import pathlib
import statistics
import tempfile
import time
from unittest import mock

import jax
import jax.numpy as jnp

from configs import quickstart
from qvae_jax import train
from qvae_jax.data import batches
from qvae_jax.training import loop
from qvae_jax.training.run import Run

GOAL = 0.03


def main() -> None:
    """Prints one line for each epoch between the first, which compiles, and the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    epochs = []
    with tempfile.TemporaryDirectory() as folder:
        with mock.patch.object(loop, "end_of_epoch", _timed(epochs)):
            train.train(_config(options.steps, options.epochs), pathlib.Path(folder) / "run")
    shares = [real_s / bare_s - 1 for real_s, bare_s in epochs[1:-1]]
    for (real_s, bare_s), share in zip(epochs[1:-1], shares):
        print(f"epoch {real_s:6.2f} s, bare steps {bare_s:6.2f} s: {share:+.1%}")
    print(f"median {statistics.median(shares):+.1%}, wanted at most {GOAL:.0%}")


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
    """The loop's end_of_epoch, after which the epoch's seconds and those of bare steps are noted."""
    end_of_epoch = loop.end_of_epoch
    started_s = [time.perf_counter()]

    def timed(run, state, *others):
        end_of_epoch(run, state, *others)
        real_s = time.perf_counter() - started_s[0]
        epochs.append((real_s, _bare_seconds(run, state)))
        started_s[0] = time.perf_counter()

    return timed


def _bare_seconds(run: Run, state) -> float:
    examples = run.prepared.parts["train"]
    indices = batches.training_indices(
        len(examples), run.batch_size, run.config.training.seed, 0
    )
    batch = jax.device_put(examples.batch(indices))
    state = jax.tree.map(jnp.copy, state)  # the step takes its state's memory over
    jax.block_until_ready((batch, state))
    start_s = time.perf_counter()
    for _ in range(run.steps_per_epoch):
        state, metrics = run.train_step(state, batch)
    jax.block_until_ready(metrics)
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
