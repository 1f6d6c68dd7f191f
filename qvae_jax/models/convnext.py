"""ConvNeXt blocks over time (Liu et al., 2022; Siuzdak, 2023), which a latent may move."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from qvae_jax.models import forms, initializers, layers

TAPS = 7
EPSILON = 1e-6


class ConvNeXtBlock(nnx.Module):
    """A convolution of each channel over time, LayerNorm, two pointwise layers, and the input added.

    With a latent, its linear maps scale and shift what is normalised (FiLM: Perez et al., 2018).
    Between the two pointwise layers there are expansion times as many channels.
    """

    def __init__(
        self,
        num_channels: int,
        *,
        dilation: int = 1,
        latent_dim: int = 0,
        film_init: initializers.Initializer = initializers.lecun_normal,
        expansion: int = 3,
        rng,
    ):
        parts = {"kernel_init": initializers.lecun_normal, "rng": rng}
        self.taps = nnx.Param(initializers.lecun_normal(rng, (TAPS, 1, num_channels)))
        self.bias = nnx.Param(np.zeros(num_channels, np.float32))
        self.norm = LayerNorm(num_channels)
        film = {"kernel_init": film_init, "rng": rng}
        self.film = layers.Linear(latent_dim, 2 * num_channels, **film) if latent_dim else None
        self.up = layers.Linear(num_channels, expansion * num_channels, **parts)
        self.down = layers.Linear(expansion * num_channels, num_channels, **parts)
        self.dilation = dilation

    def __call__(
        self, x: jax.Array, z: jax.Array | None = None, valid: jax.Array | None = None
    ) -> jax.Array:
        """[batch, time, channels] -> the same shape; z [batch, latent] where the block has a latent.

        valid, bool [batch, time], is false beyond a sound's end: the others are as if it ended there.
        """
        y = self.norm(self._convolved(x if valid is None else jnp.where(valid[..., None], x, 0.0)))
        if self.film is not None:
            scale, shift = jnp.split(self.film(z)[:, None, :], 2, axis=-1)
            y = y * (1 + scale) + shift
        return x + self.down(forms.gelu(self.up(y)))

    def _convolved(self, x: jax.Array) -> jax.Array:
        """Each channel by its own taps."""
        taps, bias = self.taps[...].astype(x.dtype), self.bias[...].astype(x.dtype)
        return forms.depthwise_conv1d(x, taps, dilation=self.dilation) + bias


class LayerNorm(nnx.Module):
    """Mean 0 and variance 1 over the channels of each frame, then scale and bias."""

    def __init__(self, num_channels: int):
        self.scale = nnx.Param(np.ones(num_channels, np.float32))
        self.bias = nnx.Param(np.zeros(num_channels, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., channels] -> the same shape and type; computed in float32 at least."""
        wide = layers.in_float32(x)
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        y = centred * lax.rsqrt(variance + EPSILON) * self.scale[...] + self.bias[...]
        return y.astype(x.dtype)
