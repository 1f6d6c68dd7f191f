"""The curves by which a voice steers a sound: loudness, centroid, pitch and periodicity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qvae_jax.audio import stft
from qvae_jax.audio.pitch import HOP_LENGTH, SAMPLE_RATE_HZ, VOICED_LIKENESS, track_pitch

VERSION = 2  # of what the curves mean; when it is raised, prepared ones are computed again
NAMES = ("loudness", "centroid", "pitch", "periodicity")
LOUDNESS, CENTROID, PITCH, PERIODICITY = range(len(NAMES))

WINDOW_LENGTH = 1024  # samples, 46 ms: of loudness and centroid
LOUDNESS_FLOOR_DB = -80.0
REST_CENTROID_HZ = 1_000.0  # of silence
REST_PITCH_HZ = 220.0  # of a sound without any
VOICED_PERIODICITY = 0.5  # above it a frame is voiced
RESAMPLED_UP_TO_HZ = 10_550  # where soxr's HQ quality halves amplitudes on the way to 22,050 Hz


def num_frames(num_samples: int, hop: int = HOP_LENGTH) -> int:
    """How many frames the controls of so many samples have; hop is a frame's, by the rate."""
    return max(1, -(-num_samples // hop))


def hop_length(sample_rate_hz: int) -> int:
    """Samples of a frame, which lasts 243/22,050 s, at a rate that is a multiple of 22,050 Hz."""
    return HOP_LENGTH * sample_rate_hz // SAMPLE_RATE_HZ


def controls(samples: jax.Array, num_samples: jax.Array | int | None = None) -> jax.Array:
    """The control curves of sounds: [..., n] at 22,050 Hz -> float32 [..., num_frames(n), 4].

    Frame n is centred at (n + 1/2)·243/22,050 s; beyond its ends a sound is silent.

        loudness      A-weighted (IEC 61672) level of 46 ms in dB re a full-scale sine of 1 kHz.
                      Silence is at -80, and what is quieter approaches it.
        centroid      the mean frequency, weighted by magnitudes, of the same 46 ms in semitones
                      (69 is 440 Hz), DC left out; between 16.7 (22 Hz) and 124.8 (11,025 Hz).
                      Silence is at 83.2 (1 kHz), and what is quieter than -80 dB approaches it.
        pitch         semitones between 34 and 98 (58 to 2,300 Hz). Where a sound is unvoiced, on
                      the line between the voiced frames around, or held; at 57 (220 Hz) if it has
                      none.
        periodicity   how like its period a frame is, in [0, 1]; it is voiced above 0.5.

    num_samples, [...] or one for all, says how many samples of each are the sound, if a padded one
    is to have the curves that it would have alone. In frames beyond them all is at rest: loudness,
    centroid and periodicity as of silence, pitch held.
    """
    samples = jnp.asarray(samples, jnp.float32)
    batch_shape = samples.shape[:-1]
    length = samples.shape[-1] if num_samples is None else num_samples
    lengths = jnp.broadcast_to(jnp.asarray(length, jnp.int32), batch_shape).reshape(-1)
    rows = jax.vmap(_controls)(samples.reshape(-1, samples.shape[-1]), lengths)
    return rows.reshape(*batch_shape, *rows.shape[1:])


def _controls(samples: jax.Array, num_samples: jax.Array) -> jax.Array:
    count = num_frames(len(samples))
    samples = jnp.where(jnp.arange(len(samples)) < num_samples, samples, 0.0)
    num_valid = jnp.maximum(1, -(-num_samples // HOP_LENGTH))
    valid = jnp.arange(count) < num_valid
    loudness_db, centroid = _loudness_and_centroid(samples)
    hz, likeness, voiced = track_pitch(samples, count, num_valid)
    voiced &= valid
    periodicity = _periodicity(likeness, voiced)
    return jnp.stack(
        [
            jnp.where(valid, loudness_db, LOUDNESS_FLOOR_DB),
            jnp.where(valid, centroid, semitones(REST_CENTROID_HZ)),
            _joined(semitones(hz), voiced, semitones(REST_PITCH_HZ)),
            jnp.where(valid, periodicity, 0.0),
        ],
        axis=-1,
    )


def semitones(hz):
    """The MIDI note of a frequency, fractions and all: 69 is 440 Hz, 12 are an octave."""
    return 69 + 12 * jnp.log2(hz / 440)


def hertz(note):
    """The frequency of a MIDI note."""
    return 440 * 2 ** ((note - 69) / 12)


def a_weighting(hz: np.ndarray) -> np.ndarray:
    """The factor by which A-weighting multiplies amplitudes (IEC 61672-1): 1 at 1 kHz, 0 at 0."""
    squared = np.square(np.asarray(hz, np.float64))
    corners = np.square([20.598997, 107.65265, 737.86223, 12194.217])  # Hz
    factor = corners[3] * np.square(squared) / (squared + corners[0]) / (squared + corners[3])
    factor /= np.sqrt((squared + corners[1]) * (squared + corners[2]))
    return factor * 10 ** (2.0 / 20)


@functools.cache
def loudness_weights(window_length: int, sample_rate_hz: int) -> np.ndarray:
    """By what the power of a frame's bins, in all, is its A-weighted power: float32 [bins].

    A power of 1 is that of a full-scale sine of 1 kHz. The frame has a periodic Hann window. Bins
    that the curves know nothing of (num_measured_bins) weigh nothing.
    """
    bins = np.arange(window_length // 2 + 1)
    # Each bin but the first and the last stands for two. By Parseval's theorem their sum over this
    # is a mean square, which is 1/2 for a sine of full scale.
    sides = np.where((bins > 0) & (bins < window_length // 2), 2.0, 1.0)
    squared_window = np.square(stft.hann_window(window_length, periodic=True), dtype=np.float64)
    scale = 2 / (window_length * np.sum(squared_window))
    weighting = np.square(a_weighting(bins * sample_rate_hz / window_length))
    weighting[num_measured_bins(window_length, sample_rate_hz) :] = 0.0
    return (scale * sides * weighting).astype(np.float32)


def num_measured_bins(window_length: int, sample_rate_hz: int) -> int:
    """How many of a frame's bins, from the first on, the curves tell of.

    All of them at the curves' own 22,050 Hz; of a sound at a higher rate those that are left when
    it is resampled to be measured.
    """
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return window_length // 2 + 1
    return int(RESAMPLED_UP_TO_HZ * window_length / sample_rate_hz) + 1


def loudness_power(samples: jax.Array, sample_rate_hz: int = SAMPLE_RATE_HZ) -> jax.Array:
    """What the loudness curve is the decibels of, the floor's power aside: [..., n] -> [..., frames].

    At a multiple of 22,050 Hz as nearly as it can be told without resampling.
    """
    window_length = WINDOW_LENGTH * sample_rate_hz // SAMPLE_RATE_HZ
    power = _power(samples, window_length, hop_length(sample_rate_hz))
    return _summed(power, loudness_weights(window_length, sample_rate_hz))


def _summed(frames: jax.Array, weights: np.ndarray) -> jax.Array:
    """Weighted sums over the last axis, in full precision on accelerators too."""
    return jnp.matmul(frames, weights, precision=lax.Precision.HIGHEST)


def _power(samples: jax.Array, window_length: int, hop: int) -> jax.Array:
    """The power spectra around the centre of each hop: [..., n] -> [..., frames, bins]."""
    before = window_length // 2 - hop // 2
    reach = num_frames(samples.shape[-1], hop) * hop + window_length - hop
    edges = (before, reach - before - samples.shape[-1])
    window = stft.hann_window(window_length, periodic=True)
    padded = jnp.pad(samples, [(0, 0)] * (samples.ndim - 1) + [edges])
    return stft.power(jnp.fft.rfft(stft.frame(padded, window_length, hop, window)))


def _loudness_and_centroid(samples: jax.Array) -> tuple[jax.Array, jax.Array]:
    """dB and semitones of each frame, of one spectrum; controls says which."""
    window = stft.hann_window(WINDOW_LENGTH, periodic=True)
    power = _power(samples, WINDOW_LENGTH, HOP_LENGTH)
    floor = 10 ** (LOUDNESS_FLOOR_DB / 10)
    weights = loudness_weights(WINDOW_LENGTH, SAMPLE_RATE_HZ)
    loudness_db = 10 * jnp.log10(_summed(power, weights) + floor)
    magnitude = jnp.sqrt(power[:, 1:])  # without DC
    hz = np.arange(1, WINDOW_LENGTH // 2 + 1) * SAMPLE_RATE_HZ / WINDOW_LENGTH
    # The magnitude of a sine of full scale, spread over the bins of its main lobe, is the window's
    # sum.
    rest = 10 ** (LOUDNESS_FLOOR_DB / 20) * float(np.sum(window))
    total_hz = _summed(magnitude, hz.astype(np.float32)) + rest * REST_CENTROID_HZ
    return loudness_db, semitones(total_hz / (jnp.sum(magnitude, axis=-1) + rest))


def _periodicity(likeness: jax.Array, voiced: jax.Array) -> jax.Array:
    """Likeness, stretched so that one half lies where the tracker doubts, on its decision's side."""
    above = 1 - (1 - likeness) * (1 - VOICED_PERIODICITY) / (1 - VOICED_LIKENESS)
    below = likeness * VOICED_PERIODICITY / VOICED_LIKENESS
    return jnp.where(
        voiced,
        jnp.maximum(above, VOICED_PERIODICITY + 0.01),
        jnp.minimum(below, VOICED_PERIODICITY),
    )


def likeness(periodicity: jax.Array) -> jax.Array:
    """What periodicity was stretched from: how like its period a frame is, from 0 to below 1."""
    above = 1 - (1 - periodicity) * (1 - VOICED_LIKENESS) / (1 - VOICED_PERIODICITY)
    below = periodicity * VOICED_LIKENESS / VOICED_PERIODICITY
    return jnp.minimum(jnp.where(periodicity > VOICED_PERIODICITY, above, below), 0.99)


def _joined(note: jax.Array, voiced: jax.Array, rest: float) -> jax.Array:
    """Notes [frames], of which those of unvoiced frames lie on lines between the voiced ones."""
    places = jnp.arange(len(note))
    last = lax.cummax(jnp.where(voiced, places, -1))
    following = lax.cummin(jnp.where(voiced, places, len(note)), reverse=True)
    has_last, has_next = last >= 0, following < len(note)
    before = jnp.where(has_last, last, jnp.where(has_next, following, 0))
    after = jnp.where(has_next, following, before)
    share = (places - before) / jnp.maximum(after - before, 1)
    line = note[before] + (note[after] - note[before]) * jnp.clip(share, 0.0, 1.0)
    return jnp.where(jnp.any(voiced), line, rest)
