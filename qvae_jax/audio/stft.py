"""Short-time Fourier transforms with torch.stft's conventions, differentiable everywhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qvae_jax.audio import cpu
from qvae_jax.system import platforms


def frame(
    samples: jax.Array, frame_length: int, hop_length: int, window: np.ndarray | None = None
) -> jax.Array:
    """Overlapping frames: [..., n] -> [..., 1 + (n - frame_length) // hop_length, frame_length].

    With a window, each frame is multiplied by it. A window longer than frame_length ends in zeros,
    and so do the frames, which are then as long as the window.

    Built from shifted slices of hop-sized blocks rather than a gather, because the gradient of a
    gather is a scatter-add, which is slow on every XLA backend. The slices are windowed before they
    are joined: joining them is a pass over memory on the CPU, and windowing would be another one.
    """
    num_samples = samples.shape[-1]
    if num_samples < frame_length:
        raise ValueError(f"{num_samples} samples are shorter than one frame of {frame_length}.")
    num_frames = 1 + (num_samples - frame_length) // hop_length
    blocks_per_frame = -(-frame_length // hop_length)
    num_blocks = num_frames - 1 + blocks_per_frame
    batch_shape = samples.shape[:-1]
    shortage = max(0, num_blocks * hop_length - num_samples)
    padded = jnp.pad(samples, [(0, 0)] * len(batch_shape) + [(0, shortage)])
    blocks = padded[..., : num_blocks * hop_length].reshape(*batch_shape, num_blocks, hop_length)
    parts = []
    for number in range(blocks_per_frame):
        columns = slice(number * hop_length, min((number + 1) * hop_length, frame_length))
        part = blocks[..., number : number + num_frames, : columns.stop - columns.start]
        parts.append(part if window is None else part * window[columns])
    if window is not None and len(window) > frame_length:
        zeros = (*batch_shape, num_frames, len(window) - frame_length)
        parts.append(jnp.zeros(zeros, parts[0].dtype))
    return jnp.concatenate(parts, axis=-1)


def hann_window(length: int, *, periodic: bool) -> np.ndarray:
    """Hann window [length], float32; periodic for analysis, symmetric for filter design."""
    period = length if periodic else length - 1
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / period)).astype(np.float32)


def stft(samples: jax.Array, window_length: int, hop_length: int) -> jax.Array:
    """Centred STFT: float [..., n] -> complex64 [..., 1 + n // hop_length, window_length // 2 + 1].

    Periodic Hann window of the FFT's own length, reflected edges, no normalisation:
    torch.stft(center=True, pad_mode="reflect", normalized=False), frames before frequencies.
    Raises ValueError for fewer than window_length // 2 + 1 samples, which cannot be reflected.
    """
    padded = _reflected(samples, window_length // 2)
    window = hann_window(window_length, periodic=True)
    return _rfft(frame(padded, window_length, hop_length, window))


def _reflected(samples: jax.Array, count: int) -> jax.Array:
    """[..., n] -> [..., n + 2·count], with its mirror image beyond each edge."""
    if samples.shape[-1] <= count:
        raise ValueError(
            f"{samples.shape[-1]} samples are too few to reflect {count} of them at each edge."
        )
    edges = [(0, 0)] * (samples.ndim - 1) + [(count, count)]
    return _computed(jnp.pad(samples, edges, mode="reflect"))


@platforms.with_cpu_form(cpu.computed_once, where=platforms.samples_apart)
def _computed(x: jax.Array) -> jax.Array:
    """x, left to the compiler to compute where it likes."""
    return x


@platforms.with_cpu_form(cpu.rfft, where=platforms.samples_apart)
def _rfft(frames: jax.Array) -> jax.Array:
    """The bins 0 to length // 2 of each frame's Fourier transform, [..., length]."""
    return jnp.fft.rfft(frames)


def energy(samples: jax.Array, window_length: int, hop_length: int) -> jax.Array:
    """Sum of power(stft(...)) over frames and bins, without transforms: [..., n] -> [...].

    By Parseval's theorem the power of a frame's bins, if all but the first and the last count
    twice, is the frame's length times the energy of its windowed samples. The window's length must
    be even, and divisible by the hop. Raises ValueError as stft does.
    """
    num_samples = samples.shape[-1]
    padded = _reflected(samples, window_length // 2)
    coverage = _coverage(num_samples, window_length, hop_length)
    covered = jnp.sum(jnp.square(samples) * coverage, axis=-1)
    num_frames = 1 + num_samples // hop_length
    blocks_per_frame = window_length // hop_length
    num_blocks = num_frames - 1 + blocks_per_frame
    blocks = padded[..., : num_blocks * hop_length].reshape(*samples.shape[:-1], -1, hop_length)
    window = hann_window(window_length, periodic=True)
    first_and_last = np.stack([window, window * (-1.0) ** np.arange(window_length)], axis=-1)
    # What a block adds to the first and the last bin of a frame, for each place it may have in it.
    parts = first_and_last.reshape(blocks_per_frame, hop_length, 2).swapaxes(0, 1)
    products = jnp.matmul(
        blocks, parts.reshape(hop_length, -1).astype(np.float32), precision=lax.Precision.HIGHEST
    ).reshape(*blocks.shape[:-1], blocks_per_frame, 2)
    bins = sum(products[..., i : i + num_frames, i, :] for i in range(blocks_per_frame))
    return (window_length * covered + jnp.sum(jnp.square(bins), axis=(-2, -1))) / 2


@functools.cache
def _coverage(num_samples: int, window_length: int, hop_length: int) -> np.ndarray:
    """The squared windows over each sample, and over its reflections: float32 [num_samples]."""
    half = window_length // 2
    squared = np.square(hann_window(window_length, periodic=True).astype(np.float64))
    padded = np.zeros(num_samples + window_length)
    for first in range(0, num_samples + 1, hop_length):
        padded[first : first + window_length] += squared
    coverage = padded[half:-half].copy()
    coverage[1 : half + 1] += padded[:half][::-1]
    coverage[-half - 1 : -1] += padded[-half:][::-1]
    return coverage.astype(np.float32)


def power(spectrum: jax.Array) -> jax.Array:
    """Squared magnitude of a complex array, without the square root that abs() would take."""
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)


def safe_sqrt(values: jax.Array) -> jax.Array:
    """Square root whose gradient at zero is zero instead of infinite.

    Digital silence gives exact zeros; torch defines the same zero gradient for abs() of complex 0.
    """
    positive = values > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, values, 1.0)), 0.0)


def magnitude(spectrum: jax.Array) -> jax.Array:
    """Magnitude of a complex array, with a finite gradient at zero."""
    return safe_sqrt(power(spectrum))
