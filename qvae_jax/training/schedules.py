"""Schedules of the learning rate and of β, as functions of the step."""

import jax
import jax.numpy as jnp
import optax

WARMUP_START = 0.1  # share of the full rate at which warm-up begins


def cosine_learning_rate(
    peak: float, *, final: float, warmup_epochs: int, num_epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    """Linear warm-up from 0.1·peak, then a cosine down to `final`, constant within an epoch.

    Loshchilov & Hutter (2017), without restarts. After num_epochs it stays at `final`.
    """

    def schedule(step: jax.Array) -> jax.Array:
        epoch = jnp.asarray(step) // steps_per_epoch
        warm = peak * (WARMUP_START + (1 - WARMUP_START) * epoch / max(warmup_epochs, 1))
        progress = (epoch - warmup_epochs) / max(num_epochs - warmup_epochs, 1)
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
        return jnp.where(epoch < warmup_epochs, warm, final + (peak - final) * cosine)

    return schedule


def constant(value: float) -> optax.Schedule:
    """The same value at every step."""
    return optax.constant_schedule(value)


def linear_beta(
    initial: float,
    target: float,
    *,
    warmup_epochs: int,
    rampup_fraction: float,
    num_epochs: int,
    steps_per_epoch: int,
) -> optax.Schedule:
    """β: `initial` during warm-up, then a line to `target` over a fraction of all epochs."""

    def schedule(step: jax.Array) -> jax.Array:
        epoch = jnp.asarray(step) // steps_per_epoch
        progress = (epoch - warmup_epochs) / max(rampup_fraction * num_epochs, 1e-9)
        return initial + (target - initial) * jnp.clip(progress, 0, 1)

    return schedule


def cyclical_beta(
    minimum: float, maximum: float, *, cycle_steps: int, proportion: float
) -> optax.Schedule:
    """β: in each cycle a line from minimum to maximum over `proportion` of it, then maximum.

    Fu et al. (2019), cyclical annealing.
    """

    def schedule(step: jax.Array) -> jax.Array:
        position = (jnp.asarray(step) % cycle_steps) / (cycle_steps * proportion)
        return minimum + (maximum - minimum) * jnp.clip(position, 0, 1)

    return schedule
