"""The harmonics of a pitch curve as a sound: what a steered model shapes into its voiced part."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qvae_jax.audio.controls import PERIODICITY, PITCH, VOICED_PERIODICITY, hertz

FADE = 0.1  # of periodicity: from silent to whole, half way where a frame begins to be voiced
CYCLE = 2.0**32
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
    cycles = accumulated(steps_of(curves[..., PITCH], hop_length, sample_rate_hz))
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


def steps_of(note: jax.Array, hop_length: int, sample_rate_hz: int) -> jax.Array:
    """By which part of a cycle an oscillator of these notes goes on at each sample.

    int32 [..., frames·hop] of notes [..., frames] between LOWEST_NOTE and HIGHEST_NOTE, in whole
    2^-32 of a cycle. They are looked up, and lie on lines between the entries of a table and between
    the frames' centres, all in whole numbers: so they are the same wherever they are computed. What
    two libraries' powers of 2 differ by would add up, in ten seconds, to another phase of every high
    harmonic.
    """
    # Above 32, a float32 holds whole parts of 2^-18 of a semitone: nothing is rounded.
    parts = (jnp.clip(note, LOWEST_NOTE, HIGHEST_NOTE) - LOWEST_NOTE) * np.float32(2**18)
    parts = parts.astype(jnp.int32)
    entry = lax.div(parts, jnp.full_like(parts, ENTRY_PARTS))
    table = _steps(sample_rate_hz)
    low, rise = jnp.asarray(table[:-1])[entry], jnp.asarray(np.diff(table))[entry]
    on = rise * (parts - entry * ENTRY_PARTS)
    here = (low + lax.div(on, jnp.full_like(on, ENTRY_PARTS)))[..., None]
    before = jnp.concatenate([here[..., :1, :], here[..., :-1, :]], axis=-2)
    after = jnp.concatenate([here[..., 1:, :], here[..., -1:, :]], axis=-2)
    # Twice the place in a hop, from its centre. What is left of a difference that its parts do not
    # divide is multiplied apart, so that nothing goes beyond 32 bits; and divided in float32, which
    # no processor does slowly: a half more than the whole number is rounded down to it by all.
    place, parts = 2 * np.arange(hop_length, dtype=np.int32) + 1 - hop_length, 2 * hop_length
    divided = lambda on: (
        lax.div(on, jnp.full_like(on, parts)),
        lax.rem(on, jnp.full_like(on, parts)),
    )
    (whole_before, rest_before), (whole_after, rest_after) = (
        divided(here - before),
        divided(after - here),
    )
    whole = jnp.where(place < 0, whole_before, whole_after)
    rest = (jnp.where(place < 0, rest_before, rest_after) * place).astype(jnp.float32)
    steps = here + whole * place + jnp.floor((rest + 0.5) / parts).astype(jnp.int32)
    return steps.reshape(*note.shape[:-1], note.shape[-1] * hop_length)


@functools.cache
def _steps(sample_rate_hz: int) -> np.ndarray:
    """Of notes 1/256 of a semitone apart, and of the one after the last: int32."""
    count = (HIGHEST_NOTE - LOWEST_NOTE) * 2**18 // ENTRY_PARTS + 2
    notes = LOWEST_NOTE + np.arange(count) * ENTRY_PARTS / 2**18
    return np.round(hertz(notes) / sample_rate_hz * CYCLE).astype(np.int32)


def accumulated(steps: jax.Array) -> jax.Array:
    """The phase [..., n] of an oscillator that goes on so, in cycles from -1/2 to 1/2.

    Steps are whole 2^-32 of a cycle, int32, whose sums wrap by themselves: that of any number of
    them is exact, so a phase depends neither on the way it is added up nor on what comes after it.
    Around a whole cycle, where all harmonics meet, its float32 has the most digits.
    """
    return jnp.cumsum(steps, axis=-1, dtype=jnp.int32).astype(jnp.float32) / CYCLE


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
