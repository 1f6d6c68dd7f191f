"""aiSFX, which tells the categories of sound effects: a judge of sounds.

Ma and Lerch (2022), "Representation Learning for the Automatic Indexing of Sound Effects Libraries":
eight convolutions in four blocks, learnt from libraries of sound effects. The classifiers of those
libraries, one each, are left out.
"""

from collections.abc import Iterator

import jax
from flax import nnx

from qvae_jax.audio import aisfx_logmel
from qvae_jax.models import forms, initializers, layers

WIDTHS = (64, 128, 256, 512)


class Block(nnx.Module):
    """Twice a 3×3 convolution without bias, BatchNorm and ReLU; then the largest of each 2×2."""

    def __init__(self, num_in: int, num_out: int, *, pooled: bool, rng):
        init = initializers.he_uniform
        self.kernel1 = nnx.Param(init(rng, (3, 3, num_in, num_out)))
        self.norm1 = layers.BatchNorm(num_out, epsilon=1e-5, momentum=0.1)
        self.kernel2 = nnx.Param(init(rng, (3, 3, num_out, num_out)))
        self.norm2 = layers.BatchNorm(num_out, epsilon=1e-5, momentum=0.1)
        self.pooled = pooled

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, frames, mels, in] -> [batch, frames, mels, out], or half of both, rounded down."""
        for kernel, norm in ((self.kernel1, self.norm1), (self.kernel2, self.norm2)):
            y = forms.conv2d(x, kernel[...].astype(x.dtype))
            x = jax.nn.relu(norm(y, train=False))
        return _largest_of_four(x) if self.pooled else x


class AiSFX(nnx.Module):
    """The network as it is used, with its front-end."""

    sample_rate_hz = aisfx_logmel.SAMPLE_RATE_HZ
    num_samples = aisfx_logmel.NUM_SAMPLES
    embedding_size = WIDTHS[-1]

    def __init__(self, *, rng):
        last = len(WIDTHS) - 1
        self.blocks = nnx.List(
            Block(num_in, num_out, pooled=i < last, rng=rng)
            for i, (num_in, num_out) in enumerate(zip((1, *WIDTHS), WIDTHS))
        )

    def trace(self, logmel: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every block's result by name, of log-mels [batch, frames, mels]; last, "embedding".

        The embedding [batch, 512] is the mean over mels, and of that the largest over frames.
        """
        x = logmel[..., None]
        for i, block in enumerate(self.blocks):
            x = block(x)
            yield f"blocks.{i}", x
        yield "embedding", x.mean(axis=2).max(axis=1)

    def embed(self, waveforms: jax.Array) -> jax.Array:
        """Waveforms [batch, 102400] at 44,100 Hz -> [batch, 512]: what it makes of their 2.3 s."""
        return dict(self.trace(aisfx_logmel.aisfx_log_mel(waveforms)))["embedding"]


def _largest_of_four(x: jax.Array) -> jax.Array:
    """The largest of each 2×2 places; a last row or column without a partner is left out."""
    batch, frames, mels, channels = x.shape
    even = x[:, : frames // 2 * 2, : mels // 2 * 2]
    return even.reshape(batch, frames // 2, 2, mels // 2, 2, channels).max(axis=(2, 4))
