"""`steered`: a gesture, the curves of a sound, and a renderer that makes the sound of curves.

    z ──> Gesture ──> loudness, centroid, pitch, periodicity [batch, frames, 4], and a duration
    z, curves ──> Renderer ──> sound of as many frames

The curves are those of audio.controls, and may as well be another sound's: a voice's, or a user's.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from qvae_jax.audio import controls, inverse_stft, stft
from qvae_jax.audio.controls import CENTROID, LOUDNESS, PERIODICITY, PITCH
from qvae_jax.audio.excitation import harmonics, per_sample, voiced_share
from qvae_jax.models import layers
from qvae_jax.models.convnext import ConvNeXtBlock, LayerNorm
from qvae_jax.models.frame_decoder import HOP_LENGTH, NUM_FRAMES, Trunk
from qvae_jax.models.initializers import lecun_normal, xavier_normal
from qvae_jax.models.spectral_head import (
    FIRST_BIN,
    Parts,
    SpectralHead,
    complex_frames_of,
    limited,
    spectrum,
)

SAMPLE_RATE_HZ = 22_050
WIDTH = 256
DILATIONS = (1, 2, 4, 1, 2, 4, 1, 1)
GESTURE_WIDTH = 96
GESTURE_DILATIONS = (1, 2, 4)
# What a curve of the gesture head is where its channels say 0, and what a step of 1 is.
CENTRES = np.array([-40.0, 83.0, 57.0, 0.5], np.float32)  # dB, semitones, semitones, none
SCALES = np.array([20.0, 12.0, 12.0, 0.25], np.float32)
LOWEST = np.array([controls.LOUDNESS_FLOOR_DB, 16.7, 34.0, 0.0], np.float32)
HIGHEST = np.array([6.0, 124.8, 98.0, 1.0], np.float32)
PITCH_OCTAVES = (2.0, 4.0, 8.0)  # periods of the waves by which the renderer is told the pitch
# By how much a frame is made louder or softer where the frames' sum is not as loud as its curve:
# those whose phases do not meet cancel each other. No more, so that no frame bursts.
LARGEST_CORRECTION = 4.0
PERIODIC_UP_TO_HZ = 2_500.0
LARGEST_STRENGTH = 8.0
# By how much a frame's spectrum is tilted at most, 3 dB an octave: it corrects a centroid, and makes
# none. What lies lower is hardly heard, and what lies higher is little.
STEEPEST = 0.5
TILTED_HZ = (200.0, 8_000.0)
NEWTON_STEPS = 3
LEAST_SLOPE = 0.02  # a spectrum of one tone cannot be tilted
FLOOR_POWER = 10 ** (controls.LOUDNESS_FLOOR_DB / 10)
SILENT_WITHIN_DB = 1e-3  # above the loudness curve's floor
AUDIBLE_DB = 40.0  # below its loudest frame a sound's centroid and pitch count for nothing
DURATION_SCALE_S = 1.0
LEAST_POWER = 1e-9  # of a frame's shape, to divide by


class Gesture(nnx.Module):
    """z [batch, latent] -> curves [batch, 243, 4] and durations in seconds [batch]."""

    def __init__(self, latent_dim: int, *, width: float = 1.0, rng):
        channels = max(1, round(GESTURE_WIDTH * width))
        parts = {"kernel_init": xavier_normal, "rng": rng}
        self.trunk = Trunk(latent_dim, channels, GESTURE_DILATIONS, rng=rng)
        self.norm = LayerNorm(channels)
        self.curves = layers.Linear(channels, len(CENTRES), **parts)
        self.duration = layers.Linear(latent_dim, 1, **parts)

    def __call__(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The curves, which may lie beyond LOWEST and HIGHEST, and the durations up to 2.68 s."""
        x = self.norm(self.trunk(z))
        raw = self.curves(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
        longest_s = NUM_FRAMES * HOP_LENGTH / SAMPLE_RATE_HZ
        share = jax.nn.sigmoid(self.duration(z)[:, 0].astype(raw.dtype))
        return raw * SCALES + CENTRES, share * longest_s


class Renderer(nnx.Module):
    """z [batch, latent] and curves [batch, frames, 4] -> sound [batch, frames·243] in (-1, 1).

    The spectral head gives a frame its colour. How loud it is, where its centroid lies and how
    periodic it is, the curves say, as far as bounds allow: the head's spectrum is made so.
    """

    def __init__(self, latent_dim: int, *, width: float = 1.0, rng):
        channels = max(1, round(WIDTH * width))
        num_inputs = 6 + 2 * len(PITCH_OCTAVES)
        self.input = layers.Linear(num_inputs, channels, kernel_init=lecun_normal, rng=rng)
        self.blocks = nnx.List(
            ConvNeXtBlock(channels, dilation=dilation, latent_dim=latent_dim, rng=rng)
            for dilation in DILATIONS
        )
        self.output = SpectralHead(channels, HOP_LENGTH, excited=True, rng=rng)

    def __call__(
        self, z: jax.Array, curves: jax.Array, seeds: jax.Array, valid: jax.Array | None = None
    ) -> jax.Array:
        """The sound; seeds [batch, 2] are those of its noise, see noise.white.

        valid, bool [batch, frames], is false after a sound's last frame: what comes there is silent,
        and changes nothing before it.
        """
        if valid is not None:
            curves = held_beyond(curves, valid)
        x = self.input(described(curves).astype(z.dtype))
        for block in self.blocks:
            x = block(x, z, valid)
        excitation = harmonics(_with_margins(curves), HOP_LENGTH, SAMPLE_RATE_HZ)
        excited = complex_frames_of(excitation, HOP_LENGTH)
        parts = _as_periodic(self.output(x), stft.power(excited), curves)
        complex_frames, power = spectrum(parts, seeds, HOP_LENGTH, excited)
        tilt = _tilt(curves[..., CENTROID], power)
        gain = _gain(curves[..., LOUDNESS], power * jnp.square(tilt))
        sound = inverse_stft.inverse(complex_frames * tilt * gain[..., None], HOP_LENGTH, valid)
        correction = _correction(curves[..., LOUDNESS], sound)
        if valid is not None:
            correction = held_beyond(correction[..., None], valid)[..., 0]
        return limited(sound * per_sample(correction, HOP_LENGTH))


class Steered(nnx.Module):
    """The gesture head and the renderer; as a decoder, the sound that z makes by itself."""

    uses_noise = True

    def __init__(
        self, latent_dim: int, *, width: float = 1.0, dropout: float = 0.0, kernel_init=None, rng
    ):
        del dropout, kernel_init  # those of the decoders of samples; these blocks have their own
        self.gesture = Gesture(latent_dim, width=width, rng=rng)
        self.renderer = Renderer(latent_dim, width=width, rng=rng)

    def __call__(
        self, z: jax.Array, *, seeds: jax.Array, train: bool = False, key=None
    ) -> jax.Array:
        """Latents [batch, latent] -> audio [batch, 59049], steered by the gesture head."""
        curves, _ = self.gesture(z)
        return self.renderer(z, within_range(curves), seeds)


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
        lengths: of the sounds in samples, [batch].
    """
    difference = jnp.abs(gestured - curves) / SCALES
    loudness = curves[..., LOUDNESS]
    below = (loudness <= LOWEST[LOUDNESS] + SILENT_WITHIN_DB) & (gestured[..., LOUDNESS] < loudness)
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
    silent = curves[..., :1] <= controls.LOUDNESS_FLOOR_DB + SILENT_WITHIN_DB
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


def _as_periodic(parts: Parts, excited_power: jax.Array, curves: jax.Array) -> Parts:
    """The parts with an excitation at least as strong as a voiced frame's periodicity asks for.

    Of the power up to PERIODIC_UP_TO_HZ, where the pitch tracker listens, harmonics are then at
    least the share that makes a frame so like its period. It is made stronger by at most
    LARGEST_STRENGTH, and never weaker.
    """
    count = int(PERIODIC_UP_TO_HZ / SAMPLE_RATE_HZ * inverse_stft.HOPS_PER_WINDOW * HOP_LENGTH)
    low = slice(FIRST_BIN, count)
    in_harmonics = jnp.sum(jnp.square(parts.excitation[..., low]) * excited_power[..., low], -1)
    others = jnp.square(parts.free[..., low]) + jnp.square(parts.noise[..., low])
    share = controls.likeness(curves[..., PERIODICITY])
    wanted = jnp.sum(others, -1) * share / (1 - share)
    missing = jnp.sqrt(wanted / (in_harmonics + LEAST_POWER))
    strength = jnp.clip(missing * voiced_share(curves), 1.0, LARGEST_STRENGTH)
    strength = jax.lax.stop_gradient(strength)
    return parts._replace(excitation=parts.excitation * strength[..., None])


def _tilt(centroid: jax.Array, power: jax.Array) -> jax.Array:
    """Factors [batch, frames, bins] that move the centroids of frames of this power to a curve.

    They are (f / 1 kHz)^a, the same beyond TILTED_HZ, and a is found by Newton's method, within
    ±STEEPEST, for the logarithm of the centroid: its slope by a is the covariance of f and ln f over
    the frame, over the mean of f. No gradient goes through a: the head learns what it is given as it
    is tilted.
    """
    hz = np.arange(power.shape[-1]) * SAMPLE_RATE_HZ / (inverse_stft.HOPS_PER_WINDOW * HOP_LENGTH)
    height = np.log(np.clip(hz, *TILTED_HZ) / 1000)
    moments = np.stack([np.ones_like(hz), hz, height, hz * height], -1).astype(np.float32)
    height = height.astype(np.float32)
    magnitude = jnp.sqrt(jax.lax.stop_gradient(power))
    wanted = jnp.log(controls.hertz(centroid))
    steepness = jnp.zeros_like(wanted)
    for _ in range(NEWTON_STEPS):
        tilted = magnitude * jnp.exp(steepness[..., None] * height)
        total, of_hz, of_height, of_both = jnp.moveaxis(tilted @ moments, -1, 0)
        total = total + LEAST_POWER
        mean_hz, mean_height = of_hz / total + LEAST_POWER, of_height / total
        slope = (of_both / total - mean_hz * mean_height) / mean_hz
        step = (wanted - jnp.log(mean_hz)) / jnp.maximum(slope, LEAST_SLOPE)
        steepness = jnp.clip(steepness + step, -STEEPEST, STEEPEST)
    return jnp.exp(jax.lax.stop_gradient(steepness)[..., None] * height)


def _gain(loudness_db: jax.Array, power: jax.Array) -> jax.Array:
    """The factor [batch, frames] that gives frames of this power [batch, frames, bins] a loudness.

    At the loudness curve's floor it is 0: a silent frame is silent.
    """
    silent = loudness_db <= controls.LOUDNESS_FLOOR_DB + SILENT_WITHIN_DB
    # A root has no slope at 0, so that of silent frames is of something else, and not taken.
    wanted = jnp.where(silent, 1.0, 10 ** (loudness_db / 10) - FLOOR_POWER)
    weights = controls.loudness_weights(inverse_stft.HOPS_PER_WINDOW * HOP_LENGTH, SAMPLE_RATE_HZ)
    return jnp.where(silent, 0.0, jnp.sqrt(wanted / (power @ weights + LEAST_POWER)))


def _correction(loudness_db: jax.Array, sound: jax.Array) -> jax.Array:
    """The factor [batch, frames] by which a sound is as loud as its curve, within bounds."""
    ratio = 10 ** (loudness_db / 10) / (controls.loudness_power(sound) + FLOOR_POWER)
    return jnp.sqrt(jnp.clip(ratio, LARGEST_CORRECTION**-2, LARGEST_CORRECTION**2))
