"""What is only measured, never minimised: distances of sounds, of sets of sounds, and retrieval.

All are pure functions of NumPy arrays. Those of two sounds take (prediction, target), [samples]
each of the same length and rate, and give a number for that pair. Either may be a Sound, of which
spectra are computed once, however many others it is compared with.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.signal

# Of auraloss's MultiResolutionSTFTLoss.
MULTI_RESOLUTION = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # FFT, hop, window
POWER_FLOOR = 1e-8
# Of the Descript audio codec.
MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
MEL_FLOOR = 1e-5

FRAME_LENGTH, HOP_LENGTH = 1024, 256  # of the measures below that name no others
ENVELOPE_FLOOR_DB = -80.0
ONSET_SHARE = 0.1  # of a sound's peak, -20 dB
AUDIBLE_DB = -60.0  # of frames, relative to the loudest of the reference
FLATNESS_FLOOR = 1e-10
KERNEL_DISTANCE_SCALE = 100.0
ACTIVE_VARIANCE = 0.01


class Description(NamedTuple):
    """RMS in dBFS, spectral centroid in Hz, and spectral flatness, 0 to 1; see describe."""

    rms_db: float
    centroid_hz: float
    flatness: float


class Sound:
    """Samples, and what has been computed of them."""

    def __init__(self, samples: np.ndarray):
        self.samples = samples
        self._known: dict[tuple, object] = {}

    def known(self, analysis: Callable, *settings):
        """analysis(samples, *settings)."""
        key = (analysis, *settings)
        if key not in self._known:
            self._known[key] = analysis(self.samples, *settings)
        return self._known[key]


def multi_resolution_stft(prediction: np.ndarray | Sound, target: np.ndarray | Sound) -> float:
    """Multi-resolution STFT distance, lower is better; 0 for equal sounds.

    Mean over three resolutions of the spectral convergence ‖|T| − |P|‖_F / ‖|T|‖_F plus
    mean |ln|P| − ln|T||, of magnitudes whose squares are at least 1e-8: the defaults of auraloss's
    MultiResolutionSTFTLoss (Steinmetz & Reiss 2020), after Yamamoto et al. (2020), "Parallel
    WaveGAN".
    """
    distances = []
    for resolution in MULTI_RESOLUTION:
        (p, log_p), (t, log_t) = of_each(_magnitudes, (prediction, target), resolution)
        convergence = np.linalg.norm(t - p) / np.linalg.norm(t)
        distances.append(convergence + np.abs(log_p - log_t).mean())
    return float(np.mean(distances))


def multi_scale_mel(
    prediction: np.ndarray | Sound, target: np.ndarray | Sound, sample_rate_hz: int
) -> float:
    """Multi-scale mel distance, lower is better; 0 for equal sounds.

    Sum over seven window lengths from 32 to 2048 (hop a quarter, 5 to 320 Slaney mel bands of
    magnitudes) of mean |log10 max(M_P, 1e-5) − log10 max(M_T, 1e-5)|: the reconstruction loss of
    the Descript audio codec (Kumar et al. 2023, "High-Fidelity Audio Compression with Improved
    RVQGAN", settings of its base configuration).
    """
    total = 0.0
    for scale in MEL_SCALES:
        p, t = of_each(_log10_mels, (prediction, target), sample_rate_hz, scale)
        total += np.abs(p - t).mean()
    return float(total)


def log_spectral_distance(prediction: np.ndarray | Sound, target: np.ndarray | Sound) -> float:
    """Log-spectral distance in dB, lower is better.

    Mean over frames of the root mean square over frequencies of the difference of the power spectra
    in dB (Gray & Markel 1976), which are at least -80 dB; periodic Hann window of 1024, hop 256.
    """
    p, t = of_each(_power_db, (prediction, target))
    return float(np.sqrt(np.square(p - t).mean(axis=-1)).mean())


def envelope_correlation(prediction: np.ndarray | Sound, target: np.ndarray | Sound) -> float:
    """Pearson's correlation of the loudness envelopes, -1 to 1; 0 where one of them is constant.

    An envelope is the RMS of frames of 1024 samples, hop 256, in dB re full scale, at least -80.
    """
    return correlation(*of_each(_envelope_db, (prediction, target)))


def centroid_correlation(
    prediction: np.ndarray | Sound, target: np.ndarray | Sound, sample_rate_hz: int
) -> float:
    """Pearson's correlation of the spectral centroids, -1 to 1; 0 where one of them is constant.

    The centroid is the mean frequency weighted by magnitude (Peeters 2004), 0 Hz for silence. Only
    frames count in which the target lies within 60 dB of its loudest frame.
    """
    (levels,) = of_each(_envelope_db, (target,))
    audible = _audible(levels)
    if audible.sum() < 2:
        return 0.0
    centroids = of_each(spectral_centroid_hz, (prediction, target), sample_rate_hz)
    return correlation(*(centroid[audible] for centroid in centroids))


def spectral_centroid_hz(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Magnitude-weighted mean frequency of each frame, [frames]; 0 for silent ones."""
    magnitudes = np.sqrt(_power(samples, pad_mode="constant"))
    sums = magnitudes.sum(axis=-1)
    frequencies = np.linspace(0, sample_rate_hz / 2, magnitudes.shape[-1])
    silent = sums < np.finfo(np.float32).tiny
    return np.where(silent, 0.0, magnitudes @ frequencies / np.where(silent, 1.0, sums))


def spectral_flatness(samples: np.ndarray) -> np.ndarray:
    """Geometric over arithmetic mean of each frame's power spectrum, [frames], 0 to 1.

    Near 0 for a tone, near 1 for white noise (Peeters 2004); power is at least 1e-10, so silence
    has 1.
    """
    power = np.maximum(_power(samples, pad_mode="constant"), FLATNESS_FLOOR)
    return np.exp(np.log(power).mean(axis=-1)) / power.mean(axis=-1)


def describe(samples: np.ndarray, sample_rate_hz: int) -> Description | None:
    """Level and colour of one sound [samples]; None where no frame of it reaches -80 dBFS.

    The level is of the whole sound. Centroid and flatness are means over the frames within 60 dB of
    the loudest, for silence after a sound's end would move them.
    """
    audible = _audible(_envelope_db(samples))
    if not audible.any():
        return None
    return Description(
        rms_db=float(10 * np.log10(np.square(samples, dtype=np.float64).mean())),
        centroid_hz=float(spectral_centroid_hz(samples, sample_rate_hz)[audible].mean()),
        flatness=float(spectral_flatness(samples)[audible].mean()),
    )


def onset_s(samples: np.ndarray, sample_rate_hz: int) -> float:
    """When a sound begins: its first sample within 20 dB of its peak; for silence, its end."""
    magnitudes = np.abs(samples)
    peak = magnitudes.max()
    first = len(samples) if peak == 0 else int(np.argmax(magnitudes >= ONSET_SHARE * peak))
    return first / sample_rate_hz


def onset_error_s(
    prediction: np.ndarray | Sound, target: np.ndarray | Sound, sample_rate_hz: int
) -> float:
    """How far the beginnings of two sounds lie apart, in seconds."""
    first, second = of_each(onset_s, (prediction, target), sample_rate_hz)
    return abs(first - second)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of Gaussians fitted to two sets of embeddings [n, d] and [m, d].

    ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½), as in the Fréchet audio distance (Kilgour et al. 2019).
    Biased upwards where n or m does not exceed d by much: compare values of equal n only. NaN
    where a set has fewer than two.
    """
    if min(len(first), len(second)) < 2:
        return float("nan")
    a, b = (
        (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
        for x in (np.asarray(first, np.float64), np.asarray(second, np.float64))
    )
    # Σ = aᵀa, so the trace of (Σ₁Σ₂)^½ is the sum of the singular values of a bᵀ, which triangular
    # factors have as well: no square root of a singular matrix is needed.
    triangle_a, triangle_b = (np.linalg.qr(x, mode="r") for x in (a, b))
    cross = np.linalg.svd(triangle_a @ triangle_b.T, compute_uv=False)
    shift = np.mean(first, axis=0, dtype=np.float64) - np.mean(second, axis=0, dtype=np.float64)
    return float(shift @ shift + np.sum(a * a) + np.sum(b * b) - 2 * cross.sum())


def kernel_distance(generated: np.ndarray, reference: np.ndarray) -> float:
    """Kernel audio distance of two sets of embeddings [n, d] and [m, d]: 100 times MMD².

    The unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, lemma 6),
    which may be negative, with a Gaussian kernel exp(−‖x − y‖² / (2σ²)), σ the median distance
    within the reference set (Chung et al. 2025, "KAD: No More FAD!", and its toolkit's factor). NaN
    where a set has fewer than two, or all references are the same.
    """
    n, m = len(generated), len(reference)
    if min(n, m) < 2:
        return float("nan")
    within_reference = _squared_distances(reference, reference)
    bandwidth_squared = np.median(np.sqrt(within_reference[np.triu_indices(m, 1)])) ** 2
    if bandwidth_squared == 0:
        return float("nan")
    kernel = lambda squared: np.exp(-squared / (2 * bandwidth_squared))
    within = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    mmd = (
        within(kernel(_squared_distances(generated, generated)))
        + within(kernel(within_reference))
        - 2 * kernel(_squared_distances(generated, reference)).mean()
    )
    return float(KERNEL_DISTANCE_SCALE * mmd)


def cosine_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosines between the rows of [n, d] and [m, d]: [n, m]; 0 for rows of zeros."""
    unit = lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit(np.asarray(first, np.float64)) @ unit(np.asarray(second, np.float64)).T


def reciprocal_ranks(similarity: np.ndarray, right: np.ndarray) -> np.ndarray:
    """1 / rank of the right item for each query, [queries]; their mean is the MRR.

    similarity is [queries, items], right [queries] the right item of each. Items as similar as the
    right one count as behind it.
    """
    of_right = np.take_along_axis(similarity, right[:, None], axis=1)
    return 1.0 / (1 + (similarity > of_right).sum(axis=1))


def ndcg(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain of each query, [queries], over all items.

    relevant [queries, items] is true for items of the query's class; an item of rank r gains
    1 / log2(1 + r) (Järvelin & Kekäläinen 2002). 0 for a query without any.
    """
    discounts = 1 / np.log2(np.arange(2, similarity.shape[1] + 2))
    order = np.argsort(-similarity, axis=1, kind="stable")
    gains = np.take_along_axis(relevant.astype(float), order, axis=1) @ discounts
    best = np.concatenate([[0.0], np.cumsum(discounts)])[relevant.sum(axis=1)]
    return gains / np.where(best == 0, 1.0, best)


def diversity(embeddings: np.ndarray, sounds: np.ndarray) -> float:
    """Mean cosine distance between the outputs for imitations of different sounds, 0 to 2.

    embeddings [n, d]; sounds [n] tells which sound each imitates. 0 where all outputs are the same;
    NaN where all imitate one sound.
    """
    different = np.asarray(sounds)[:, None] != np.asarray(sounds)[None, :]
    if not different.any():
        return float("nan")
    return float((1 - cosine_similarity(embeddings, embeddings))[different].mean())


def active_dimensions(mu: np.ndarray) -> int:
    """How many dimensions of the posterior's means [n, latent] vary by more than 0.01.

    The variance over the inputs of E[z | x] (Burda et al. 2016, "Importance Weighted
    Autoencoders", active units).
    """
    return int((np.var(mu, axis=0) > ACTIVE_VARIANCE).sum())


def of_each(analysis: Callable, sounds: Sequence[np.ndarray | Sound], *settings) -> list:
    """analysis(samples, *settings) of each sound."""
    return [
        sound.known(analysis, *settings) if isinstance(sound, Sound) else analysis(sound, *settings)
        for sound in sounds
    ]


def _magnitudes(
    samples: np.ndarray, resolution: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes above the floor, and their logarithms."""
    magnitudes = np.sqrt(np.maximum(_power(samples, *resolution), POWER_FLOOR))
    return magnitudes, np.log(magnitudes)


def _log10_mels(samples: np.ndarray, sample_rate_hz: int, scale: tuple[int, int]) -> np.ndarray:
    window_length, num_mels = scale
    bank = _slaney_bank(sample_rate_hz, window_length, num_mels)
    power = _power(samples, window_length, window_length // 4, window_length)
    return np.log10(np.maximum(np.sqrt(power) @ bank.T, MEL_FLOOR))


def _power_db(samples: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(_power(samples), POWER_FLOOR))


def _power(
    samples: np.ndarray,
    n_fft: int = FRAME_LENGTH,
    hop: int = HOP_LENGTH,
    window_length: int = FRAME_LENGTH,
    *,
    pad_mode: str = "reflect",
) -> np.ndarray:
    """Power spectrogram [frames, n_fft // 2 + 1], centred; periodic Hann window."""
    margin = (n_fft - window_length) // 2
    window = scipy.signal.get_window("hann", window_length)
    window = np.pad(window, (margin, n_fft - window_length - margin))
    padded = np.pad(np.asarray(samples, np.float64), n_fft // 2, mode=pad_mode)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    spectrum = scipy.fft.rfft(frames * window)
    return np.square(spectrum.real) + np.square(spectrum.imag)


@functools.cache
def _slaney_bank(sample_rate_hz: int, n_fft: int, num_mels: int) -> np.ndarray:
    # Imported here because it takes a second that nothing else should wait for.
    import warnings

    import librosa

    with warnings.catch_warnings():
        # The codec's own settings leave the narrowest bands without a bin.
        warnings.filterwarnings("ignore", "Empty filters")
        return librosa.filters.mel(sr=sample_rate_hz, n_fft=n_fft, n_mels=num_mels)


def _envelope_db(samples: np.ndarray) -> np.ndarray:
    padded = np.pad(np.asarray(samples, np.float64), FRAME_LENGTH // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME_LENGTH)[::HOP_LENGTH]
    mean_squares = np.square(frames).mean(axis=-1)
    return 10 * np.log10(np.maximum(mean_squares, 10 ** (ENVELOPE_FLOOR_DB / 10)))


def _audible(levels: np.ndarray) -> np.ndarray:
    """Which frames of an envelope in dB lie above -80 dBFS, and within 60 dB of the loudest."""
    return levels >= max(levels.max() + AUDIBLE_DB, ENVELOPE_FLOOR_DB + 1e-9)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two curves [frames], -1 to 1; 0 where one of them is constant."""
    a, b = first - first.mean(), second - second.mean()
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms > 1e-9 else 0.0


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    squared = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1)[None, :] - 2 * a @ b.T
    return np.maximum(squared, 0.0)
