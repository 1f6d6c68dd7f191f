"""What training minimises: spectral, mel and waveform distances and the KL divergence.

TABLE lists the terms: the config, the checks, the figures and the reports are made from it.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from qvae_jax.audio import mel, stft
from qvae_jax.audio.mel_energies import mel_energies
from qvae_jax.models import global_batch
from qvae_jax.models.cpu import spectral_terms
from qvae_jax.system import platforms

STFT_WINDOWS = (512, 1024, 2048, 4096)  # samples at 22,050 Hz, each with a hop of a quarter
MEL_WINDOWS = (1024, 2048)  # both among STFT_WINDOWS, so that their spectra are shared
SAMPLE_RATE_HZ = 22_050
NUM_MELS = 80
LOG_FLOOR = 1e-7  # of magnitudes, mel energies and the norm the spectral term divides by


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weight of each audio term, and the silence mask. The KL term's β follows a schedule."""

    spectral: float = 1.0
    mel: float = 1.5
    waveform: float = 1.0
    mask_silence: bool = False
    silence_threshold: float = 1e-4  # mean magnitude of a frame, or |sample|


class Term(NamedTuple):
    """One term of the loss, and how figures and tables present it."""

    name: str
    title: str
    axis: str  # what its curve shows
    unit: str = ""
    digits: int = 3  # after the point, in tables
    weight: float | None = None  # by default, in config.loss; None: a schedule weights it

    @property
    def heading(self) -> str:
        """The title with the unit, where it has one."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


TABLE = (
    Term("spectral", "spectral loss", "before its weight", weight=LossWeights.spectral),
    Term("mel", "mel loss", "before its weight", weight=LossWeights.mel),
    Term(
        "waveform",
        "waveform loss",
        "mean |difference|, before its weight",
        digits=4,
        weight=LossWeights.waveform,
    ),
    Term("kl", "KL divergence", "nats, mean over samples", unit="nats"),
)
TERMS = tuple(term.name for term in TABLE)
WEIGHTED = tuple(term.name for term in TABLE if term.weight is not None)


class Spectra(NamedTuple):
    """Complex STFTs by window and mel energies by window, frames before frequencies."""

    stft: dict[int, jax.Array]
    mel: dict[int, jax.Array]


def spectra(audio: jax.Array) -> Spectra:
    """All spectra the losses compare, of audio [..., samples] at 22,050 Hz."""
    stfts = {window: stft.stft(audio, window, window // 4) for window in STFT_WINDOWS}
    mels = {window: _mel_energies(stfts[window], window) for window in MEL_WINDOWS}
    return Spectra(stfts, mels)


def spectral_loss(
    prediction: Spectra,
    target: Spectra,
    share: jax.Array | float = 1.0,
    axis_name: str | None = None,
) -> jax.Array:
    """Spectral convergence of complex STFTs plus log-magnitude distance, mean over windows.

    ‖T − P‖_F / (‖T‖_F + 1e-7), its norms taken over the whole batch, plus
    mean |ln(|P| + 1e-7) − ln(|T| + 1e-7)|. Scalar. share is the fraction of the rows that count;
    the others are silent in both and add nothing to the sums. axis_name: see global_batch.
    """
    convergences = [
        _convergence(prediction.stft[window], target.stft[window], axis_name)
        for window in STFT_WINDOWS
    ]
    return sum(convergences) / len(convergences) + (
        _log_magnitude_distance(prediction, target, axis_name) / share
    )


def mel_loss(
    prediction: Spectra,
    target: Spectra,
    share: jax.Array | float = 1.0,
    axis_name: str | None = None,
) -> jax.Array:
    """Mean over windows of mean |ln(M_P + 1e-7) − ln(M_T + 1e-7)| of mel energies. Scalar."""
    losses = [_log_distance(prediction.mel[w], target.mel[w], axis_name) for w in MEL_WINDOWS]
    return sum(losses) / len(losses) / share


def kl_divergence(mu: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL(N(μ, e^logvar) ‖ N(0, 1)) of each example, in nats: [batch, latent] -> [batch].

    Kingma & Welling (2014), appendix B.
    """
    return -0.5 * jnp.sum(1.0 + logvar - jnp.square(mu) - jnp.exp(logvar), axis=-1)


def qvae_loss(
    prediction: jax.Array,
    target: jax.Array,
    mu: jax.Array,
    logvar: jax.Array,
    *,
    beta: jax.Array | float,
    weights: LossWeights = LossWeights(),
    valid: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Total loss and its unweighted terms, each a scalar.

    Only the total has a gradient, and none by the target.

    Args:
        prediction, target: audio [batch, samples] in [-1, 1] at 22,050 Hz.
        mu, logvar: of the approximate posterior, [batch, latent].
        beta: weight of the KL term.
        weights: weights of the other terms and the silence mask.
        valid: bool [batch], false for rows that only fill up a batch of fixed size. They change
            nothing: the result is that of the valid rows alone.
        axis_name: where the batch is cut among devices, see global_batch. Every term is then the
            whole batch's.

    Returns:
        The total, and the terms by name (TERMS) before weighting.
    """
    if valid is not None:
        # Rows that are silent on both sides add nothing to any sum; the means need rescaling.
        prediction = jnp.where(valid[:, None], prediction, 0.0)
        target = jnp.where(valid[:, None], target, 0.0)
    mean = lambda x: global_batch.mean(x, None, axis_name)
    share = 1.0 if valid is None else mean(valid.astype(jnp.float32))
    target = jax.lax.stop_gradient(target)
    if platforms.samples_apart() and axis_name is None and not weights.mask_silence:
        of_logs, (log_magnitude, log_mel) = spectral_terms.mean_of_samples(
            functools.partial(_log_distances, weights=weights), prediction, target
        )
        convergence = spectral_terms.mean_convergence(prediction, target, STFT_WINDOWS, LOG_FLOOR)
        terms = {"spectral": convergence + log_magnitude / share, "mel": log_mel / share}
        spectra_total = weights.spectral * convergence + of_logs / share
    else:
        predicted, wanted = spectra(prediction), spectra(target)
        if weights.mask_silence:
            threshold = weights.silence_threshold
            predicted, wanted = _without_trailing_silence(predicted, wanted, threshold)
            audible = jnp.abs(target) > threshold
            prediction, target = prediction * audible, target * audible
        terms = {
            "spectral": spectral_loss(predicted, wanted, share, axis_name),
            "mel": mel_loss(predicted, wanted, share, axis_name),
        }
        spectra_total = weights.spectral * terms["spectral"] + weights.mel * terms["mel"]
    kl = kl_divergence(mu, logvar)
    terms |= {
        "waveform": mean(_absolute(prediction - target)) / share,
        "kl": mean(kl if valid is None else jnp.where(valid, kl, 0.0)) / share,
    }
    total = spectra_total + weights.waveform * terms["waveform"] + beta * terms["kl"]
    return total, jax.lax.stop_gradient(terms)


def _log_distances(
    prediction: jax.Array, target: jax.Array, weights: LossWeights
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Of sounds: the weighted sum of the distances of log-magnitudes and of log-mels, and both."""
    predicted, wanted = spectra(prediction), spectra(target)
    log_magnitude = _log_magnitude_distance(predicted, wanted, None)
    log_mel = mel_loss(predicted, wanted)
    return weights.spectral * log_magnitude + weights.mel * log_mel, (log_magnitude, log_mel)


def _mel_energies(spectrum: jax.Array, window: int) -> jax.Array:
    bank = mel.htk_mel_bank(NUM_MELS, window, SAMPLE_RATE_HZ, 0.0, SAMPLE_RATE_HZ / 2)
    return mel_energies(stft.power(spectrum), bank)


def _without_trailing_silence(
    prediction: Spectra, target: Spectra, threshold: float
) -> tuple[Spectra, Spectra]:
    """Both with the frames zeroed that follow the target's last audible frame."""

    def mask(magnitudes: jax.Array) -> jax.Array:
        audible = jnp.mean(magnitudes, axis=-1, keepdims=True) > threshold
        # A frame counts if it or any later one is audible: a running "or" from the end.
        from_end = jnp.flip(audible, -2).astype(jnp.int32)
        return jnp.flip(jax.lax.cummax(from_end, axis=audible.ndim - 2), -2)

    stft_masks = {window: mask(stft.magnitude(s)) for window, s in target.stft.items()}
    mel_masks = {window: mask(m) for window, m in target.mel.items()}
    masked = lambda s: Spectra(
        {window: s.stft[window] * stft_masks[window] for window in s.stft},
        {window: s.mel[window] * mel_masks[window] for window in s.mel},
    )
    return masked(prediction), masked(target)


def _convergence(prediction: jax.Array, target: jax.Array, axis_name: str | None) -> jax.Array:
    def norm(spectrum: jax.Array) -> jax.Array:
        return stft.safe_sqrt(global_batch.total(stft.power(spectrum), axis_name))

    return norm(target - prediction) / (norm(target) + LOG_FLOOR)


def _log_magnitude_distance(
    prediction: Spectra, target: Spectra, axis_name: str | None
) -> jax.Array:
    distances = [
        _log_distance(
            stft.magnitude(prediction.stft[window]),
            stft.magnitude(target.stft[window]),
            axis_name,
        )
        for window in STFT_WINDOWS
    ]
    return sum(distances) / len(distances)


def _log_distance(prediction: jax.Array, target: jax.Array, axis_name: str | None) -> jax.Array:
    difference = jnp.log(prediction + LOG_FLOOR) - jnp.log(target + LOG_FLOOR)
    return global_batch.mean(_absolute(difference), None, axis_name)


def _absolute(difference: jax.Array) -> jax.Array:
    """|x| whose gradient at zero is zero, as in torch; JAX's own is one."""
    return difference * jnp.sign(difference)
