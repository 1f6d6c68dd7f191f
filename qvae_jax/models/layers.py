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
        self, num_in: int, num_out: int, taps: int, *, upsample: bool = False, kernel_init, rng
    ):
        self.kernel = nnx.Param(kernel_init(rng, (taps, num_in, num_out)))
        self.bias = nnx.Param(jnp.zeros(num_out))
        self.upsample = upsample

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the convolution."""
        convolve = convolutions.upsample3_conv1d if self.upsample else convolutions.conv1d
        return convolve(x, self.kernel[...]) + self.bias[...]


def leaky_relu(x: jax.Array) -> jax.Array:
    """LeakyReLU with the slope every decoder uses, 0.1."""
    return jnp.where(x >= 0, x, LEAKY_SLOPE * x)
