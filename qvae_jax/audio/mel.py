"""Mel filter banks, Kaldi's, HTK's and Essentia's, as NumPy constants."""

import functools

import numpy as np


@functools.cache
def kaldi_mel_bank(
    num_mels: int, n_fft: int, sample_rate_hz: int, low_hz: float, high_hz: float
) -> np.ndarray:
    """Kaldi's triangular bank, float32 [n_fft // 2 + 1, num_mels].

    mel(f) = 1127 ln(1 + f / 700); the triangles are straight lines in mel, and the Nyquist bin
    weighs zero because Kaldi leaves it out.
    """
    mel = lambda hz: 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)
    edges = np.linspace(mel(low_hz), mel(high_hz), num_mels + 2)
    bins = mel(np.arange(n_fft // 2) * sample_rate_hz / n_fft)[:, None]
    weights = _triangles(bins, edges)
    return np.concatenate([weights, np.zeros((1, num_mels))]).astype(np.float32)


@functools.cache
def htk_mel_bank(
    num_mels: int, n_fft: int, sample_rate_hz: int, low_hz: float, high_hz: float
) -> np.ndarray:
    """HTK's triangular bank without area normalisation, float32 [n_fft // 2 + 1, num_mels].

    mel(f) = 2595 log10(1 + f / 700); the triangles are straight lines in Hz
    (torchaudio's melscale_fbanks with mel_scale="htk", norm=None).
    """
    mel = lambda hz: 2595.0 * np.log10(1.0 + hz / 700.0)
    edges_mel = np.linspace(mel(low_hz), mel(high_hz), num_mels + 2)
    edges = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins = np.linspace(0.0, sample_rate_hz / 2, n_fft // 2 + 1)[:, None]
    return _triangles(bins, edges).astype(np.float32)


@functools.cache
def unit_sum_mel_bank(
    num_mels: int, n_fft: int, sample_rate_hz: int, low_hz: float, high_hz: float
) -> np.ndarray:
    """Triangles that are straight in mel, each adding up to 1: float32 [n_fft // 2 + 1, num_mels].

    mel(f) = 1127 ln(1 + f / 700). Essentia's MelBands with weighting "warping" and normalisation
    "unit_sum". Raises ValueError where a band is so narrow that it covers no bin.
    """
    mel = lambda hz: 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)
    edges = np.linspace(mel(low_hz), mel(high_hz), num_mels + 2)
    bins = mel(np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft)[:, None]
    weights = _triangles(bins, edges)
    sums = weights.sum(axis=0)
    if not sums.all():
        raise ValueError(f"{num_mels} mel bands are too many for {n_fft} samples a frame.")
    return (weights / sums).astype(np.float32)


def bands(bank: np.ndarray, band_mels: int) -> list[tuple[slice, slice, np.ndarray]]:
    """A bank cut into a few mels at a time: (the mels, the bins they cover, their weights) each.

    Nine tenths of a bank [bins, mels] are zeros; of the parts, [its bins, its mels], few are.
    """
    parts = []
    for first in range(0, bank.shape[1], band_mels):
        mels = slice(first, min(first + band_mels, bank.shape[1]))
        covered = np.flatnonzero(bank[:, mels].any(axis=1))
        bins = slice(int(covered[0]), int(covered[-1]) + 1) if len(covered) else slice(0, 1)
        parts.append((mels, bins, np.ascontiguousarray(bank[bins, mels])))
    return parts


def _triangles(positions: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Weights [positions, len(edges) - 2] of triangles over each three neighbouring edges."""
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (positions - left) / (centre - left)
    falling = (right - positions) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))
