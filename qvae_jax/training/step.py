"""The training step, a pure function (state, batch) -> (state, metrics), made from any loss."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.training.optimizer import global_norm
from qvae_jax.training.state import TrainState

Metrics = dict[str, jax.Array]
# (variables, batch, key, step) -> (total, (terms by name, running statistics after the batch)).
# Only the total has a gradient. All randomness comes from the key, which is that of the step.
Loss = Callable[[Variables, dict, jax.Array, jax.Array], tuple[jax.Array, tuple[Metrics, Arrays]]]


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """How a step is taken, whatever its loss; all of it is fixed when the step is compiled.

    Attributes:
        learning_rate: at each step, only to be reported; the optimiser has its own.
        seed: of the key that the loss draws from.
        accumulation_steps: parts that a batch is computed in, one after the other. Loss and
            gradient are the parts' mean; what the loss takes over the batch, it takes over one part
            at a time, and the running statistics move once for each.
        average_decay: of the exponential moving average of the trained parameters.
        average_warms_up: whether it is (1 + step) / (10 + step) where that is less, so that a short
            run does not average what it began with.
        axis_name: inside jax.pmap or jax.shard_map, the axis along which the batch is cut.
        batch_norm_per_device: there, whether each device normalises by its own part of the batch.
    """

    learning_rate: optax.Schedule
    seed: int
    accumulation_steps: int = 1
    average_decay: float = 0.0
    average_warms_up: bool = False
    axis_name: str | None = None
    batch_norm_per_device: bool = False


def make_train_step(
    loss: Loss, optimizer: optax.GradientTransformation, options: StepOptions
) -> Callable[[TrainState, dict], tuple[TrainState, Metrics]]:
    """The step (state, batch) -> (state, metrics) that lowers this loss.

    A batch is a dict of arrays [batch, …]. Metrics are scalars: the total loss, its terms, the
    learning rate and the gradient's norm before clipping.
    """

    def total_of(trainable: Arrays, state: TrainState, batch: dict, part: jax.Array | None = None):
        key = jax.random.fold_in(jax.random.key(options.seed), state.step)
        if part is not None:
            key = jax.random.fold_in(key, part)
        now = state._replace(trainable=trainable).variables()
        total, (terms, stats) = loss(now, batch, key, state.step)
        return total, ({"total": total, **terms}, stats)

    gradient_of = jax.grad(total_of, has_aux=True)

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, Metrics]:
        if options.accumulation_steps == 1:
            gradient, (terms, stats) = gradient_of(state.trainable, state, batch)
        else:
            gradient, (terms, stats) = _accumulated(
                gradient_of, state, batch, options.accumulation_steps
            )
        gradient, stats = _over_devices(gradient, stats, options)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, state.trainable
        )
        metrics = {
            **terms,
            "gradient_norm": global_norm(gradient),
            "learning_rate": jnp.asarray(options.learning_rate(state.step)),
        }
        trainable = optax.apply_updates(state.trainable, updates)
        average = state.average
        if average is not None:
            average = optax.incremental_update(
                trainable, average, 1.0 - _average_decay(options, state.step)
            )
        new_state = TrainState(
            state.step + 1, trainable, state.frozen, stats, optimizer_state, average
        )
        return new_state, metrics

    return train_step


def _average_decay(options: StepOptions, step: jax.Array) -> jax.Array | float:
    if not options.average_warms_up:
        return options.average_decay
    return jnp.minimum(options.average_decay, (1 + step) / (10 + step))


def _accumulated(gradient_of: Callable, state: TrainState, batch: dict, num_parts: int):
    """What gradient_of gives for the batch, computed in parts of it one after the other."""
    # Part i has the rows i, i + num_parts, …: cut so, each device's rows fall into all parts alike.
    apart = lambda x: x.reshape(-1, num_parts, *x.shape[1:]).swapaxes(0, 1)

    def add_part(stats: Arrays, part_and_rows):
        part, rows = part_and_rows
        now = state._replace(batch_stats=stats)
        gradient, (terms, stats) = gradient_of(state.trainable, now, rows, part)
        return stats, (gradient, terms)

    parts = jnp.arange(num_parts), jax.tree.map(apart, batch)
    stats, of_parts = jax.lax.scan(add_part, state.batch_stats, parts)
    gradient, terms = jax.tree.map(lambda x: jnp.mean(x, axis=0), of_parts)
    return gradient, (terms, stats)


def _over_devices(gradient: Arrays, stats: Arrays, options: StepOptions) -> tuple[Arrays, Arrays]:
    """Gradient and running statistics of the whole batch from those of the devices' parts."""
    if options.axis_name is None:
        return gradient, stats
    # The loss on every device is already that of the whole batch, and the backward pass of a sum
    # over devices is a sum again: what each device holds is the derivative, by its own copy of the
    # parameters, of as many equal losses as there are devices. The mean over the copies is the
    # gradient.
    gradient = jax.lax.pmean(gradient, options.axis_name)
    if options.batch_norm_per_device:
        stats = jax.lax.pmean(stats, options.axis_name)
    return gradient, stats
