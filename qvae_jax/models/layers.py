"""Layers that agree with torch where it matters: BatchNorm, Linear and convolutions."""

import jax
import jax.numpy as jnp
from flax import nnx

from qvae_jax.models import convolutions

LEAKY_SLOPE = 0.1


class BatchNorm(nnx.Module):
    """torch's BatchNorm over the last axis of [..., channels].

    Training normalises with the biased variance of the batch and moves the running variance by
    the unbiased one: running = (1 − momentum)·running + momentum·batch, torch's sense of momentum.
    """

    def __init__(self, num_channels: int, *, epsilon: float, momentum: float):
        self.scale = nnx.Param(jnp.ones(num_channels))
        self.bias = nnx.Param(jnp.zeros(num_channels))
        self.mean = nnx.BatchStat(jnp.zeros(num_channels))
        self.var = nnx.BatchStat(jnp.ones(num_channels))
        self.epsilon = epsilon
        self.momentum = momentum

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises; with train, by the batch, whose statistics also move the running ones.

        Raises ValueError where training would see a single value per channel.
        """
        mean, var = (self._batch_statistics(x) if train else (self.mean[...], self.var[...]))
        factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        return (x - mean) * factor + self.bias[...]

    def _batch_statistics(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        axes = tuple(range(x.ndim - 1))
        count = x.size // x.shape[-1]
        if count < 2:
            raise ValueError("BatchNorm cannot train on a single value per channel.")
        mean = jnp.mean(x, axes)
        var = jnp.mean(jnp.square(x - mean), axes)
        self._move(self.mean, mean)
        self._move(self.var, var * count / (count - 1))
        return mean, var

    def _move(self, running: nnx.BatchStat, batch: jax.Array) -> None:
        batch = jax.lax.stop_gradient(batch)
        running.set_value((1.0 - self.momentum) * running[...] + self.momentum * batch)


class Linear(nnx.Module):
    """Affine map of the last axis: [..., in] -> [..., out]."""

    def __init__(self, num_in: int, num_out: int, *, kernel_init, rng):
        self.kernel = nnx.Param(kernel_init(rng, (num_in, num_out)))
        self.bias = nnx.Param(jnp.zeros(num_out))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the map."""
        return x @ self.kernel[...] + self.bias[...]


class Conv1d(nnx.Module):
    """Same-length convolution [batch, time, in] -> [batch, time, out], taps odd.

    With upsample, the input is first repeated three times in time: [batch, 3·time, out].
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        taps: int,
        *,
        upsample: bool = False,
        dilation: int = 1,
        kernel_init,
        rng,
    ):
        self.kernel = nnx.Param(kernel_init(rng, (taps, num_in, num_out)))
        self.bias = nnx.Param(jnp.zeros(num_out))
        self.upsample = upsample
        self.dilation = dilation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the convolution."""
        if self.upsample:
            return convolutions.upsample3_conv1d(x, self.kernel[...]) + self.bias[...]
        return convolutions.conv1d(x, self.kernel[...], dilation=self.dilation) + self.bias[...]


class Upsample3(nnx.Module):
    """Learned ×3 upsampling, a transposed convolution of kernel and stride 3.

    [batch, time, in] -> [batch, 3·time, out], out = in unless given.
    """

    def __init__(self, num_in: int, num_out: int | None = None, *, kernel_init, rng):
        num_out = num_in if num_out is None else num_out
        # torch's initialisers take a transposed convolution's outputs for its inputs.
        kernel = kernel_init(rng, (3, num_out, num_in)).swapaxes(1, 2)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros(num_out))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the upsampling."""
        return convolutions.transposed_conv1d_stride3(x, self.kernel[...]) + self.bias[...]


class Dropout(nnx.Module):
    """Zeroes elements at a rate in training, and scales the others so that the mean stays."""

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        """Applies the dropout; key is needed in training at a rate above 0."""
        if not train or self.rate == 0.0:
            return x
        keep = jax.random.bernoulli(key, 1.0 - self.rate, x.shape)
        return jnp.where(keep, x / (1.0 - self.rate), 0.0)


def leaky_relu(x: jax.Array) -> jax.Array:
    """LeakyReLU with the slope every decoder uses, 0.1."""
    return jnp.where(x >= 0, x, LEAKY_SLOPE * x)
