"""From channels at frame rate to sound: magnitudes, phases and noise of every bin, inverted.

A frame's spectrum is the sum of up to three parts, which the channels decide:

    a free part, its magnitudes and phases (Siuzdak, 2023);
    white noise, filtered by magnitudes;
    an excitation that is given, filtered likewise (Serra & Smith, 1990, have partials and noise).
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
NOISE_AT_FIRST = -2.0  # likewise, added to what the channels say of noise
FIRST_BIN = 2  # 45 Hz: the window makes of each bin also its neighbours, and none may be of 0 Hz
LINEAR_UP_TO = 0.9  # of full scale; what is louder is bent towards LIMIT
LIMIT = 1 - 2**-15  # the largest sample that 16 bits hold; towards 1, float32 would reach it


class Parts(NamedTuple):
    """Magnitudes [..., frames, bins] of the parts, the free one's phases."""

    free: jax.Array
    phase: jax.Array  # radians, of any number of turns
    noise: jax.Array
    excitation: jax.Array | None


class SpectralHead(nnx.Module):
    """LayerNorm and one linear layer to the magnitudes and phases of hop_length's bins.

    Without the LayerNorm (normalised) what frames differ by is not made small, and phases, which
    go through many radians, are learnt sooner.
    """

    def __init__(
        self,
        num_channels: int,
        hop_length: int,
        *,
        excited: bool = False,
        normalised: bool = True,
        rng,
    ):
        self.norm = LayerNorm(num_channels) if normalised else None
        num_outputs = (4 if excited else 3) * inverse_stft.num_bins(hop_length)
        init = xavier_normal if normalised else lecun_normal
        self.output = layers.Linear(num_channels, num_outputs, kernel_init=init, rng=rng)
        self.excited = excited
        self.log_scale = math.log(hop_length / HOP_LENGTH)

    def __call__(self, x: jax.Array) -> Parts:
        """[batch, frames, channels] -> the parts, float32 at least."""
        # Not in bfloat16, whatever the blocks are: its phases would be off by a degree or more.
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        numbers = self.output(wide if self.norm is None else self.norm(wide))
        free, phase, of_noise, *excitation = jnp.split(numbers, 4 if self.excited else 3, axis=-1)
        return Parts(
            magnitude(free, self.log_scale),
            phase,
            magnitude(of_noise + NOISE_AT_FIRST, self.log_scale),
            magnitude(excitation[0], self.log_scale) if self.excited else None,
        )


def magnitude(logarithm: jax.Array, log_scale: float = 0.0) -> jax.Array:
    """exp(x), smoothly bounded at exp(LOUDEST), so that no frame bursts; times exp(log_scale)."""
    return jnp.exp(LOUDEST + log_scale - jax.nn.softplus(LOUDEST - logarithm))


def white_noise(seeds: jax.Array, num_frames: int, hop_length: int) -> jax.Array:
    """The noise that spectrum filters into so many frames: [batch, (frames + 2·MARGIN)·hop].

    seeds [batch, 2] are those of noise.white.
    """
    return noise.white(seeds, num_frames + 2 * inverse_stft.MARGIN, hop_length)


def spectrum(
    parts: Parts, white: jax.Array, hop_length: int, excited: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """The complex frames of all parts together, and their power without the chance of noise.

    white is the sound that white_noise gives, excited the complex frames of an excitation. Both
    results are [batch, frames, bins]; what is below FIRST_BIN is silent.
    """
    white = complex_frames_of(white, hop_length)
    complex_frames = parts.free * jax.lax.complex(jnp.cos(parts.phase), jnp.sin(parts.phase))
    complex_frames += parts.noise * white
    power = jnp.square(parts.free) + jnp.square(parts.noise)
    if parts.excitation is not None:
        complex_frames += parts.excitation * excited
        power += jnp.square(parts.excitation) * stft.power(excited)
    audible = np.arange(power.shape[-1]) >= FIRST_BIN
    return complex_frames * audible, power * audible


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
