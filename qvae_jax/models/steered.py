"""`steered`: a gesture, the curves of a sound, and a renderer that makes the sound of curves.

    z ──> Gesture ──> loudness, centroid, pitch, periodicity [batch, frames, 4], and a duration
    z, curves ──> Renderer ──> sound of as many frames

The curves are those of audio.controls, and may as well be another sound's: a voice's, or a user's.
Their frames are those of 22,050 Hz, whatever the rate of the sound.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from qvae_jax.audio import controls, inverse_stft, stft
from qvae_jax.audio.controls import (
    HOP_LENGTH,
    LOUDNESS,
    PERIODICITY,
    PITCH,
    SAMPLE_RATE_HZ,
    hop_length,
)
from qvae_jax.audio.excitation import harmonics, per_sample, voiced_share
from qvae_jax.models import layers, plain, shaping
from qvae_jax.models.convnext import ConvNeXtBlock, LayerNorm
from qvae_jax.models.frame_decoder import NUM_FRAMES
from qvae_jax.models.initializers import lecun_normal, xavier_normal
from qvae_jax.models.spectral_head import (
    FilterHead,
    complex_frames_of,
    limited,
    of_filters,
    white_noise,
)

WIDTH = 256
# Frames that the renderer's blocks see as one, 33 ms. Eight blocks that see each frame fit what they
# learn better, and what is held out worse, and take four times as long.
FRAMES_AT_ONCE = 3
DILATIONS = (1, 2, 4, 1, 2)
GESTURE_WIDTH = 96
GESTURE_FIRST_FRAMES = 9
GESTURE_RISES = 3  # by three each, to 243 frames
GESTURE_DILATIONS = (1, 2, 4)  # of the blocks at full rate
# What a curve of the gesture head is where its channels say 0, and what a step of 1 is.
CENTRES = np.array([-40.0, 83.0, 57.0, 0.5], np.float32)  # dB, semitones, semitones, none
SCALES = np.array([20.0, 12.0, 12.0, 0.25], np.float32)
LOWEST = np.array([controls.LOUDNESS_FLOOR_DB, 16.7, 34.0, 0.0], np.float32)
HIGHEST = np.array([6.0, 124.8, 98.0, 1.0], np.float32)
PITCH_OCTAVES = (2.0, 4.0, 8.0)  # periods of the waves by which the renderer is told the pitch
AUDIBLE_DB = 40.0  # below its loudest frame a sound's centroid and pitch count for nothing
DURATION_SCALE_S = 1.0


class Trunk(nnx.Module):
    """z [batch, latent] -> channels at frame rate, [batch, 243, channels].

    Frames rise from few. With a map of its own for each frame, as in frame_decoder, curves are
    further off at imitations that are new.
    """

    def __init__(self, latent_dim: int, channels: int, *, rng):
        self.project = layers.Linear(
            latent_dim, GESTURE_FIRST_FRAMES * channels, kernel_init=xavier_normal, rng=rng
        )
        self.rising = nnx.List(ConvNeXtBlock(channels, rng=rng) for _ in range(GESTURE_RISES))
        self.blocks = nnx.List(
            ConvNeXtBlock(channels, dilation=d, rng=rng) for d in GESTURE_DILATIONS
        )

    def __call__(self, z: jax.Array) -> jax.Array:
        """The channels."""
        x = self.project(z).reshape(z.shape[0], GESTURE_FIRST_FRAMES, -1)
        for block in self.rising:
            x = block(plain.upsample3_linear(x))
        for block in self.blocks:
            x = block(x)
        return x


class Gesture(nnx.Module):
    """z [batch, latent] -> curves [batch, 243, 4] and durations in seconds [batch]."""

    def __init__(self, latent_dim: int, *, width: float = 1.0, rng):
        channels = max(1, round(GESTURE_WIDTH * width))
        parts = {"kernel_init": xavier_normal, "rng": rng}
        self.trunk = Trunk(latent_dim, channels, rng=rng)
        self.norm = LayerNorm(channels)
        self.curves = layers.Linear(channels, len(CENTRES), **parts)
        self.duration = layers.Linear(latent_dim, 1, **parts)

    def __call__(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The curves, which may lie beyond LOWEST and HIGHEST, and the durations up to 2.68 s."""
        x = self.norm(self.trunk(z))
        raw = self.curves(layers.in_float32(x))
        longest_s = NUM_FRAMES * HOP_LENGTH / SAMPLE_RATE_HZ
        share = jax.nn.sigmoid(self.duration(z)[:, 0].astype(raw.dtype))
        return raw * SCALES + CENTRES, share * longest_s


class Renderer(nnx.Module):
    """z [batch, latent] and curves [batch, frames, 4] -> sound [batch, frames·hop] in (-1, 1).

    A hop is 243 samples at 22,050 Hz and 486 at 44,100 Hz.

    Blocks look at FRAMES_AT_ONCE frames as one; each of these then has channels of its own, to which
    its own curves are added. From them the head filters noise and the harmonics of the pitch curve,
    which gives a frame its colour. How loud it is, where its centroid lies and how periodic it is,
    the curves say, as far as bounds allow: the head's spectrum is made so.
    """

    def __init__(
        self, latent_dim: int, *, sample_rate_hz: int = SAMPLE_RATE_HZ, width: float = 1.0, rng
    ):
        self.sample_rate_hz, self.hop_length = sample_rate_hz, hop_length(sample_rate_hz)
        channels = max(1, round(WIDTH * width))
        num_inputs = 6 + 2 * len(PITCH_OCTAVES)
        linear = functools.partial(layers.Linear, kernel_init=lecun_normal, rng=rng)
        self.input = linear(FRAMES_AT_ONCE * num_inputs, channels)
        self.blocks = nnx.List(
            ConvNeXtBlock(channels, dilation=dilation, latent_dim=latent_dim, rng=rng)
            for dilation in DILATIONS
        )
        self.frames = linear(channels, FRAMES_AT_ONCE * channels)
        self.curves = linear(num_inputs, channels)
        self.output = FilterHead(channels, self.hop_length, rng=rng)

    def __call__(
        self,
        z: jax.Array,
        curves: jax.Array,
        seeds: jax.Array,
        valid: jax.Array | None = None,
        *,
        train: bool = False,
    ) -> jax.Array:
        """The sound; seeds [batch, 2] are those of its noise, see noise.white.

        valid, bool [batch, frames], is false after a sound's last frame: what comes there is silent,
        and changes nothing before it. train: see shaping.as_periodic.
        """
        white = white_noise(seeds, curves.shape[1], self.hop_length)
        return self.of_noise(z, curves, white, valid, train=train)

    def of_noise(
        self,
        z: jax.Array,
        curves: jax.Array,
        white: jax.Array,
        valid: jax.Array | None = None,
        *,
        train: bool = False,
    ) -> jax.Array:
        """The sound of the noise itself, [batch, (frames + 2·MARGIN)·hop]; see white_noise."""
        if valid is not None:
            curves = held_beyond(curves, valid)
        filters = self.output(self._channels(z, described(curves).astype(z.dtype), valid))
        hop, rate_hz = self.hop_length, self.sample_rate_hz
        excited = complex_frames_of(harmonics(_with_margins(curves), hop, rate_hz), hop)
        filters = shaping.as_periodic(filters, stft.power(excited), curves, train=train)
        complex_frames, power = of_filters(filters, white, excited, hop)
        tilt = shaping.tilt(curves, power, rate_hz)
        gain = shaping.gain(curves[..., LOUDNESS], power * jnp.square(tilt), rate_hz)
        sound = inverse_stft.inverse(complex_frames * tilt * gain[..., None], hop, valid)
        correction = shaping.correction(curves[..., LOUDNESS], sound, rate_hz)
        if valid is not None:
            correction = held_beyond(correction[..., None], valid)[..., 0]
        return limited(sound * per_sample(correction, hop))

    def _channels(self, z: jax.Array, inputs: jax.Array, valid: jax.Array | None) -> jax.Array:
        """[batch, frames, channels] of what is told of each frame, [batch, frames, inputs]."""
        batch, num_frames, num_inputs = inputs.shape
        missing = -num_frames % FRAMES_AT_ONCE
        whole = jnp.pad(inputs, [(0, 0), (0, missing), (0, 0)], mode="edge")
        x = self.input(whole.reshape(batch, -1, FRAMES_AT_ONCE * num_inputs))
        # Those with a valid frame: what others beside it hold is its own curves, held beyond.
        valid = None if valid is None else valid[:, ::FRAMES_AT_ONCE]
        for block in self.blocks:
            x = block(x, z, valid)
        x = self.frames(x).reshape(batch, num_frames + missing, -1)
        return x[:, :num_frames] + self.curves(inputs)


class Steered(nnx.Module):
    """The gesture head and the renderer; as a decoder, the sound that z makes by itself."""

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
        self.gesture = Gesture(latent_dim, width=width, rng=rng)
        self.renderer = Renderer(latent_dim, sample_rate_hz=sample_rate_hz, width=width, rng=rng)

    def __call__(
        self, z: jax.Array, *, seeds: jax.Array, train: bool = False, key=None
    ) -> jax.Array:
        """Latents [batch, latent] -> audio [batch, 243·hop], steered by the gesture head."""
        curves, _ = self.gesture(z)
        return self.renderer(z, within_range(curves), seeds, train=train)


def within_range(curves: jax.Array) -> jax.Array:
    """Curves [..., 4] with each value between LOWEST and HIGHEST."""
    return jnp.clip(curves, LOWEST, HIGHEST)


def gesture_distance(
    gestured: jax.Array, durations_s: jax.Array, curves: jax.Array, lengths: jax.Array
) -> jax.Array:
    """How far a gesture is from the curves of a sound: [batch].

    The mean absolute difference of each curve in SCALES, loudness over all frames and the others
    over those where they are heard: centroid and periodicity where the sound is within AUDIBLE_DB of
    its loudest, pitch where it is voiced besides; and that of the durations in DURATION_SCALE_S.

    Args:
        gestured, curves: [batch, frames, 4]; a gesture may lie below the floor of loudness, which
            is no mistake where the sound is silent.
        durations_s: in seconds, [batch].
        lengths: of the sounds in samples at 22,050 Hz, as of the curves, [batch].
    """
    difference = jnp.abs(gestured - curves) / SCALES
    loudness = curves[..., LOUDNESS]
    below = (loudness <= LOWEST[LOUDNESS] + shaping.SILENT_WITHIN_DB) & (
        gestured[..., LOUDNESS] < loudness
    )
    audible = loudness > jnp.max(loudness, axis=1, keepdims=True) - AUDIBLE_DB
    voiced = audible & (curves[..., PERIODICITY] > controls.VOICED_PERIODICITY)
    heard = jnp.stack([~below, audible, voiced, audible], axis=-1)
    counted = jnp.stack([jnp.ones_like(below), audible, voiced, audible], axis=-1)
    count = jnp.maximum(jnp.sum(counted, axis=1), 1)
    of_curves = jnp.sum(jnp.where(heard, difference, 0.0), axis=1) / count
    of_duration = jnp.abs(durations_s - lengths / SAMPLE_RATE_HZ) / DURATION_SCALE_S
    return jnp.sum(of_curves, axis=-1) + of_duration


def held_beyond(curves: jax.Array, valid: jax.Array) -> jax.Array:
    """Curves [batch, frames, …] that stay at their last valid values where valid is false."""
    last = jnp.sum(valid, axis=-1, dtype=jnp.int32) - 1
    final = jnp.take_along_axis(curves, jnp.maximum(last, 0)[:, None, None], axis=1)
    return jnp.where(valid[..., None], curves, final)


def described(curves: jax.Array) -> jax.Array:
    """What the renderer is told of curves: [..., 4] -> [..., 12], each about from -2 to 2.

    The curves, how voiced a frame is and whether it is silent, and waves of the pitch, which say it
    more precisely than its value does.
    """
    voiced = voiced_share(curves)[..., None]
    silent = curves[..., :1] <= controls.LOUDNESS_FLOOR_DB + shaping.SILENT_WITHIN_DB
    octaves = (curves[..., PITCH, None] - CENTRES[PITCH]) / 12
    angles = 2 * jnp.pi * octaves / np.array(PITCH_OCTAVES, np.float32)
    waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1) * voiced
    return jnp.concatenate(
        [(curves - CENTRES) / SCALES, voiced, silent.astype(curves.dtype), waves], axis=-1
    )


def _with_margins(curves: jax.Array) -> jax.Array:
    """Curves that go on, as they end, for as many frames as the spectrum's frames reach beyond."""
    edges = [(0, 0), (inverse_stft.MARGIN, inverse_stft.MARGIN), (0, 0)]
    return jnp.pad(curves, edges, mode="edge")
