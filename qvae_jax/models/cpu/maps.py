"""Convolutions and means of maps [batch, height, width, channels]."""

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.models import plain
from qvae_jax.models.cpu.depthwise import depthwise_as_shifted_sum


def conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """plain.conv2d; by one matrix product where it has one tap."""
    if kernel.shape[:2] == (1, 1) and stride == 1:
        # In two dimensions: XLA transposes whole maps for the gradient of one in four.
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)
    if x.shape[-1] == 1:
        return depthwise_as_shifted_sum(x, kernel, stride)  # each tap is one scaled copy here too
    return plain.conv2d(x, kernel, stride=stride)


def gated_conv2d(x: jax.Array, kernel: jax.Array, gate: jax.Array, *, stride: int = 1) -> jax.Array:
    """plain.gated_conv2d; for a batch of one, a pass over the kernel in place of one over a map."""
    if len(x) == 1:
        return conv2d(x, gate[0, :, None] * kernel, stride=stride)
    return conv2d(x * gate[:, None, None, :], kernel, stride=stride)


def depthwise_conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """plain.depthwise_conv2d, several times as fast.

    XLA's CPU backend runs a grouped convolution channel by channel, but fuses the sum of k² shifted
    products into one loop.
    """
    return depthwise_as_shifted_sum(x, kernel, stride)


def mean_of_places(x: jax.Array, counts: np.ndarray | None = None) -> jax.Array:
    """plain.mean_of_places; of a batch of one, by a matrix product.

    XLA's CPU backend would compute x once for a sum and once more for the product that follows.
    """
    if len(x) > 1:
        return plain.mean_of_places(x, counts)
    places = x.reshape(-1, x.shape[-1])
    if counts is None:
        return jnp.ones((1, len(places)), x.dtype) @ places / len(places)
    of_places = np.tile(counts, x.shape[1])
    return of_places.astype(x.dtype)[None] @ places / of_places.sum()
