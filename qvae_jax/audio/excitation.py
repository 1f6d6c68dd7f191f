"""The harmonics of a pitch curve as a sound: what a steered model shapes into its voiced part."""

import jax
import jax.numpy as jnp

from qvae_jax.audio.controls import PERIODICITY, PITCH, VOICED_PERIODICITY, hertz

FADE = 0.1  # of periodicity: from silent to whole, half way where a frame begins to be voiced
CYCLE = 2.0**32


def harmonics(curves: jax.Array, hop_length: int, sample_rate_hz: int) -> jax.Array:
    """All harmonics of a pitch curve below half the rate, as equal cosines.

    curves [batch, frames, 4] as `controls` gives them -> [batch, frames·hop] of unit power where
    they are voiced, and silent where not. Frequencies and levels lie on lines between the frames'
    centres; the highest harmonic fades in and out before it would fold.
    """
    hz = per_sample(hertz(curves[..., PITCH]), hop_length)
    level = per_sample(voiced_share(curves), hop_length)
    cycles = accumulated(hz / sample_rate_hz)
    room = sample_rate_hz / 2 / hz  # harmonics below half the rate, and a fraction of the next
    count = jnp.floor(room) - 1
    last = (room - 1 - count) * jnp.cos(turns((count + 1) * cycles))
    # 2 Σ cos(k θ), k = 1 … K, is sin((K + ½) θ) / sin(θ / 2) − 1, and 2 K where θ is a whole turn.
    denominator = jnp.sin(turns(cycles / 2))
    at_pulse = jnp.abs(denominator) < 1e-4
    ratio = jnp.sin(turns((count + 0.5) * cycles)) / jnp.where(at_pulse, 1.0, denominator)
    whole = jnp.where(at_pulse, count, (ratio - 1) / 2)
    power = (count + jnp.square(room - 1 - count)) / 2
    return level * (whole + last) * jax.lax.rsqrt(power)


def voiced_share(curves: jax.Array) -> jax.Array:
    """How far each frame is voiced, 0 to 1: curves [..., frames, 4] -> [..., frames]."""
    return jnp.clip((curves[..., PERIODICITY] - VOICED_PERIODICITY) / FADE + 0.5, 0.0, 1.0)


def turns(cycles: jax.Array) -> jax.Array:
    """Radians of cycles, of which whole ones are left out."""
    return 2 * jnp.pi * (cycles - jnp.round(cycles))


def accumulated(cycles_per_sample: jax.Array) -> jax.Array:
    """The phase [..., n] of an oscillator of these frequencies, in cycles from -1/2 to 1/2.

    Counted in whole 2^-32 of a cycle, which wrap by themselves: the sum of any number of them is
    exact, so a phase depends neither on the way it is added up nor on what comes after it. Around a
    whole cycle, where all harmonics meet, its float32 has the most digits.
    """
    steps = jnp.round(cycles_per_sample * CYCLE).astype(jnp.uint32)
    whole = jnp.cumsum(steps, axis=-1, dtype=jnp.uint32)
    return jax.lax.bitcast_convert_type(whole, jnp.int32).astype(jnp.float32) / CYCLE


def per_sample(curve: jax.Array, hop_length: int) -> jax.Array:
    """[..., frames] -> [..., frames·hop] on lines between the frames' centres, held at both ends."""
    before = jnp.concatenate([curve[..., :1], curve[..., :-1]], axis=-1)
    after = jnp.concatenate([curve[..., 1:], curve[..., -1:]], axis=-1)
    # Places in a hop: the first half lies behind the frame's centre, the second before it.
    place = (jnp.arange(hop_length) + 0.5) / hop_length - 0.5
    to_before, to_after = jnp.maximum(-place, 0.0), jnp.maximum(place, 0.0)
    lines = (
        curve[..., None] * (1 - to_before - to_after)
        + before[..., None] * to_before
        + after[..., None] * to_after
    )
    return lines.reshape(*curve.shape[:-1], -1)
