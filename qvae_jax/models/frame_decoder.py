"""`frame`: a decoder that works at frame rate and ends in an inverse STFT.

A latent becomes 9 frames, then 27, 81 and 243, each of them a log-magnitude, a phase and a
magnitude of noise for every bin (Vocos: Siuzdak, 2023). 243 frames of 243 samples are 59,049 at
22,050 Hz; at 44,100 Hz frames have 486 samples, and twice as many bins. It costs a fraction of the
stages that go up to every sample, and learns tones and noises that they do not.
"""

from collections.abc import Iterator

import jax
from flax import nnx

from qvae_jax.audio import inverse_stft
from qvae_jax.audio.controls import SAMPLE_RATE_HZ, hop_length  # a frame of sound is one of curves
from qvae_jax.models import layers, plain
from qvae_jax.models.convnext import ConvNeXtBlock
from qvae_jax.models.initializers import xavier_normal
from qvae_jax.models.spectral_head import SpectralHead, limited, spectrum, turned, white_noise

NUM_FRAMES = 243
WIDTH = 384
FIRST_FRAMES = 9
RISING_DILATIONS = (1, 1, 1)  # of a block after each ×3
DILATIONS = (1, 2, 4, 1, 2)  # of the blocks at full rate
# Of the head's first weights. By heart, eight pairs take half as many steps to a loss of 4.3 as with
# 1, and twice as many with 8 as with 4.
SPREAD = 4.0


class Trunk(nnx.Module):
    """A latent to channels at frame rate: [batch, latent] -> [batch, 243, channels]."""

    def __init__(self, latent_dim: int, channels: int, dilations=DILATIONS, *, rng):
        parts = {"kernel_init": xavier_normal, "rng": rng}
        self.project = layers.Linear(latent_dim, FIRST_FRAMES * channels, **parts)
        self.rising = nnx.List(
            ConvNeXtBlock(channels, dilation=d, rng=rng) for d in RISING_DILATIONS
        )
        self.blocks = nnx.List(ConvNeXtBlock(channels, dilation=d, rng=rng) for d in dilations)

    def trace(self, z: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every layer's result by name, [batch, frames, channels]."""
        x = self.project(z).reshape(z.shape[0], FIRST_FRAMES, -1)
        yield "project", x
        for i, block in enumerate(self.rising):
            x = block(plain.upsample3_linear(x))
            yield f"rising.{i}", x
        for i, block in enumerate(self.blocks):
            x = block(x)
            yield f"blocks.{i}", x

    def __call__(self, z: jax.Array) -> jax.Array:
        """The channels."""
        *_, (_, x) = self.trace(z)
        return x


class FrameDecoder(nnx.Module):
    """Latents [batch, latent] -> audio [batch, 243·hop] in (-1, 1) at sample_rate_hz."""

    uses_noise = True

    def __init__(
        self,
        latent_dim: int,
        *,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        width: float = 1.0,
        dropout: float = 0.0,
        kernel_init=None,
        rng,
    ):
        del dropout, kernel_init  # those of the decoders of samples; these blocks have their own
        channels = max(1, round(WIDTH * width))
        self.hop_length = hop_length(sample_rate_hz)
        self.trunk = Trunk(latent_dim, channels, rng=rng)
        self.output = SpectralHead(channels, self.hop_length, spread=SPREAD, rng=rng)

    def __call__(
        self, z: jax.Array, *, seeds: jax.Array, train: bool = False, key=None
    ) -> jax.Array:
        """The audio; seeds [batch, 2] are those of its noise, see noise.white."""
        return self.of_noise(z, white_noise(seeds, NUM_FRAMES, self.hop_length))

    def of_noise(self, z: jax.Array, white: jax.Array) -> jax.Array:
        """The audio of the noise itself, [batch, (243 + 2·MARGIN)·hop]; see white_noise."""
        parts = self.output(self.trunk(z))
        # A steady tone is then a phase that hardly changes, which is soon learnt.
        phase = parts.phase + turned(*parts.phase.shape[-2:])
        complex_frames, _ = spectrum(parts._replace(phase=phase), white, self.hop_length)
        return limited(inverse_stft.inverse(complex_frames, self.hop_length))
