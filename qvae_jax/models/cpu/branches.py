"""Convolutions side by side and the one that mixes them, as a single convolution."""

import jax
import jax.numpy as jnp

from qvae_jax.models.cpu import convolutions


def mixed_branches(x: jax.Array, branches, output) -> jax.Array:
    """plain.mixed_branches: nothing lies between the two but sums, so that they are one.

    That one has the longest branch's taps and output's channels: a thirteenth of the products in
    the `improved` decoder, whose output is a single channel.
    """
    longest = max(len(branch.kernel[...]) for branch in branches)
    kernels = [_with_taps(branch.kernel[...], longest) for branch in branches]
    biases = [branch.bias[...] for branch in branches]
    mixed = lambda given: jnp.matmul(
        jnp.concatenate(given, axis=-1), output.kernel[0], precision=jax.lax.Precision.HIGHEST
    )
    bias = mixed(biases) + output.bias[...]
    return convolutions.conv1d(x, mixed(kernels).astype(x.dtype)) + bias.astype(x.dtype)


def _with_taps(kernel: jax.Array, num_taps: int) -> jax.Array:
    """A kernel [taps, in, out] with zeros before and after it, to an odd number of taps."""
    missing = (num_taps - len(kernel)) // 2
    return jnp.pad(kernel, [(missing, missing), (0, 0), (0, 0)])
