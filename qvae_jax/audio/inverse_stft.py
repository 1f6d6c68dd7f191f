"""Frames of a sound around the middle of each hop, and the sound of such frames' spectra."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.audio import stft

HOPS_PER_WINDOW = 4
MARGIN = 2  # hops beyond either end of a sound that its frames reach into


def num_bins(hop_length: int) -> int:
    """Bins of a frame: those of a transform as long as HOPS_PER_WINDOW hops."""
    return HOPS_PER_WINDOW * hop_length // 2 + 1


def framed(samples: jax.Array, hop_length: int) -> jax.Array:
    """Windowed frames [..., frames, window], each centred in its hop.

    samples [..., (frames + 2·MARGIN)·hop] go on for MARGIN hops beyond either end of the frames.
    """
    window_length = HOPS_PER_WINDOW * hop_length
    num_frames = samples.shape[-1] // hop_length - 2 * MARGIN
    first = MARGIN * hop_length - _reach(hop_length)
    reached = samples[..., first : first + (num_frames - 1) * hop_length + window_length]
    window = stft.hann_window(window_length, periodic=True)
    return stft.frame(reached, window_length, hop_length, window)


def inverse(spectrum: jax.Array, hop_length: int, valid: jax.Array | None = None) -> jax.Array:
    """Sound of complex frames: [..., frames, num_bins(hop)] -> [..., frames·hop].

    Frame n is centred at (n + 1/2)·hop. Of the frames of a sound it gives that sound, and of others
    the one whose frames are nearest (Griffin & Lim, 1984): each is windowed once more, and the sum
    divided by that of the squared windows, which at both ends is of fewer frames. Imaginary parts of
    the first and the last bin count for nothing.

    valid, bool [..., frames], is false for frames after a sound's last. They are silent, and the
    sound before them is as if it ended there.
    """
    window_length = HOPS_PER_WINDOW * hop_length
    window = stft.hann_window(window_length, periodic=True)
    frames = jnp.fft.irfft(spectrum, window_length) * window
    if valid is None:
        return overlap_added(frames, hop_length) / _coverage(spectrum.shape[-2], hop_length)
    squared = valid[..., None] * jnp.square(window)
    covered = overlap_added(squared, hop_length)
    # No sample of a valid hop is covered less than this, and the others are of no frame.
    covered = jnp.where(covered > 0.1, covered, 1.0)
    sound = overlap_added(jnp.where(valid[..., None], frames, 0.0), hop_length) / covered
    return jnp.where(jnp.repeat(valid, hop_length, axis=-1), sound, 0.0)


def overlap_added(frames: jax.Array, hop_length: int) -> jax.Array:
    """The sum of frames [..., frames, window] at their places: [..., frames·hop]."""
    *batch_shape, num_frames, _ = frames.shape
    parts = frames.reshape(*batch_shape, num_frames, HOPS_PER_WINDOW, hop_length)
    # Part i of frame n lies in hop n + i of a sound that begins _reach before frame 0's hop.
    #
    #     frame 0   | 0 | 1 | 2 | 3 |
    #     frame 1       | 0 | 1 | 2 | 3 |
    #     sound       [     …
    zeros = [(0, 0)] * len(batch_shape)
    hops = sum(
        jnp.pad(parts[..., i, :], [*zeros, (i, HOPS_PER_WINDOW - 1 - i), (0, 0)])
        for i in range(HOPS_PER_WINDOW)
    )
    first = _reach(hop_length)
    return hops.reshape(*batch_shape, -1)[..., first : first + num_frames * hop_length]


def _reach(hop_length: int) -> int:
    """Samples by which a frame begins before its hop."""
    return (HOPS_PER_WINDOW - 1) * hop_length // 2


@functools.cache
def _coverage(num_frames: int, hop_length: int) -> np.ndarray:
    """The squared windows over each sample: float32 [num_frames·hop]."""
    window_length = HOPS_PER_WINDOW * hop_length
    squared = np.square(stft.hann_window(window_length, periodic=True).astype(np.float64))
    covered = np.zeros((num_frames + HOPS_PER_WINDOW - 1) * hop_length)
    for first in range(0, num_frames * hop_length, hop_length):
        covered[first : first + window_length] += squared
    first = _reach(hop_length)
    return covered[first : first + num_frames * hop_length].astype(np.float32)
