"""Decoders: latent [batch, latent] -> audio [batch, 59049] in (-1, 1) at 22,050 Hz.

Each takes the latent as one time step and upsamples it by three, ten times: 3^10 = 59,049.
After SampleCNN (Lee et al., 2017), turned round.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from qvae_jax.models import layers

NUM_SAMPLES = 3**10
SAMPLE_RATE_HZ = 22_050
STAGE_WIDTHS = (512, 256, 256, 256, 256, 256, 256, 128, 128, 128)


class Stage(nnx.Module):
    """Convolution, BatchNorm, activation; with upsample, after nearest ×3 upsampling."""

    def __init__(self, num_in, num_out, taps, *, activation, upsample, kernel_init, rng):
        self.conv = layers.Conv1d(
            num_in, num_out, taps, upsample=upsample, kernel_init=kernel_init, rng=rng
        )
        self.norm = layers.BatchNorm(num_out, epsilon=1e-5, momentum=0.1)
        self.activation = activation

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, in] -> [batch, time or 3·time, out]."""
        return self.activation(self.norm(self.conv(x), train=train))


class OriginalPlus(nnx.Module):
    """`original-plus`, the default: ten ReLU stages, then three convolutions down to one channel."""

    def __init__(self, latent_dim: int, *, width: float = 1.0, kernel_init, rng):
        scaled = lambda channels: max(1, round(channels * width))  # noqa: E731
        widths = (latent_dim, *map(scaled, STAGE_WIDTHS))
        options = dict(kernel_init=kernel_init, rng=rng)
        self.stages = nnx.List(
            Stage(num_in, num_out, 3, activation=jax.nn.relu, upsample=i > 0, **options)
            for i, (num_in, num_out) in enumerate(zip(widths, widths[1:]))
        )
        leaky = layers.leaky_relu
        self.final = nnx.List(
            [
                Stage(widths[-1], scaled(32), 5, activation=leaky, upsample=True, **options),
                Stage(scaled(32), scaled(8), 5, activation=leaky, upsample=False, **options),
            ]
        )
        self.output = layers.Conv1d(scaled(8), 1, 3, **options)

    def __call__(self, z: jax.Array, *, train: bool = False) -> jax.Array:
        """Latents [batch, latent] -> audio [batch, 59049]."""
        x = z[:, None, :]
        for stage in (*self.stages, *self.final):
            x = stage(x, train=train)
        return jnp.tanh(self.output(x)[..., 0])


DECODERS = {"original-plus": OriginalPlus}
