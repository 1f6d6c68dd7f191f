"""A training pass through BatchNorm, activation and convolution, one sample after the other.

A plain pass writes and reads, at a decoder's last layers, some 100 MB for every operation. Here a
sample's numbers stay in the processor's cache from one convolution's result to the next one's, and
only these results are kept for the gradient: less than half of the memory.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from qvae_jax.models import convolutions, layers


class Unnormalised(NamedTuple):
    """A convolution's result [batch, time, C], and each channel's mean and biased variance."""

    values: jax.Array
    mean: jax.Array
    var: jax.Array


def unnormalised(values: jax.Array) -> Unnormalised:
    """values [batch, time, C] with their moments, computed plainly."""
    mean = jnp.mean(values, (0, 1))
    return Unnormalised(values, mean, jnp.mean(jnp.square(values - mean), (0, 1)))


def convolve(
    before: Unnormalised,
    norm: layers.BatchNorm,
    slope: float,
    conv: layers.Conv1d | layers.Upsample3,
) -> Unnormalised:
    """conv(leaky_relu(norm(before), slope)) in training: norm's running statistics move too."""
    batch, time, _ = before.values.shape
    norm.track(before.mean, before.var, batch * time)
    factor = norm.scale[...] * lax.rsqrt(before.var + norm.epsilon)
    scaling = (before.mean, factor, norm.bias[...])
    parameters = (conv.kernel[...], conv.bias[...])
    return Unnormalised(*_convolve(before.values, scaling, parameters, slope, conv.reads))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _convolve(values, scaling, parameters, slope: float, reads: convolutions.Reads):
    """Result and moments; values [batch, time, in], scaling (mean, factor, bias) by channel."""
    mean, factor, offset = scaling
    kernel, bias = parameters

    def of_sample(sample):
        x = layers.leaky_relu((sample - mean) * factor + offset, slope)
        y = convolutions.convolve(x, kernel, reads) + bias
        own_mean = jnp.mean(y, 0)
        return y, own_mean, jnp.mean(jnp.square(y - own_mean), 0)

    results, means, variances = lax.map(of_sample, values)
    mean = jnp.mean(means, 0)
    # The law of total variance; every sample is as long.
    return results, mean, jnp.mean(variances, 0) + jnp.mean(jnp.square(means - mean), 0)


def _forward(values, scaling, parameters, slope, reads):
    results = _convolve(values, scaling, parameters, slope, reads)
    return results, (values, scaling, parameters, *results[:2])


def _backward(slope, reads, saved, cotangents):
    values, (mean, factor, offset), (kernel, bias), results, results_mean = saved
    of_results, of_mean, of_var = cotangents
    count = results.shape[0] * results.shape[1]

    def of_sample(sums, rows):
        sample, result, of_result = rows
        of_result = of_result + (of_mean + 2.0 * of_var * (result - results_mean)) / count
        centred = sample - mean
        activated, of_activated = jax.vjp(
            lambda u: layers.leaky_relu(u, slope), centred * factor + offset
        )
        of_x, of_kernel = convolutions.convolve_gradients(activated, kernel, of_result, reads)
        (of_normalised,) = of_activated(of_x)
        here = (
            jnp.sum(of_normalised * centred, 0),
            jnp.sum(of_normalised, 0),
            of_kernel,
            jnp.sum(of_result, 0),
        )
        return jax.tree.map(jnp.add, sums, here), of_normalised * factor

    zeros = jax.tree.map(jnp.zeros_like, (factor, offset, kernel, bias))
    sums, of_values = lax.scan(of_sample, zeros, (values, results, of_results))
    of_factor, of_offset, of_kernel, of_bias = sums
    return of_values, (-factor * of_offset, of_factor, of_offset), (of_kernel, of_bias)


_convolve.defvjp(_forward, _backward)
