"""SampleCNN, which tags music from its waveform: a judge of sounds, and the decoders' ancestor.

Lee et al. (2017), "Sample-level Deep Convolutional Neural Networks for Music Auto-tagging Using Raw
Waveforms": ten layers that each keep a third of the places, from 3^10 samples down to one place.
"""

from collections.abc import Iterator

import jax
import numpy as np
from flax import nnx

from qvae_jax.models import initializers, layers

TAPS = 3  # of every convolution, and places of every pooling
WIDTHS = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512)
NUM_TAGS = 50  # of MagnaTagATune


class StridedConv(nnx.Module):
    """A convolution whose stride is its taps: [batch, 3·places, in] -> [batch, places, out]."""

    def __init__(self, num_in: int, num_out: int, *, rng):
        self.kernel = nnx.Param(initializers.he_uniform(rng, (TAPS, num_in, num_out)))
        self.bias = nnx.Param(np.zeros(num_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the convolution, which here is a product of each three places by themselves."""
        kernel = self.kernel[...].astype(x.dtype)
        together = x.reshape(len(x), -1, TAPS * x.shape[-1])
        return together @ kernel.reshape(-1, kernel.shape[-1]) + self.bias[...].astype(x.dtype)


class Stage(nnx.Module):
    """Convolution, BatchNorm, ReLU and, of all but the first and the last, the largest of three."""

    def __init__(self, num_in: int, num_out: int, *, strided: bool, pooled: bool, rng):
        if strided:
            self.conv = StridedConv(num_in, num_out, rng=rng)
        else:
            init = initializers.he_uniform
            self.conv = layers.Conv1d(num_in, num_out, TAPS, kernel_init=init, rng=rng)
        self.norm = layers.BatchNorm(num_out, epsilon=1e-5, momentum=0.1)
        self.pooled = pooled

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, places, in] -> [batch, places or places / 3, out], by the running statistics."""
        y = jax.nn.relu(self.norm(self.conv(x), train=False))
        return y.reshape(len(y), -1, TAPS, y.shape[-1]).max(axis=2) if self.pooled else y


class SampleCNNTagger(nnx.Module):
    """The tagger as it is used: dropout and training are left out."""

    sample_rate_hz = 22_050
    num_samples = TAPS ** (len(WIDTHS) - 1)  # 59,049, 2.7 s
    embedding_size = WIDTHS[-1]

    def __init__(self, num_tags: int = NUM_TAGS, *, rng):
        last = len(WIDTHS) - 1
        self.stages = nnx.List(
            Stage(num_in, num_out, strided=i == 0, pooled=0 < i < last, rng=rng)
            for i, (num_in, num_out) in enumerate(zip((1, *WIDTHS), WIDTHS))
        )
        init = initializers.small_normal
        self.output = layers.Linear(WIDTHS[-1], num_tags, kernel_init=init, rng=rng)

    def trace(self, waveforms: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every layer's result by name, of waveforms [batch, 59049]; the last is "logits"."""
        x = waveforms[..., None]
        for i, stage in enumerate(self.stages):
            x = stage(x)
            yield f"stages.{i}", x
        yield "embedding", x[:, 0]
        yield "logits", self.output(x[:, 0])

    def embed(self, waveforms: jax.Array) -> jax.Array:
        """Waveforms [batch, 59049] at 22,050 Hz -> the last convolution's result, [batch, 512]."""
        return dict(self.trace(waveforms))["embedding"]
