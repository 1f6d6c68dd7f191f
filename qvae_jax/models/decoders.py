"""Decoders: latent [batch, latent] -> audio [batch, num_samples] in (-1, 1).

The original's six take the latent as one time step and upsample it by three, ten times: 3^10 =
59,049 at 22,050 Hz. SampleCNN (Lee et al., 2017) run backwards. DECODERS says what distinguishes
them; the two that end in an inverse STFT, at 44,100 Hz too, lie in frame_decoder.py and steered.py.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from qvae_jax.models import forms, layers
from qvae_jax.models.activations import LEAKY_SLOPE, leaky_relu
from qvae_jax.models.frame_decoder import FrameDecoder
from qvae_jax.models.plain import Step
from qvae_jax.models.steered import Steered

NUM_SAMPLES = 3**10  # at SAMPLE_RATE_HZ
SAMPLE_RATE_HZ = 22_050
FRAME, STEERED = "frame", "steered"
AT_FRAME_RATE = (FRAME, STEERED)  # these make sound of any of SAMPLE_RATES_HZ
SAMPLE_RATES_HZ = (SAMPLE_RATE_HZ, 44_100)
STAGE_WIDTHS = (512, 256, 256, 256, 256, 256, 256, 128, 128, 128)
FINAL_WIDTHS = (32, 8)
# The stages whose input is added: those that the original numbers 8, 7, 6, 5 and 2.
RESIDUAL_STAGES = frozenset({3, 4, 5, 6, 9})


class Stage(nnx.Module):
    """Upsampling ×3 or none, convolution, BatchNorm, maybe the input added, (leaky) ReLU."""

    def __init__(self, num_in, num_out, taps, *, slope=0.0, upsampling, residual=False, **parts):
        self.upsample = layers.Upsample3(num_in, **parts) if upsampling == "learned" else None
        nearest = "nearest" if upsampling == "nearest" else None
        self.conv = layers.Conv1d(num_in, num_out, taps, upsample=nearest, **parts)
        self.norm = _batch_norm(num_out)
        self.slope = slope
        self.residual = residual

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, in] -> [batch, time or 3·time, out]."""
        inner = x if self.upsample is None else self.upsample(x)
        y = self.norm(self.conv(inner), train=train)
        if self.residual:
            y = y + jnp.repeat(x, 3, axis=1)
        return leaky_relu(y, self.slope)


class Decoder(nnx.Module):
    """What the decoders share: steps that lead, one after the other, from latent to audio."""

    uses_noise = False  # beside the latent

    def steps(self, *, train: bool, key) -> list[Step]:
        """The layers by name, the audio last; the first is given [batch, 1, latent]."""
        raise NotImplementedError

    def trace(self, z: jax.Array, *, train: bool, key) -> Iterator[tuple[str, jax.Array]]:
        """Every step's result by name: [batch, time, channels], the audio [batch, 59049]."""
        x = z[:, None, :]
        for step in self.steps(train=train, key=key):
            x = step.apply(x)
            yield step.name, x

    def __call__(self, z: jax.Array, *, train: bool = False, key=None) -> jax.Array:
        """Latents [batch, latent] -> audio [batch, 59049]; key is for dropout in training."""
        return forms.in_turn(self.steps(train=train, key=key), z[:, None, :])


class SampleCNN(Decoder):
    """The four `original` decoders: ten ReLU stages, then down to one channel.

    The last factor of three is one transposed convolution or, with final_convolutions, upsampling
    and three convolutions. residual_stages add their upsampled input; with learned_upsampling,
    transposed convolutions take the place of nearest neighbours.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        width: float = 1.0,
        dropout: float = 0.0,  # only the improved decoders have any
        final_convolutions: bool,
        residual_stages: frozenset[int] = frozenset(),
        learned_upsampling: bool = False,
        **parts,
    ):
        widths = (latent_dim, *_scaled(STAGE_WIDTHS, width))
        upsampling = "learned" if learned_upsampling else "nearest"
        # `original` has transposed convolutions throughout, and torch draws those by fan-out.
        stage_parts = parts if final_convolutions else _drawn_by_fan_out(parts)
        self.stages = nnx.List(
            Stage(
                num_in,
                num_out,
                3,
                upsampling="none" if i == 0 else upsampling,
                residual=i in residual_stages,
                **stage_parts,
            )
            for i, (num_in, num_out) in enumerate(zip(widths, widths[1:]))
        )
        first, second = _scaled(FINAL_WIDTHS, width)
        if not final_convolutions:
            self.final = nnx.List([])
            self.output = layers.Upsample3(widths[-1], 1, **parts)
        else:
            self.final = nnx.List(
                [
                    Stage(widths[-1], first, 5, slope=LEAKY_SLOPE, upsampling=upsampling, **parts),
                    Stage(first, second, 5, slope=LEAKY_SLOPE, upsampling="none", **parts),
                ]
            )
            self.output = layers.Conv1d(second, 1, 3, **parts)

    def __call__(self, z: jax.Array, *, train: bool = False, key=None) -> jax.Array:
        """As every decoder's. There is no dropout here, so key changes nothing."""
        if not train:
            return super().__call__(z)
        stages = [*self.stages, *self.final]
        return _as_audio(forms.train_stages(z[:, None, :], stages, self.output))

    def steps(self, *, train: bool, key) -> list[Step]:
        """The stages, the final ones, and the audio."""
        stages = [
            Step(f"{name}.{i}", functools.partial(stage, train=train), train)
            for name, stages in (("stages", self.stages), ("final", self.final))
            for i, stage in enumerate(stages)
        ]
        return [*stages, Step("audio", lambda x: _as_audio(self.output(x)), train)]


class ResidualBlock(nnx.Module):
    """Two dilated convolutions with BatchNorm, dropout between them, and the input added."""

    def __init__(self, num_channels: int, dilation: int, dropout: float, **parts):
        self.conv1 = layers.Conv1d(num_channels, num_channels, 3, dilation=dilation, **parts)
        self.norm1 = _batch_norm(num_channels)
        self.dropout = layers.Dropout(dropout)
        self.conv2 = layers.Conv1d(num_channels, num_channels, 3, dilation=dilation, **parts)
        self.norm2 = _batch_norm(num_channels)

    def __call__(self, x: jax.Array, *, train: bool, key) -> jax.Array:
        """[batch, time, channels] -> the same shape."""
        y = leaky_relu(self.norm1(self.conv1(x), train=train))
        y = self.dropout(y, train=train, key=key)
        y = self.norm2(self.conv2(y), train=train)
        return leaky_relu(y + x)


class UpsampleBlock(nnx.Module):
    """Linear ×3 upsampling, two convolutions that share one BatchNorm, two residual blocks."""

    def __init__(self, num_in: int, num_out: int, dropout: float, **parts):
        self.conv = layers.Conv1d(num_in, num_out, 3, upsample="linear", **parts)
        self.refine = layers.Conv1d(num_out, num_out, 3, **parts)
        self.norm = _batch_norm(num_out)
        self.residual_blocks = nnx.List(
            ResidualBlock(num_out, dilation, dropout, **parts) for dilation in (1, 2)
        )

    def __call__(self, x: jax.Array, *, train: bool, key) -> jax.Array:
        """[batch, time, in] -> [batch, 3·time, out]."""
        x = leaky_relu(self.norm(self.conv(x), train=train))
        # One BatchNorm twice: in training its running statistics move twice a step.
        x = leaky_relu(self.norm(self.refine(x), train=train))
        return _apply_blocks(self.residual_blocks, x, train, key)


class ConvolutionalStem(nnx.Module):
    """The first time step: convolution, BatchNorm, LeakyReLU and residual blocks."""

    def __init__(self, num_in: int, num_out: int, dilations, dropout: float, **parts):
        self.conv = layers.Conv1d(num_in, num_out, 3, **parts)
        self.norm = _batch_norm(num_out)
        self.residual_blocks = nnx.List(
            ResidualBlock(num_out, dilation, dropout, **parts) for dilation in dilations
        )

    def __call__(self, x: jax.Array, *, train: bool, key) -> jax.Array:
        """[batch, 1, in] -> [batch, 1, out]."""
        x = leaky_relu(self.norm(self.conv(x), train=train))
        return _apply_blocks(self.residual_blocks, x, train, key)


class Improved(Decoder):
    """`improved`: a projected latent, upsampling blocks, three parallel output convolutions."""

    WIDTHS = (512, 256, 256, 256, 256, 256, 128, 128, 64, 32)

    def __init__(self, latent_dim: int, *, width: float = 1.0, dropout: float = 0.05, **parts):
        widths = _scaled(self.WIDTHS, width)
        hidden, final, branch = _scaled((1024, 16, 8), width)
        self.project = nnx.List(
            [
                layers.Linear(latent_dim, hidden, **parts),
                layers.Linear(hidden, widths[0], **parts),
            ]
        )
        self.stem = ConvolutionalStem(widths[0], widths[0], (1, 2), dropout, **parts)
        self.blocks = nnx.List(
            UpsampleBlock(num_in, num_out, dropout, **parts)
            for num_in, num_out in zip(widths, widths[1:])
        )
        self.final = layers.Conv1d(widths[-1], final, 9, upsample="linear", **parts)
        self.branches = nnx.List(layers.Conv1d(final, branch, taps, **parts) for taps in (3, 7, 15))
        self.output = layers.Conv1d(3 * branch, 1, 1, **parts)

    def steps(self, *, train: bool, key) -> list[Step]:
        """The projection, the blocks, the last upsampling, and the audio."""
        audio = lambda x: _as_audio(forms.mixed_branches(x, self.branches, self.output))
        return [
            Step("project", lambda z: self.project[1](leaky_relu(self.project[0](z))), train),
            *_block_steps(self.stem, self.blocks, train, key),
            Step("final", lambda x: leaky_relu(self.final(x)), train),
            Step("audio", audio, train),
        ]

    def trace(self, z: jax.Array, *, train: bool, key) -> Iterator[tuple[str, jax.Array]]:
        """As every decoder's, and between "final" and "audio" the "branches" side by side."""
        for name, x in super().trace(z, train=train, key=key):
            yield name, x
            if name == "final":
                branches = [convolve(x) for convolve in self.branches]
                yield "branches", jnp.concatenate(branches, axis=-1)


class LightImproved(Decoder):
    """`light_improved`: upsampling blocks and a single output convolution."""

    WIDTHS = (512, 256, 256, 256, 256, 256, 256, 128, 128, 64)

    def __init__(self, latent_dim: int, *, width: float = 1.0, dropout: float = 0.05, **parts):
        widths = _scaled(self.WIDTHS, width)
        self.stem = ConvolutionalStem(latent_dim, widths[0], (1,), dropout, **parts)
        self.blocks = nnx.List(
            UpsampleBlock(num_in, num_out, dropout, **parts)
            for num_in, num_out in zip(widths, widths[1:])
        )
        self.output = layers.Conv1d(widths[-1], 1, 3, upsample="linear", **parts)

    def steps(self, *, train: bool, key) -> list[Step]:
        """The blocks, and the audio."""
        blocks = _block_steps(self.stem, self.blocks, train, key)
        return [*blocks, Step("audio", lambda x: _as_audio(self.output(x)), train)]


DECODERS = {
    "original": functools.partial(SampleCNN, final_convolutions=False),
    "original-plus": functools.partial(SampleCNN, final_convolutions=True),
    "original-res": functools.partial(
        SampleCNN, final_convolutions=True, residual_stages=RESIDUAL_STAGES
    ),
    "original-res-plus": functools.partial(
        SampleCNN,
        final_convolutions=True,
        residual_stages=RESIDUAL_STAGES,
        learned_upsampling=True,
    ),
    "improved": Improved,
    "light_improved": LightImproved,
    FRAME: FrameDecoder,
    STEERED: Steered,
}


def num_samples(sample_rate_hz: int) -> int:
    """Samples of a decoder's sound, which lasts 2.678 s: 59,049 at 22,050 Hz, 118,098 at 44,100."""
    return NUM_SAMPLES * sample_rate_hz // SAMPLE_RATE_HZ


def _batch_norm(num_channels: int) -> layers.BatchNorm:
    return layers.BatchNorm(num_channels, epsilon=1e-5, momentum=0.1)


def _scaled(widths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    return tuple(max(1, round(width * factor)) for width in widths)


def _apply_blocks(blocks, x: jax.Array, train: bool, key) -> jax.Array:
    """One block after the other, each with a dropout key of its own."""
    for i, block in enumerate(blocks):
        x = block(x, train=train, key=_key_of(key, i))
    return x


def _block_steps(stem, blocks, train: bool, key) -> list[Step]:
    """The stem and the blocks after it, each with a dropout key of its own."""
    named = [("stem", stem), *((f"blocks.{i}", block) for i, block in enumerate(blocks))]
    return [
        Step(name, functools.partial(block, train=train, key=_key_of(key, i)), train)
        for i, (name, block) in enumerate(named)
    ]


def _as_audio(x: jax.Array) -> jax.Array:
    """An output layer's [batch, time, 1] as sound [batch, time]."""
    return jnp.tanh(x[..., 0])


def _key_of(key: jax.Array | None, number: int) -> jax.Array | None:
    return None if key is None else jax.random.fold_in(key, number)


def _drawn_by_fan_out(parts: dict) -> dict:
    """The same initialiser with a kernel's inputs and outputs exchanged."""
    draw = parts["kernel_init"]

    def exchanged(rng, shape):
        *taps, num_in, num_out = shape
        return draw(rng, (*taps, num_out, num_in)).swapaxes(-1, -2)

    return parts | {"kernel_init": exchanged}
