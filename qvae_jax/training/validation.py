"""The losses and the audio of examples at z = μ, without learning from them."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from qvae_jax import losses
from qvae_jax.data import batches
from qvae_jax.data.batches import Examples
from qvae_jax.models.variables import Variables
from qvae_jax.training import devices, finite
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.run import Run


def validate(
    run: Run, model_variables: Variables, step: int, kept: RunCheckpoints
) -> dict[str, dict[str, float]]:
    """Mean loss and terms of each validated part at z = μ."""
    results = {}
    for part in run.validated:
        sums, examples = {}, run.prepared.parts[part]
        for metrics, _, num_valid in _evaluate(run, model_variables, examples, step):
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value * num_valid
        results[part] = {name: total / len(examples) for name, total in sums.items()}
        finite.require_finite(results[part], losses.TERMS, f"the {part} loss", step, kept)
    return results


def _evaluate(
    run: Run, model_variables: Variables, examples: Examples, step: int
) -> Iterator[tuple[dict[str, float], jax.Array, int]]:
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


def first_samples(
    run: Run, model_variables: Variables, examples: Examples, step: int
) -> tuple[dict[str, float], np.ndarray]:
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
