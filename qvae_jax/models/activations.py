"""The activation that the decoders use."""

import jax
import jax.numpy as jnp

LEAKY_SLOPE = 0.1


def leaky_relu(x: jax.Array, slope: float = LEAKY_SLOPE) -> jax.Array:
    """LeakyReLU, by default with the slope every decoder uses, 0.1; ReLU at slope 0."""
    # Not 0 · x, which for −∞ is not a number.
    return jnp.where(x > 0, x, slope * x if slope else jnp.zeros_like(x))
