"""A decoder's stages in training, from BatchNorm to the next convolution sample by sample.

Computed plainly, each operation in a decoder's last layers writes and reads some 100 MB. Here the
chain is cut elsewhere: what lies between the results of two convolutions, BatchNorm, activation and
the second convolution, is done for one sample while its numbers are in the processor's cache.

    plain    convolution, BatchNorm, activation | convolution, BatchNorm, activation | output
    here     convolution | BatchNorm, activation, convolution | BatchNorm, activation, output

Only the convolutions' results are kept for the gradient: less than half of the memory.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from qvae_jax.models import plain
from qvae_jax.models.activations import leaky_relu
from qvae_jax.models.cpu import tap_products

FIRST_LONG_STAGE = 6  # its result has 729 time steps


def train_stages(x: jax.Array, stages, output) -> jax.Array:
    """plain.train_stages, sample by sample from the first long stage on where that is possible."""
    if not _can_go_by_sample(x, stages):
        return plain.train_stages(x, stages, output)
    for stage in stages[:FIRST_LONG_STAGE]:
        x = stage(x, train=True)
    chain = stages[FIRST_LONG_STAGE:]
    y = unnormalised(chain[0].conv(x))
    for stage, conv in zip(chain, [*(stage.conv for stage in chain[1:]), output]):
        y = convolve(y, stage.norm, stage.slope, conv)
    return y.values


def _can_go_by_sample(x: jax.Array, stages) -> bool:
    """Whether each stage needs no more of the one before it than its convolution's result."""
    whole_batch_is_here = stages[0].norm.axis_name is None and stages[0].norm.valid is None
    plain_chain = not any(stage.residual or stage.upsample for stage in stages)
    wide = jnp.finfo(x.dtype).bits >= 32  # BatchNorm's statistics want float32 at least
    return whole_batch_is_here and plain_chain and wide


class Unnormalised(NamedTuple):
    """A convolution's result [batch, time, C], and each channel's mean and biased variance."""

    values: jax.Array
    mean: jax.Array
    var: jax.Array


def unnormalised(values: jax.Array) -> Unnormalised:
    """values [batch, time, C] with their moments, computed plainly."""
    mean = jnp.mean(values, (0, 1))
    return Unnormalised(values, mean, jnp.mean(jnp.square(values - mean), (0, 1)))


def convolve(before: Unnormalised, norm, slope: float, conv) -> Unnormalised:
    """conv(leaky_relu(norm(before), slope)) in training: norm's running statistics move too.

    norm is a layers.BatchNorm; conv a layers.Conv1d without linear upsampling, or an Upsample3.
    """
    batch, time, _ = before.values.shape
    norm.track(before.mean, before.var, batch * time)
    factor = norm.scale[...] * lax.rsqrt(before.var + norm.epsilon)
    scaling = (before.mean, factor, norm.bias[...])
    parameters = (conv.kernel[...], conv.bias[...])
    return Unnormalised(*_convolve(before.values, scaling, parameters, slope, _kind(conv)))


def _kind(conv) -> tap_products.Kind:
    """Which of tap_products' convolutions a layer computes."""
    if conv.upsample == "learned":
        return tap_products.TRANSPOSED3
    if conv.upsample == "nearest":
        return tap_products.Upsampled3()
    return tap_products.same_length(len(conv.kernel[...]), conv.dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _convolve(values, scaling, parameters, slope: float, kind: tap_products.Kind):
    """Result and moments; values [batch, time, in], scaling (mean, factor, bias) by channel."""
    mean, factor, offset = scaling
    kernel, bias = parameters

    def of_sample(sample):
        x = leaky_relu((sample - mean) * factor + offset, slope)
        y = tap_products.convolve(x, kernel, kind) + bias
        own_mean = jnp.mean(y, 0)
        return y, own_mean, jnp.mean(jnp.square(y - own_mean), 0)

    results, means, variances = lax.map(of_sample, values)
    mean = jnp.mean(means, 0)
    # The law of total variance; every sample is as long.
    return results, mean, jnp.mean(variances, 0) + jnp.mean(jnp.square(means - mean), 0)


def _forward(values, scaling, parameters, slope, kind):
    results = _convolve(values, scaling, parameters, slope, kind)
    return results, (values, scaling, parameters, *results[:2])


def _backward(slope, kind, saved, cotangents):
    values, (mean, factor, offset), (kernel, bias), results, results_mean = saved
    of_results, of_mean, of_var = cotangents
    count = results.shape[0] * results.shape[1]

    def of_sample(sums, rows):
        sample, result, of_result = rows
        of_result = of_result + (of_mean + 2.0 * of_var * (result - results_mean)) / count
        centred = sample - mean
        activated, of_activated = jax.vjp(lambda u: leaky_relu(u, slope), centred * factor + offset)
        of_x, of_kernel = kind.gradients(activated, kernel, of_result)
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
