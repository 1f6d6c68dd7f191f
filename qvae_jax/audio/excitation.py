"""The harmonics of a pitch curve as a sound: what a steered model shapes into its voiced part."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qvae_jax.audio.controls import PERIODICITY, PITCH, VOICED_PERIODICITY, hertz

FADE = 0.1  # of periodicity: from silent to whole, half way where a frame begins to be voiced
CYCLE = 2.0**32
# sin(2πx) / x for |x| up to 1/4, by powers of x²: the largest relative error is the least, 5e-9.
SINE_FACTORS = (39.711132, -76.575023, 81.6022327, -41.3416775, 6.28318527)
LOWEST_NOTE, HIGHEST_NOTE = 34, 98  # that a pitch curve has
ENTRY_PARTS = 2**10  # from entry to entry of the table of steps: 1/256 of a semitone


def harmonics(curves: jax.Array, hop_length: int, sample_rate_hz: int) -> jax.Array:
    """All harmonics of a pitch curve below half the rate, as equal cosines.

    curves [batch, frames, 4] as `controls` gives them -> [batch, frames·hop] of unit power where
    they are voiced, and silent where not. Frequencies and levels lie on lines between the frames'
    centres; the highest harmonic fades in and out before it would fold.
    """
    hz = per_sample(hertz(curves[..., PITCH]), hop_length)
    level = per_sample(voiced_share(curves), hop_length)
    cycles = phase(curves[..., PITCH], hop_length, sample_rate_hz)
    room = sample_rate_hz / 2 / hz  # harmonics below half the rate, and a fraction of the next
    count = jnp.floor(room) - 1
    last = (room - 1 - count) * sine((count + 1) * cycles + 0.25)
    # 2 Σ cos(k θ), k = 1 … K, is sin((K + ½) θ) / sin(θ / 2) − 1, and 2 K where θ is a whole turn.
    denominator = sine(cycles / 2)
    at_pulse = jnp.abs(denominator) < 1e-4
    ratio = sine((count + 0.5) * cycles) / jnp.where(at_pulse, 1.0, denominator)
    whole = jnp.where(at_pulse, count, (ratio - 1) / 2)
    power = (count + jnp.square(room - 1 - count)) / 2
    return level * (whole + last) * jax.lax.rsqrt(power)


def voiced_share(curves: jax.Array) -> jax.Array:
    """How far each frame is voiced, 0 to 1: curves [..., frames, 4] -> [..., frames]."""
    return jnp.clip((curves[..., PERIODICITY] - VOICED_PERIODICITY) / FADE + 0.5, 0.0, 1.0)


def sine(cycles: jax.Array) -> jax.Array:
    """sin(2π·cycles) within 3e-7, of cycles whose whole ones are left out.

    A polynomial, and the same one on every platform; by a library's sine, a renderer took a fifth
    longer on the CPU.
    """
    rest = cycles - jnp.round(cycles)
    # The second and third quarter of the circle are mirrored into the first and fourth.
    rest = jnp.where(jnp.abs(rest) > 0.25, jnp.sign(rest) * 0.5 - rest, rest)
    square = jnp.square(rest)
    return rest * functools.reduce(lambda value, factor: value * square + factor, SINE_FACTORS)


def phase(note: jax.Array, hop_length: int, sample_rate_hz: int) -> jax.Array:
    """The phase of an oscillator of these notes, in cycles from -1/2 to 1/2.

    [..., frames·hop] of notes [..., frames] between LOWEST_NOTE and HIGHEST_NOTE. From sample to
    sample it goes on by steps that lie on lines between the frames' centres. They are added up in
    whole 2^-32 of a cycle, int32, whose sums wrap by themselves: a phase is the same wherever it is
    computed, and depends on nothing beyond the next frame. What two libraries' powers of 2 differ by
    would add up, in ten seconds, to another phase of every high harmonic. Around a whole cycle,
    where all harmonics meet, its float32 has the most digits.
    """
    steps = steps_of(note, sample_rate_hz)
    # From a frame's centre to the next one's, and half a hop before the first and after the last.
    start = jnp.concatenate([steps[..., :1], steps], axis=-1)
    rise = jnp.concatenate([steps, steps[..., -1:]], axis=-1) - start
    # The steps up to sample i of a hop add up to (i + 1)·start + rise·parts / (2·hop): a centre lies
    # on a sample, or between two.
    count = np.arange(1, hop_length + 1, dtype=np.int32)
    parts = count * (count - hop_length % 2)
    hops = hop_length * start + rise * (hop_length // 2)
    silent = (hop_length + 1) // 2  # samples of the first of these hops, before the sound begins
    so_far = jnp.cumsum(hops, axis=-1, dtype=jnp.int32) - hops - silent * steps[..., :1]
    wholes = start[..., None] * count + _share_of(rise, parts, 2 * hop_length)
    cycles = (so_far[..., None] + wholes).reshape(*note.shape[:-1], -1)
    sounding = cycles[..., silent : silent + note.shape[-1] * hop_length]
    return sounding.astype(jnp.float32) / CYCLE


def _share_of(whole: jax.Array, parts: np.ndarray, all_parts: int) -> jax.Array:
    """whole·parts / all_parts, rounded down, int32 [..., n] -> [..., n, parts].

    What all_parts does not divide is multiplied apart, so that no product that is divided goes
    beyond 32 bits; and it is divided in float32, which no processor does slowly: a half more than
    the whole number is rounded down to it by all.
    """
    divisor = jnp.full_like(whole, all_parts)
    quotient, rest = lax.div(whole, divisor)[..., None], lax.rem(whole, divisor)[..., None]
    many, few = np.divmod(parts, np.int32(all_parts))
    last = jnp.floor(((rest * few).astype(jnp.float32) + 0.5) / all_parts).astype(jnp.int32)
    return quotient * parts + rest * many + last


def steps_of(note: jax.Array, sample_rate_hz: int) -> jax.Array:
    """By which part of a cycle an oscillator of these notes goes on at a sample.

    int32 [...] of notes [...], in whole 2^-32 of a cycle, on lines between the entries of a table.
    """
    # Above 32, a float32 holds whole parts of 2^-18 of a semitone: nothing is rounded.
    parts = (jnp.clip(note, LOWEST_NOTE, HIGHEST_NOTE) - LOWEST_NOTE) * np.float32(2**18)
    parts = parts.astype(jnp.int32)
    entry = lax.div(parts, jnp.full_like(parts, ENTRY_PARTS))
    table = _steps(sample_rate_hz)
    low, rise = jnp.asarray(table[:-1])[entry], jnp.asarray(np.diff(table))[entry]
    on = rise * (parts - entry * ENTRY_PARTS)
    return low + lax.div(on, jnp.full_like(on, ENTRY_PARTS))


@functools.cache
def _steps(sample_rate_hz: int) -> np.ndarray:
    """Of notes 1/256 of a semitone apart, and of the one after the last: int32."""
    count = (HIGHEST_NOTE - LOWEST_NOTE) * 2**18 // ENTRY_PARTS + 2
    notes = LOWEST_NOTE + np.arange(count) * ENTRY_PARTS / 2**18
    return np.round(hertz(notes) / sample_rate_hz * CYCLE).astype(np.int32)


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
