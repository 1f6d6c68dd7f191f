"""`frame`: a decoder that works at frame rate and ends in an inverse STFT.

A latent becomes 243 frames, each of them a log-magnitude, a phase and a magnitude of noise for
every bin (Vocos: Siuzdak, 2023). 243 frames of 243 samples are 59,049 at 22,050 Hz; at 44,100 Hz
frames have 486 samples, and twice as many bins. It learns tones, noises and silence that decoders
of samples do not, in about the time of original-plus.
"""

import jax
from flax import nnx

from qvae_jax.audio import inverse_stft
from qvae_jax.audio.controls import SAMPLE_RATE_HZ, hop_length  # a frame of sound is one of curves
from qvae_jax.models import layers
from qvae_jax.models.convnext import ConvNeXtBlock
from qvae_jax.models.initializers import lecun_normal, zeros
from qvae_jax.models.spectral_head import FreeHead, limited, of_free, white_noise

NUM_FRAMES = 243
WIDTH = 512
EXPANSION = 2
DILATIONS = (1, 2, 4, 1, 2)


class FrameDecoder(nnx.Module):
    """Latents [batch, latent] -> audio [batch, 243·hop] in (-1, 1) at sample_rate_hz.

    Every frame has a linear map of the latent of its own. Frames that rise from 9 by interpolation
    learn the magnitudes of a sound as well, and of its phases much less; so do blocks that are not
    told the latent.
    """

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
        self.project = layers.Linear(
            latent_dim, NUM_FRAMES * channels, kernel_init=lecun_normal, rng=rng
        )
        # Where the latent moves the blocks from the start, rates of 2e-3 do not settle.
        parts = {"latent_dim": latent_dim, "film_init": zeros, "expansion": EXPANSION, "rng": rng}
        self.blocks = nnx.List(ConvNeXtBlock(channels, dilation=d, **parts) for d in DILATIONS)
        self.output = FreeHead(channels, self.hop_length, rng=rng)

    def __call__(
        self, z: jax.Array, *, seeds: jax.Array, train: bool = False, key=None
    ) -> jax.Array:
        """The audio; seeds [batch, 2] are those of its noise, see noise.white."""
        return self.of_noise(z, white_noise(seeds, NUM_FRAMES, self.hop_length))

    def of_noise(self, z: jax.Array, white: jax.Array) -> jax.Array:
        """The audio of the noise itself, [batch, (243 + 2·MARGIN)·hop]; see white_noise."""
        x = self.project(z).reshape(z.shape[0], NUM_FRAMES, -1)
        for block in self.blocks:
            x = block(x, z)
        complex_frames = of_free(self.output(x), white, self.hop_length)
        return limited(inverse_stft.inverse(complex_frames, self.hop_length))
