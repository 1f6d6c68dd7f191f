"""Convolutions in time: few products by one matrix product, the rest by XLA's own convolution."""

import jax

from qvae_jax.models import plain
from qvae_jax.models.cpu import tap_products

FEW_PRODUCTS = 40  # taps times channels out; XLA's own convolution is faster where there are more


def conv1d(x: jax.Array, kernel: jax.Array, *, dilation: int = 1) -> jax.Array:
    """plain.conv1d; where it has few products, by tap_products."""
    num_taps, _, num_out = kernel.shape
    if x.shape[1] <= dilation:
        return x @ kernel[num_taps // 2]  # every other tap reads beyond the edges
    if num_taps * num_out <= FEW_PRODUCTS:
        return tap_products.convolve(x, kernel, tap_products.same_length(num_taps, dilation))
    return plain.conv1d(x, kernel, dilation=dilation)


def upsample3_conv1d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """plain.upsample3_conv1d.

    Each tap is multiplied once per input sample, a third of the plain form's arithmetic.
    """
    return tap_products.convolve(x, kernel, tap_products.Upsampled3())


def transposed_conv1d_stride3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """plain.transposed_conv1d_stride3.

    Its output windows do not overlap: one matrix product with [3, in, out] and a reshape.
    """
    return tap_products.convolve(x, kernel, tap_products.TRANSPOSED3)
