"""Mean and spread of the training inputs' features, by which a model may standardise them.

They are taken once, from the weights that a new run begins with, and are part of its weights from
then on: checkpoints, averages and resets keep them.
"""

import functools
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from flax import nnx

from qvae_jax.data.prepared import Prepared
from qvae_jax.models import layers, variables
from qvae_jax.models.batching import in_batches
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.system.progress import progress_bar
from qvae_jax.training import hosts

BATCH_SIZE = 16  # inputs at once: as many as the encoder is given when features are cached
# A dimension that hardly moves among the training inputs may move in a new one. None is magnified
# more than ten times as much as the typical one: of a released encoder's features of recordings
# the least moving spreads by a sixth of that, so the floor changes none of them; of an early
# layer's maps many dimensions are 0 throughout.
SMALLEST_SHARE = 0.1
# Features whose typical spread is below this share of their size differ by rounding alone.
ROUNDING = 100 * np.finfo(np.float32).eps


def with_statistics(
    model_variables: Variables, graphdef: nnx.GraphDef, prepared: Prepared, *, precomputed: bool
) -> Variables:
    """The variables, with the statistics of the training part's features; alike in every process.

    Args:
        model_variables: of a model that standardises its features.
        graphdef: the model's structure.
        prepared: of whose training part every input counts once, however many pairs use it.
        precomputed: whether the inputs are features already. The encoder makes them otherwise, in
            evaluation mode and on one device, whatever else there is.
    """

    def compute() -> Arrays:
        mean, spread = mean_and_spread(_features(model_variables, graphdef, prepared, precomputed))
        spread = spread * np.float32(layers.wideness(len(spread)))
        return {"standardise.mean": mean, "standardise.spread": spread}

    names = ("standardise.mean", "standardise.spread")
    like = {name: model_variables.batch_stats[name] for name in names}
    statistics = hosts.writers_arrays(compute, like)
    return model_variables._replace(batch_stats=model_variables.batch_stats | statistics)


def mean_and_spread(batches: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and floored standard deviation of all rows, float32 [dim] each, of batches [rows, dim].

    The floor is SMALLEST_SHARE of the typical spread, the root of the dimensions' mean variance.
    Where all rows are the same but for rounding, the spread is 1.
    """
    count, first, total, squares = 0, 0.0, 0.0, 0.0
    for batch in batches:
        rows = batch.astype(np.float64)
        first = rows[0] if count == 0 else first
        # From the first row, so that a dimension which never moves has a spread of exactly 0.
        away = rows - first
        total, squares = total + away.sum(0), squares + np.square(away).sum(0)
        count += len(rows)
    mean = first + total / count
    variance = np.maximum(squares / count - np.square(total / count), 0.0)
    typical, size = np.sqrt(np.mean(variance)), np.sqrt(np.mean(np.square(mean) + variance))
    # What lies below the smallest number that float32 holds in full is nothing to divide by, either.
    if typical <= max(ROUNDING * size, np.finfo(np.float32).tiny / SMALLEST_SHARE):
        return mean.astype(np.float32), np.ones_like(mean, np.float32)
    spread = np.maximum(np.sqrt(variance), SMALLEST_SHARE * typical)
    return mean.astype(np.float32), spread.astype(np.float32)


def _features(
    model_variables: Variables, graphdef: nnx.GraphDef, prepared: Prepared, precomputed: bool
) -> Iterator[np.ndarray]:
    """Features [rows, feature_dim] of the training inputs, some at a time."""
    examples = prepared.parts["train"]
    if precomputed:
        yield from examples.distinct_inputs(BATCH_SIZE)
        return

    @jax.jit
    def compute(given: Variables, inputs: jax.Array) -> jax.Array:
        model = variables.merge(graphdef, given)
        return model.features(inputs, first_layer=prepared.first_layer)

    of_inputs = functools.partial(compute, jax.device_put(model_variables))
    count = len(np.unique(examples.input_rows))
    with progress_bar("mean and spread of features", total=count, unit="input") as progress:
        for inputs in examples.distinct_inputs(BATCH_SIZE):
            yield in_batches(of_inputs, inputs, BATCH_SIZE)
            progress.update(len(inputs))
