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

# Windows are in samples at SAMPLE_RATE_HZ, each with a hop of a quarter. Of sounds at a multiple of
# it they last as long, and magnitudes are those of a tone at SAMPLE_RATE_HZ, so that floors and
# thresholds mean the same. Their means then go over what lies above 11 kHz too.
STFT_WINDOWS = (512, 1024, 2048, 4096)
MEL_WINDOWS = (1024, 2048)  # both among STFT_WINDOWS, so that their spectra are shared
SAMPLE_RATE_HZ = 22_050
NUM_MELS = 80
LOG_FLOOR = 1e-7  # of magnitudes, mel energies and the norm the spectral term divides by
MAGNITUDE_WINDOWS = (256, 512, 1024, 2048)
# Re a target's largest magnitude: what is quieter counts as if it were as loud as this.
MAGNITUDE_FLOOR_DB, AFTER_END_FLOOR_DB = -100.0, -80.0
LOUD_ENOUGH = 1e-2  # a norm of magnitudes that no sound falls below, to divide by


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weight of each audio term, and the silence mask. The KL term's β follows a schedule."""

    spectral: float = 1.0
    mel: float = 1.5
    waveform: float = 1.0
    magnitude: float = 0.0
    gesture: float = 0.0
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
    Term("magnitude", "magnitude loss", "before its weight", weight=LossWeights.magnitude),
    Term("gesture", "gesture loss", "before its weight", weight=LossWeights.gesture),
    Term("kl", "KL divergence", "nats, mean over samples", unit="nats"),
)
TERMS = tuple(term.name for term in TABLE)
ORIGINAL = ("spectral", "mel", "waveform")  # the original's terms, which share their spectra
WEIGHTED = tuple(term.name for term in TABLE if term.weight is not None)


class Spectra(NamedTuple):
    """Complex STFTs by window and mel energies by window, frames before frequencies.

    The windows are named as of 22,050 Hz, whatever the rate of the sound.
    """

    stft: dict[int, jax.Array]
    mel: dict[int, jax.Array]


def spectra(audio: jax.Array, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Spectra:
    """All spectra the losses compare, of audio [..., samples] at a multiple of 22,050 Hz."""
    times = sample_rate_hz // SAMPLE_RATE_HZ
    stfts = {window: _stft(audio, window, times) for window in STFT_WINDOWS}
    mels = {window: _mel_energies(stfts[window], window, times) for window in MEL_WINDOWS}
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
    return jnp.sum(kl_per_dimension(mu, logvar), axis=-1)


def kl_per_dimension(mu: jax.Array, logvar: jax.Array) -> jax.Array:
    """What each dimension adds to kl_divergence: [batch, latent] -> the same shape."""
    return -0.5 * (1.0 + logvar - jnp.square(mu) - jnp.exp(logvar))


def qvae_loss(
    prediction: jax.Array,
    target: jax.Array,
    mu: jax.Array,
    logvar: jax.Array,
    *,
    beta: jax.Array | float,
    weights: LossWeights = LossWeights(),
    valid: jax.Array | None = None,
    lengths: jax.Array | None = None,
    free_bits: float = 0.0,
    axis_name: str | None = None,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Total loss and its unweighted terms, each a scalar.

    Only the total has a gradient, and none by the target.

    Args:
        prediction, target: audio [batch, samples] in [-1, 1].
        mu, logvar: of the approximate posterior, [batch, latent].
        beta: weight of the KL term.
        weights: weights of the other terms and the silence mask.
        valid: bool [batch], false for rows that only fill up a batch of fixed size. They change
            nothing: the result is that of the valid rows alone.
        lengths: of the targets before they were padded, int [batch]; see magnitude_distance.
        free_bits: nats of the KL divergence that each dimension has for nothing, on the batch's
            mean (Kingma et al., 2016); the term itself is reported whole.
        axis_name: where the batch is cut among devices, see global_batch. Every term is then the
            whole batch's.
        sample_rate_hz: of the audio, a multiple of 22,050 Hz.

    Returns:
        The total, and the terms by name (terms_of) before weighting.
    """
    if valid is not None:
        # Rows that are silent on both sides add nothing to any sum; the means need rescaling.
        prediction = jnp.where(valid[:, None], prediction, 0.0)
        target = jnp.where(valid[:, None], target, 0.0)
    mean = lambda x: global_batch.mean(x, None, axis_name)
    share = 1.0 if valid is None else mean(valid.astype(jnp.float32))
    target = jax.lax.stop_gradient(target)
    total, terms = 0.0, {}
    if weights.magnitude:
        distance = magnitude_distance(prediction, target, lengths, sample_rate_hz)
        terms["magnitude"] = mean(distance) / share
        total += weights.magnitude * terms["magnitude"]
    if set(ORIGINAL) <= set(terms_of(weights)):
        of_original, original_terms = _original_terms(
            prediction, target, weights, share, axis_name, sample_rate_hz
        )
        total += of_original
        terms |= original_terms
    kl = kl_per_dimension(mu, logvar)
    kl = kl if valid is None else jnp.where(valid[:, None], kl, 0.0)
    over_batch = global_batch.mean(kl, (0,), axis_name) / share
    terms["kl"] = jnp.sum(over_batch)
    paid = jnp.sum(jnp.maximum(over_batch, free_bits)) if free_bits else terms["kl"]
    return total + beta * paid, jax.lax.stop_gradient(terms)


def terms_of(weights: LossWeights) -> tuple[str, ...]:
    """The names of the terms that are computed, in the order of TABLE, the KL divergence the last.

    The original's three go together, as they share their spectra; they are left out where none of
    them weighs anything and another does. The others are computed where they weigh anything.
    """
    further = {name for name in WEIGHTED if name not in ORIGINAL and getattr(weights, name)}
    original = not further or any(getattr(weights, name) for name in ORIGINAL)
    chosen = further | {"kl"} | (set(ORIGINAL) if original else set())
    return tuple(name for name in TERMS if name in chosen)


def _original_terms(
    prediction: jax.Array,
    target: jax.Array,
    weights: LossWeights,
    share: jax.Array | float,
    axis_name: str | None,
    sample_rate_hz: int,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of the original's terms of sounds, and these by name."""
    mean = lambda x: global_batch.mean(x, None, axis_name)
    if platforms.samples_apart() and axis_name is None and not weights.mask_silence:
        of_logs, (log_magnitude, log_mel) = spectral_terms.mean_of_samples(
            functools.partial(_log_distances, weights=weights, sample_rate_hz=sample_rate_hz),
            prediction,
            target,
        )
        times = sample_rate_hz // SAMPLE_RATE_HZ
        windows = [window * times for window in STFT_WINDOWS]
        convergence = spectral_terms.mean_convergence(
            _scaled(prediction, times), _scaled(target, times), windows, LOG_FLOOR
        )
        terms = {"spectral": convergence + log_magnitude / share, "mel": log_mel / share}
        spectra_total = weights.spectral * convergence + of_logs / share
    else:
        predicted, wanted = (spectra(audio, sample_rate_hz) for audio in (prediction, target))
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
    terms["waveform"] = mean(_absolute(prediction - target)) / share
    return spectra_total + weights.waveform * terms["waveform"], terms


def magnitude_distance(
    prediction: jax.Array,
    target: jax.Array,
    lengths: jax.Array | None = None,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> jax.Array:
    """How far the magnitudes of sounds are from those of others, for each alone: [batch].

    The mean over MAGNITUDE_WINDOWS of the spectral convergence and of mean |ln|P| − ln|T||, after
    Yamamoto et al. (2020); phases do not count. The convergence is ‖|T| − |P|‖_F / ‖|T|‖_F, or over
    ‖|P|‖_F where that is larger and then a constant, so that a sound that is far too loud does not
    outweigh all the others. Logarithms are of magnitudes no less than MAGNITUDE_FLOOR_DB below the
    target's largest; after the target's end, where lengths [batch] in samples tell it, than
    AFTER_END_FLOOR_DB.

    prediction, target: audio [batch, samples] at a multiple of 22,050 Hz. There is no gradient by
    the target.
    """
    target = jax.lax.stop_gradient(target)
    if lengths is None:
        lengths = jnp.full(len(target), target.shape[-1], jnp.int32)
    times = sample_rate_hz // SAMPLE_RATE_HZ
    of_sample = functools.partial(_magnitude_distance, times=times)
    if platforms.samples_apart():
        return spectral_terms.of_each_sample(of_sample, prediction, (target, lengths))
    return jax.vmap(of_sample)(prediction, (target, lengths))


def _magnitude_distance(
    prediction: jax.Array,
    target_and_length: tuple[jax.Array, jax.Array],
    times: int,
) -> jax.Array:
    """Of a single sound [samples] at so many times SAMPLE_RATE_HZ."""
    target, length = target_and_length
    total = 0.0
    for window in MAGNITUDE_WINDOWS:
        p, t = (stft.magnitude(_stft(x, window, times)) for x in (prediction, target))
        ended = jnp.arange(len(t)) * (times * window // 4) >= length + times * window // 2
        floor_db = jnp.where(ended, AFTER_END_FLOOR_DB, MAGNITUDE_FLOOR_DB)[:, None]
        floor = jnp.max(t) * 10 ** (floor_db / 20) + LOG_FLOOR
        logarithms = jnp.log(jnp.maximum(p, floor)) - jnp.log(jnp.maximum(t, floor))
        norms = jnp.sum(jnp.square(t)), jax.lax.stop_gradient(jnp.sum(jnp.square(p)))
        distance = stft.safe_sqrt(jnp.sum(jnp.square(t - p)))
        convergence = distance / (jnp.sqrt(jnp.maximum(*norms)) + LOUD_ENOUGH)
        total += jnp.mean(_absolute(logarithms)) + convergence
    return total / len(MAGNITUDE_WINDOWS)


def _log_distances(
    prediction: jax.Array, target: jax.Array, weights: LossWeights, sample_rate_hz: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Of sounds: the weighted sum of the distances of log-magnitudes and of log-mels, and both."""
    predicted, wanted = (spectra(audio, sample_rate_hz) for audio in (prediction, target))
    log_magnitude = _log_magnitude_distance(predicted, wanted, None)
    log_mel = mel_loss(predicted, wanted)
    return weights.spectral * log_magnitude + weights.mel * log_mel, (log_magnitude, log_mel)


def _stft(audio: jax.Array, window: int, times: int) -> jax.Array:
    """The STFT of a window at SAMPLE_RATE_HZ, of audio at so many times this rate."""
    return stft.stft(_scaled(audio, times), times * window, times * window // 4)


def _scaled(audio: jax.Array, times: int) -> jax.Array:
    """Audio whose tones have in windows of so many times the samples the magnitudes of one."""
    # Dividing by 1 would move last bits: the compiler puts a step together in another way.
    return audio if times == 1 else audio / times


def _mel_energies(spectrum: jax.Array, window: int, times: int) -> jax.Array:
    rate_hz = times * SAMPLE_RATE_HZ
    bank = mel.htk_mel_bank(NUM_MELS, times * window, rate_hz, 0.0, rate_hz / 2)
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
