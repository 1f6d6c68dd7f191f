"""What is done to the sounds of a training step: pure functions of (key, batch).

A row's draws depend on the key and its place in the whole batch, so that they are the same on any
number of devices; axis_name names the axis along which a batch is cut (models/global_batch.py).
Waveforms are [batch, samples] with full scale at 1, log-mels [batch, mels, frames].
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.audio.front_end import SCALE, SHIFT, FrontEnd
from qvae_jax.models import global_batch

MASKED = SHIFT / SCALE  # a log-mel's value where the logarithm is 0, as EfficientAT masks
STATISTICS_FLOOR = 1e-6  # added to variances


def _row_by_row(one_row: Callable) -> Callable:
    """An augmentation of a batch, made of one (key, row, …) -> row of a single row."""

    @functools.wraps(one_row)
    def of_batch(key: jax.Array, batch: jax.Array, *settings, axis_name: str | None = None):
        rows = jnp.arange(len(batch)) + global_batch.first_row(len(batch), axis_name)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(rows)
        return jax.vmap(lambda key, row: one_row(key, row, *settings))(keys, batch)

    return of_batch


# --- Waveforms


@_row_by_row
def roll(key: jax.Array, waveform: jax.Array, most_samples: int) -> jax.Array:
    """Shifts each in a circle by up to so many samples, to either side."""
    return jnp.roll(waveform, jax.random.randint(key, (), -most_samples, most_samples + 1))


@_row_by_row
def gain(key: jax.Array, waveform: jax.Array, most_db: float) -> jax.Array:
    """Makes each louder or softer by up to so many decibels, evenly drawn."""
    db = jax.random.uniform(key, (), waveform.dtype, -most_db, most_db)
    return waveform * 10 ** (db / 20)


@_row_by_row
def noise(
    key: jax.Array, waveform: jax.Array, lowest_snr_db: float, highest_snr_db: float
) -> jax.Array:
    """Adds white noise to each at a ratio drawn evenly in decibels.

    The ratio is that of the mean power of the samples that are not zero: what pads a sound does not
    count.
    """
    ratio_key, noise_key = jax.random.split(key)
    snr_db = jax.random.uniform(ratio_key, (), waveform.dtype, lowest_snr_db, highest_snr_db)
    audible = jnp.maximum(jnp.sum(waveform != 0), 1)
    power = jnp.sum(jnp.square(waveform)) / audible
    drawn = jax.random.normal(noise_key, waveform.shape, waveform.dtype)
    return waveform + jnp.sqrt(power) * 10 ** (-snr_db / 20) * drawn


# --- The mel bank


def jittered_mel_bank(
    key: jax.Array, front_end: FrontEnd, low_range_hz: int, high_range_hz: int
) -> jax.Array:
    """Kaldi's mel bank with edges that are moved: [n_fft // 2 + 1, mels].

    As EfficientAT draws them, once for a batch and in whole Hz: the lower edge is raised by less
    than low_range_hz, the upper one moved by -high_range_hz / 2, exclusive, to +high_range_hz / 2.
    A range of 0 leaves an edge where it is.
    """
    low_key, high_key = jax.random.split(key)
    raised = jax.random.randint(low_key, (), 0, max(1, low_range_hz))
    lowered = jax.random.randint(high_key, (), 0, max(1, high_range_hz))
    low_hz = front_end.low_hz + raised
    high_hz = front_end.high_hz + high_range_hz // 2 - lowered
    return mel_bank(front_end, low_hz, high_hz)


def mel_bank(
    front_end: FrontEnd, low_hz: jax.Array | float, high_hz: jax.Array | float
) -> jax.Array:
    """FrontEnd.mel_bank with these edges, which may be traced."""
    mel = lambda hz: 1127.0 * jnp.log1p(hz / 700.0)
    steps = jnp.arange(front_end.num_mels + 2) / (front_end.num_mels + 1)
    edges = mel(low_hz) + (mel(high_hz) - mel(low_hz)) * steps
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    hz = np.arange(front_end.n_fft // 2) * front_end.sample_rate_hz / front_end.n_fft
    bins = mel(hz)[:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    weights = jnp.maximum(0.0, jnp.minimum(rising, falling))
    return jnp.pad(weights, [(0, 1), (0, 0)])  # Kaldi leaves out the Nyquist bin


# --- Log-mels


@_row_by_row
def mask_frequencies(key: jax.Array, logmel: jax.Array, longest: int) -> jax.Array:
    """Masks a band of each of fewer than `longest` mels, evenly drawn (Park et al., 2019)."""
    return jnp.where(_stretch(key, logmel.shape[0], longest)[:, None], MASKED, logmel)


@_row_by_row
def mask_times(key: jax.Array, logmel: jax.Array, longest: int) -> jax.Array:
    """Masks a stretch of each of fewer than `longest` frames, evenly drawn."""
    return jnp.where(_stretch(key, logmel.shape[1], longest), MASKED, logmel)


def _stretch(key: jax.Array, length: int, longest: int) -> jax.Array:
    """Which of `length` places lie in a stretch drawn as torchaudio's masks are: bool [length]."""
    width_key, start_key = jax.random.split(key)
    width = jax.random.uniform(width_key) * min(longest, length)
    start = jnp.floor(jax.random.uniform(start_key) * (length - width))
    places = jnp.arange(length)
    return (start <= places) & (places < start + jnp.floor(width))


@_row_by_row
def drop_or_double_frames(key: jax.Array, logmel: jax.Array, share: float) -> jax.Array:
    """Drops or doubles frames of each, this share of them, at random; the last one fills up."""
    changed_key, doubled_key = jax.random.split(key)
    frames = logmel.shape[1]
    is_changed = jax.random.uniform(changed_key, (frames,)) < share
    is_doubled = jax.random.bernoulli(doubled_key, shape=(frames,))
    counts = jnp.where(is_changed, jnp.where(is_doubled, 2, 0), 1)
    # Frame n of the result is the first that, with those before it, gives more than n frames.
    sources = jnp.searchsorted(jnp.cumsum(counts), jnp.arange(frames), side="right")
    return logmel[:, jnp.minimum(sources, frames - 1)]


def mixstyle(
    key: jax.Array,
    logmels: jax.Array,
    probability: float,
    alpha: float,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """MixStyle over mel bands: with a probability, the batch's rows mix each other's statistics.

    Each row's mean and spread over time in each band become a mixture of its own and another row's,
    by a share drawn from Beta(alpha, alpha); no gradient passes through them. Zhou et al. (2021);
    over frequencies, Schmid et al. (2022).
    """
    whether_key, share_key, order_key = jax.random.split(key, 3)
    num_rows = len(logmels) * global_batch.num_parts(axis_name)
    mean = jnp.mean(logmels, axis=2)
    spread = jnp.sqrt(jnp.var(logmels, axis=2, ddof=1) + STATISTICS_FLOOR)
    own = jax.lax.stop_gradient(jnp.stack([mean, spread], axis=-1))  # [batch, mels, 2]
    order = jax.random.permutation(order_key, num_rows)
    shares = jax.random.beta(share_key, alpha, alpha, (num_rows,), logmels.dtype)
    first = global_batch.first_row(len(logmels), axis_name)
    here = lambda of_all: jax.lax.dynamic_slice_in_dim(of_all, first, len(logmels))
    of_other = global_batch.all_rows(own, axis_name)[here(order)]
    share = here(shares)[:, None, None]
    mixed = share * own + (1 - share) * of_other
    normal = (logmels - own[..., :1]) / own[..., 1:]
    is_mixed = jax.random.bernoulli(whether_key, probability)
    return jnp.where(is_mixed, normal * mixed[..., 1:] + mixed[..., :1], logmels)
