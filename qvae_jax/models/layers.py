"""Layers that agree with torch where it matters: BatchNorm, Linear and forms.

A layer computes in the type of its input; parameters and running statistics keep their own. They
start as NumPy arrays, because JAX would compile a program for each shape.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from qvae_jax.models import forms, global_batch

SMALLEST_NORM = 1e-12  # as torch's normalize has it


def in_float32(x: jax.Array) -> jax.Array:
    """x in float32, or wider where it is already."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def normalised(x: jax.Array) -> jax.Array:
    """Vectors [..., channels] divided by their norm, in float32 at least; zeros stay zeros."""
    x = in_float32(x)
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.maximum(norm, SMALLEST_NORM)


class BatchNorm(nnx.Module):
    """torch's BatchNorm over the last axis of [..., channels].

    Training normalises with the biased variance of the batch and moves the running variance by
    the unbiased one: running = (1 − momentum)·running + momentum·batch, torch's sense of momentum.
    Set axis_name where the batch is cut among devices and the statistics should be the whole
    batch's. They are computed in float32 at least; the result has the input's type. Set valid, bool
    [batch], where rows only fill a batch up: the statistics are then those of the others, and the
    running ones stay as they are.
    """

    axis_name: str | None = None
    valid: jax.Array | None = None

    def __init__(self, num_channels: int, *, epsilon: float, momentum: float):
        self.scale = nnx.Param(np.ones(num_channels, np.float32))
        self.bias = nnx.Param(np.zeros(num_channels, np.float32))
        self.mean = nnx.BatchStat(np.zeros(num_channels, np.float32))
        self.var = nnx.BatchStat(np.ones(num_channels, np.float32))
        self.epsilon = epsilon
        self.momentum = momentum

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises by the running statistics or, with train, by the batch's, which move them.

        Raises ValueError where training would see a single value per channel.
        """
        wide = in_float32(x)
        mean, var = self._batch_statistics(wide) if train else (self.mean[...], self.var[...])
        factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        return ((wide - mean) * factor + self.bias[...]).astype(x.dtype)

    def _batch_statistics(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        axes = tuple(range(x.ndim - 1))
        if self.valid is not None:
            return self._statistics_of_valid(x, axes)
        count = x.size // x.shape[-1] * global_batch.num_parts(self.axis_name)
        if count < 2:
            raise ValueError("BatchNorm cannot train on a single value per channel.")
        mean = global_batch.mean(x, axes, self.axis_name)
        var = global_batch.mean(jnp.square(x - mean), axes, self.axis_name)
        self.track(mean, var, count)
        return mean, var

    def _statistics_of_valid(
        self, x: jax.Array, axes: tuple[int, ...]
    ) -> tuple[jax.Array, jax.Array]:
        valid = self.valid.reshape(-1, *[1] * (x.ndim - 1))
        share = global_batch.mean(valid.astype(x.dtype), None, self.axis_name)
        share = jnp.maximum(share, jnp.finfo(x.dtype).tiny)  # a device may have none of them
        mean_of = lambda y: (
            global_batch.mean(jnp.where(valid, y, 0.0), axes, self.axis_name) / share
        )
        mean = mean_of(x)
        return mean, mean_of(jnp.square(x - mean))

    def track(self, mean: jax.Array, var: jax.Array, count: int) -> None:
        """Moves the running statistics by a batch's mean and biased variance of count values."""
        self._move(self.mean, mean)
        self._move(self.var, var * count / (count - 1))

    def _move(self, running: nnx.BatchStat, batch: jax.Array) -> None:
        batch = jax.lax.stop_gradient(batch)
        running.set_value((1.0 - self.momentum) * running[...] + self.momentum * batch)


class Linear(nnx.Module):
    """Affine map of the last axis: [..., in] -> [..., out]."""

    def __init__(self, num_in: int, num_out: int, *, kernel_init, rng):
        self.kernel = nnx.Param(kernel_init(rng, (num_in, num_out)))
        self.bias = nnx.Param(np.zeros(num_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the map."""
        return x @ self.kernel[...].astype(x.dtype) + self.bias[...].astype(x.dtype)


FEW_INPUTS = 512  # of a linear layer; a released encoder's features are 384 to 1,280


def wideness(num_in: int) -> float:
    """By how much inputs of unit spread are too many: 1 up to FEW_INPUTS of them.

    Adam moves all weights by as much, and what they add up to by as much more as there are inputs.
    Divided by this, thousands of them move it no further than a few hundred do.
    """
    return max(1.0, num_in / FEW_INPUTS)


class Standardise(nnx.Module):
    """Subtracts a kept mean and divides by a kept spread: [..., in] -> [..., in].

    Both [in], the spread above 0 and that of the data times wideness(in). They start as 0 and 1,
    are set from data once, and no step moves them.
    """

    def __init__(self, num_in: int):
        self.mean = nnx.BatchStat(np.zeros(num_in, np.float32))
        self.spread = nnx.BatchStat(np.ones(num_in, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the map."""
        return (x - self.mean[...].astype(x.dtype)) / self.spread[...].astype(x.dtype)


class Conv1d(nnx.Module):
    """Same-length convolution [batch, time, in] -> [batch, time, out], taps odd.

    With upsample, the input is first upsampled by three in time, "nearest" or "linear":
    [batch, 3·time, out].
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        taps: int,
        *,
        upsample: str | None = None,
        dilation: int = 1,
        kernel_init,
        rng,
    ):
        self.kernel = nnx.Param(kernel_init(rng, (taps, num_in, num_out)))
        self.bias = nnx.Param(np.zeros(num_out, np.float32))
        self.upsample = upsample
        self.dilation = dilation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the convolution."""
        kernel, bias = self.kernel[...].astype(x.dtype), self.bias[...].astype(x.dtype)
        if self.upsample == "linear":
            return forms.upsample3_linear_conv1d(x, kernel) + bias
        if self.upsample == "nearest":
            return forms.upsample3_conv1d(x, kernel) + bias
        return forms.conv1d(x, kernel, dilation=self.dilation) + bias


class Upsample3(nnx.Module):
    """Learned ×3 upsampling, a transposed convolution of kernel and stride 3.

    [batch, time, in] -> [batch, 3·time, out], out = in unless given.
    """

    upsample = "learned"

    def __init__(self, num_in: int, num_out: int | None = None, *, kernel_init, rng):
        num_out = num_in if num_out is None else num_out
        # torch's initialisers take a transposed convolution's outputs for its inputs.
        kernel = kernel_init(rng, (3, num_out, num_in)).swapaxes(1, 2)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(np.zeros(num_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the upsampling."""
        kernel, bias = self.kernel[...].astype(x.dtype), self.bias[...].astype(x.dtype)
        return forms.transposed_conv1d_stride3(x, kernel) + bias


class Dropout(nnx.Module):
    """Zeroes elements at a rate in training, and scales the others so that the mean stays.

    Set axis_name where the batch is cut among devices, for the same draw on any number of them.
    """

    axis_name: str | None = None

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        """Applies the dropout; key is needed in training at a rate above 0."""
        if not train or self.rate == 0.0:
            return x
        sample = lambda shape: jax.random.bernoulli(key, 1.0 - self.rate, shape)
        keep = global_batch.draw(sample, x.shape, self.axis_name)
        return jnp.where(keep, x / (1.0 - self.rate), 0.0)
