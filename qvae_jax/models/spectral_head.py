"""From channels at frame rate to the spectra of frames: magnitudes, phases and noise of every bin.

Two heads, after what they make a frame of:

    FreeHead      magnitudes and phases (Siuzdak, 2023), and white noise filtered by magnitudes;
    FilterHead    white noise and an excitation that is given, each filtered by magnitudes (Serra &
                  Smith, 1990, have partials and noise).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from qvae_jax.audio import inverse_stft, stft
from qvae_jax.audio.controls import HOP_LENGTH
from qvae_jax.models import layers, noise
from qvae_jax.models.convnext import LayerNorm
from qvae_jax.models.initializers import lecun_normal, xavier_normal

# Natural logarithm of a bin's magnitude in frames of 22,050 Hz; smoothly bounded there. A sine's
# grows with the samples of a frame, and so does all that the channels say of magnitudes.
LOUDEST = 6.0
QUIETEST = LOUDEST - 80  # below it is silence: float32 holds no exponential much above 80
NOISE_AT_FIRST = -2.0  # added to what the channels say of noise
FIRST_BIN = 2  # 45 Hz: the window makes of each bin also its neighbours, and none may be of 0 Hz
LINEAR_UP_TO = 0.9  # of full scale; what is louder is bent towards LIMIT
LIMIT = 1 - 2**-15  # the largest sample that 16 bits hold; towards 1, float32 would reach it


class Free(NamedTuple):
    """What FreeHead gives, each [..., frames, bins]."""

    magnitude: jax.Array
    phase: jax.Array  # radians, of any number of turns
    noise: jax.Array  # magnitudes


class Filters(NamedTuple):
    """What FilterHead gives, magnitudes [..., frames, bins]."""

    noise: jax.Array
    excitation: jax.Array


class FreeHead(nnx.Module):
    """One linear layer to the magnitudes and phases of hop_length's bins, and those of noise.

    There is no LayerNorm, so that what frames differ by is not made small: phases, which go through
    many radians, are learnt sooner.
    """

    def __init__(self, num_channels: int, hop_length: int, *, rng):
        num_outputs = len(Free._fields) * inverse_stft.num_bins(hop_length)
        self.output = layers.Linear(num_channels, num_outputs, kernel_init=lecun_normal, rng=rng)
        self.log_scale = _log_scale(hop_length)

    def __call__(self, x: jax.Array) -> Free:
        """[batch, frames, channels] -> the parts, float32 at least."""
        # Not in bfloat16, whatever the blocks are: phases would be off by a degree or more.
        numbers = self.output(layers.in_float32(x))
        free, phase, noise = jnp.split(numbers, len(Free._fields), axis=-1)
        noise = magnitude(noise + NOISE_AT_FIRST, self.log_scale)
        return Free(magnitude(free, self.log_scale), phase, noise)


class FilterHead(nnx.Module):
    """LayerNorm and one linear layer to the magnitudes that filter noise and an excitation.

    It has no phases of its own. Where magnitudes alone are compared, none are learnt: a free part
    is then as regular as its channels, which measures well, since it is nearer to a noise than
    another noise is, and rings.
    """

    def __init__(self, num_channels: int, hop_length: int, *, rng):
        self.norm = LayerNorm(num_channels)
        num_outputs = len(Filters._fields) * inverse_stft.num_bins(hop_length)
        self.output = layers.Linear(num_channels, num_outputs, kernel_init=xavier_normal, rng=rng)
        self.log_scale = _log_scale(hop_length)

    def __call__(self, x: jax.Array) -> Filters:
        """[batch, frames, channels] -> the filters, float32 at least."""
        numbers = self.output(self.norm(layers.in_float32(x)))
        noise, excitation = jnp.split(numbers, len(Filters._fields), axis=-1)
        noise = magnitude(noise + NOISE_AT_FIRST, self.log_scale)
        return Filters(noise, magnitude(excitation, self.log_scale))


def _log_scale(hop_length: int) -> float:
    """By which logarithms of magnitudes are larger than in frames of 22,050 Hz."""
    return math.log(hop_length / HOP_LENGTH)


def magnitude(logarithm: jax.Array, log_scale: float = 0.0) -> jax.Array:
    """exp(x), smoothly bounded at exp(LOUDEST), so that no frame bursts; times exp(log_scale)."""
    # exp(LOUDEST − softplus(LOUDEST − x)) by one exponential instead of two and a logarithm. It is
    # not a sigmoid, which some runtimes cut off where it is small.
    beyond = jnp.exp(LOUDEST - jnp.maximum(logarithm, QUIETEST))
    return jnp.where(logarithm > QUIETEST, math.exp(LOUDEST + log_scale) / (1 + beyond), 0.0)


def white_noise(seeds: jax.Array, num_frames: int, hop_length: int) -> jax.Array:
    """The noise that a head filters into so many frames: [batch, (frames + 2·MARGIN)·hop].

    seeds [batch, 2] are those of noise.white.
    """
    return noise.white(seeds, num_frames + 2 * inverse_stft.MARGIN, hop_length)


def of_free(parts: Free, white: jax.Array, hop_length: int) -> jax.Array:
    """The complex frames [batch, frames, bins] of the parts; white is what white_noise gives.

    What is below FIRST_BIN is silent.
    """
    complex_frames = parts.magnitude * jax.lax.complex(jnp.cos(parts.phase), jnp.sin(parts.phase))
    complex_frames += parts.noise * complex_frames_of(white, hop_length)
    return complex_frames * _audible(complex_frames)


def of_filters(
    filters: Filters, white: jax.Array, excited: jax.Array, hop_length: int
) -> tuple[jax.Array, jax.Array]:
    """The complex frames of filtered noise and excitation, and their power without noise's chance.

    white is what white_noise gives, excited the complex frames of an excitation. Both results are
    [batch, frames, bins]; what is below FIRST_BIN is silent.
    """
    complex_frames = filters.noise * complex_frames_of(white, hop_length)
    complex_frames += filters.excitation * excited
    power = jnp.square(filters.noise) + jnp.square(filters.excitation) * stft.power(excited)
    audible = _audible(power)
    return complex_frames * audible, power * audible


def _audible(frames: jax.Array) -> np.ndarray:
    """Which bins of frames [..., bins] may sound."""
    return np.arange(frames.shape[-1]) >= FIRST_BIN


def complex_frames_of(samples: jax.Array, hop_length: int) -> jax.Array:
    """Complex frames of a sound, in which white noise of unit variance has unit power.

    The sound begins and ends inverse_stft.MARGIN hops beyond the frames, so that the frames at both
    ends are as full as others: [batch, (frames + 2·MARGIN)·hop] -> [batch, frames, bins].
    """
    window_length = inverse_stft.HOPS_PER_WINDOW * hop_length
    scale = np.float32((window_length * 3 / 8) ** -0.5)  # 3/8: the mean of a squared Hann window
    return jnp.fft.rfft(inverse_stft.framed(samples, hop_length)) * scale


def limited(samples: jax.Array) -> jax.Array:
    """Samples as they are up to LINEAR_UP_TO, and bent towards LIMIT beyond, with a smooth slope."""
    rest = LIMIT - LINEAR_UP_TO
    beyond = jnp.maximum(jnp.abs(samples) - LINEAR_UP_TO, 0.0)
    bent = LINEAR_UP_TO + rest * jnp.tanh(beyond / rest)
    return jnp.where(beyond > 0, jnp.sign(samples) * bent, samples)
