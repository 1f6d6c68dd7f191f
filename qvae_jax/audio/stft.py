"""Short-time Fourier transforms with torch.stft's conventions, differentiable everywhere."""

import jax
import jax.numpy as jnp
import numpy as np


def frame(samples: jax.Array, frame_length: int, hop_length: int) -> jax.Array:
    """Overlapping frames: [..., n] -> [..., 1 + (n - frame_length) // hop_length, frame_length].

    Built from shifted slices of hop-sized blocks rather than a gather, because the gradient of a
    gather is a scatter-add, which is slow on every XLA backend.
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
    shifted = [blocks[..., i : i + num_frames, :] for i in range(blocks_per_frame)]
    return jnp.concatenate(shifted, axis=-1)[..., :frame_length]


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
    half = window_length // 2
    if samples.shape[-1] <= half:
        raise ValueError(
            f"{samples.shape[-1]} samples are too few to reflect {half} of them at each edge."
        )
    edges = [(0, 0)] * (samples.ndim - 1) + [(half, half)]
    padded = jnp.pad(samples, edges, mode="reflect")
    windowed = frame(padded, window_length, hop_length) * hann_window(window_length, periodic=True)
    return jnp.fft.rfft(windowed)


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
