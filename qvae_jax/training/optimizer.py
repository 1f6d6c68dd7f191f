"""Which parameters learn, and how fast."""

import jax
import jax.numpy as jnp
import optax

from qvae_jax.models.variables import Arrays

FEW_NUMBERS = 4096  # arrays of fewer are cheaper to join than to have code compiled for each


def split_trainable(params: Arrays, layers: frozenset[int]) -> tuple[Arrays, Arrays]:
    """(trainable, frozen): heads, decoder and the encoder's listed layers learn.

    The encoder's AudioSet head never does: no loss depends on it.
    """
    prefixes = ("mu_head.", "logvar_head.", "decoder.")
    prefixes += tuple(f"encoder.features.{layer}." for layer in layers)
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
