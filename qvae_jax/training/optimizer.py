"""Which parameters learn and how fast: AdamW, and schedules of the rate and of β by step."""

import jax
import jax.numpy as jnp
import optax

from qvae_jax.models.variables import Arrays

FEW_NUMBERS = 4096  # arrays of fewer are cheaper to join than to have code compiled for each
ENCODERS = ("encoder", "imitation", "reference")  # a QVAE's, and those of a search by voice
WARMUP_START = 0.1  # share of the full rate at which warm-up begins


def split_trainable(params: Arrays, layers: frozenset[int]) -> tuple[Arrays, Arrays]:
    """(trainable, frozen): heads, decoder, temperature and the encoders' listed layers learn.

    An encoder's AudioSet head never does: no loss depends on it.
    """
    prefixes = ("mu_head.", "logvar_head.", "decoder.", "tau")
    prefixes += tuple(f"{name}.features.{layer}." for name in ENCODERS for layer in layers)
    trainable = {name: array for name, array in params.items() if name.startswith(prefixes)}
    return trainable, {name: a for name, a in params.items() if name not in trainable}


def adamw(
    learning_rate: optax.Schedule,
    encoder_learning_rate: optax.Schedule,
    *,
    beta1: float,
    beta2: float,
    weight_decay: float,
    clip_norm: float,
) -> optax.GradientTransformation:
    """AdamW after clipping the global norm; the encoder has a learning rate of its own.

    Loshchilov & Hutter (2019); as in torch, decay applies to every parameter.
    """
    group = lambda rate: optax.adamw(rate, b1=beta1, b2=beta2, eps=1e-8, weight_decay=weight_decay)
    groups = {"encoder": group(encoder_learning_rate), "rest": group(learning_rate)}
    return optax.chain(clip_by_global_norm(clip_norm), optax.multi_transform(groups, _group_of))


def global_norm(arrays: Arrays) -> jax.Array:
    """The square root of the sum of all squares.

    What optax.tree.norm gives, but that has XLA compile three loops for each array: 4 of the
    25 s that the from-scratch step took to compile.
    """
    alone = [x for x in arrays.values() if x.size >= FEW_NUMBERS]
    joined = [x.ravel() for x in arrays.values() if x.size < FEW_NUMBERS]
    parts = [*alone, jnp.concatenate(joined)] if joined else alone
    return jnp.sqrt(sum(jnp.sum(jnp.square(part)) for part in parts))


def clip_by_global_norm(largest_norm: float) -> optax.GradientTransformation:
    """Scales gradients of a larger global norm down to it, as optax's of this name does."""

    def update(gradient: Arrays, state: optax.EmptyState, params: Arrays | None = None):
        factor = jnp.minimum(1.0, largest_norm / global_norm(gradient))
        return jax.tree.map(lambda x: x * factor, gradient), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _group_of(params: Arrays) -> dict[str, str]:
    return {name: "encoder" if name.startswith("encoder.") else "rest" for name in params}


# --- Schedules, functions of the step


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


def rise_and_cosine(
    peak: float, *, low: float, warmup_epochs: int, decay_epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    """A line from `low` up to `peak`, then half a cosine back down to it, where it stays.

    It changes at every step; warmup_epochs and decay_epochs are how long each of the two takes.
    """
    rise, fall = warmup_epochs * steps_per_epoch, decay_epochs * steps_per_epoch
    return optax.warmup_cosine_decay_schedule(low, peak, rise, rise + fall, end_value=low)


def exponential_and_line(
    peak: float,
    *,
    final: float,
    warmup_epochs: int,
    constant_epochs: int,
    decay_epochs: int,
    steps_per_epoch: int,
) -> optax.Schedule:
    """Exponential warm-up, `peak` for a while, then a line down to `final`; constant in an epoch.

    The warm-up is peak·exp(−5(1 − e / warmup_epochs)²) with an epoch e of ½ at least (Laine & Aila
    2017).
    """
    decay_begin = warmup_epochs + constant_epochs

    def schedule(step: jax.Array) -> jax.Array:
        epoch = jnp.asarray(step) // steps_per_epoch
        missing = 1 - jnp.maximum(epoch, 0.5) / max(warmup_epochs, 0.5)
        rising = jnp.where(epoch < warmup_epochs, jnp.exp(-5 * missing**2), 1.0)
        left = 1 - jnp.clip((epoch - decay_begin) / max(decay_epochs, 1), 0, 1)
        return rising * (final + (peak - final) * left)

    return schedule


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
