"""Pitch and tempo of training sounds, changed by librosa on the host, and the choice of one change.

Every draw is a function of (seed, step, side, row of the whole batch) alone.
"""

import numpy as np

from qvae_jax.audio.files import fit_length
from qvae_jax.training.varied_sounds import ONE_OF, Augmentation


def varied(
    waveforms: np.ndarray,
    rate_hz: int,
    settings: Augmentation,
    seed: int,
    step: int,
    side: int,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Waveforms with another pitch or tempo, and which change a row is to have, if it has one only.

    Args:
        waveforms: float32 [rows, samples] at rate_hz, padded with zeros.
        settings: what there is to vary.
        seed, step, side, rows: all that the draws depend on; side is 0 or 1, and rows [rows] are
            places in the whole batch.

    Returns:
        The waveforms, of the same shape; and places in ONE_OF, int32 [rows], -1 where a row stays
        as it is, or None where each row gets every change.
    """
    found, chosen = [], []
    for waveform, row in zip(waveforms, rows, strict=True):
        rng = np.random.default_rng([seed, step, side, int(row)])
        # As many are drawn, whatever the settings are, so that one does not move another's draws.
        choice, semitones, stretch = rng.random(), rng.uniform(-1, 1), rng.uniform(-1, 1)
        names = settings.on_host
        if settings.at_most_one:
            one = [None, *settings.used][int(choice * (1 + len(settings.used)))]
            names = [one] if one in names else []
            chosen.append(-1 if one is None else ONE_OF.index(one))
        if "pitch" in names:
            waveform = _pitched(waveform, rate_hz, semitones * settings.pitch_semitones)
        if "stretch" in names:
            waveform = _stretched(waveform, settings.stretch_factor**stretch)
        found.append(waveform)
    return np.stack(found), np.array(chosen, np.int32) if settings.at_most_one else None


def _pitched(waveform: np.ndarray, rate_hz: int, semitones: float) -> np.ndarray:
    """The sound with its pitch moved, as long as before."""
    import librosa  # here because it takes a second that nothing else should wait for

    sound = _without_padding(waveform)
    moved = librosa.effects.pitch_shift(sound, sr=rate_hz, n_steps=semitones)
    return fit_length(moved, len(waveform))


def _stretched(waveform: np.ndarray, factor: float) -> np.ndarray:
    """The sound `factor` times as long, cut or padded to the same number of samples."""
    import librosa

    stretched = librosa.effects.time_stretch(_without_padding(waveform), rate=1 / factor)
    return fit_length(stretched, len(waveform))


def _without_padding(waveform: np.ndarray) -> np.ndarray:
    """What there is before the zeros at the end; 2,048 samples at least, librosa's window."""
    audible = np.flatnonzero(waveform)
    length = audible[-1] + 1 if len(audible) else 0
    return waveform[: max(length, min(2048, len(waveform)))]
