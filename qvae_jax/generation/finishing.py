"""What a generated sound becomes before it is written: its rate, loudness, length and format."""

import dataclasses
import functools
import io
import pathlib

import numpy as np
import scipy.io.wavfile
import soundfile
import soxr

from qvae_jax.generation.requests import Finish
from qvae_jax.models import decoders
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

SAMPLE_RATES_HZ = (*decoders.SAMPLE_RATES_HZ, 48_000)
DEFAULT_SUBTYPES = {"wav": "FLOAT", "flac": "PCM_24"}
FLOAT_SUBTYPES = {"FLOAT": np.float32, "DOUBLE": np.float64}  # these hold samples beyond ±1
PEAK_LIMIT_DB = -1.0  # dBFS
QUIETEST_LOUDNESS_DB = -70.0  # LUFS; BS.1770 takes no account of anything below


def checked(finish: Finish) -> Finish:
    """The finish with the subtype filled in; UserError naming the flag that makes no sense."""
    if finish.sample_rate_hz not in (None, *SAMPLE_RATES_HZ):
        rates = ", ".join(map(str, SAMPLE_RATES_HZ))
        raise UserError(f"--sample_rate is {finish.sample_rate_hz}: set it to one of {rates}.")
    if finish.format not in DEFAULT_SUBTYPES:
        raise UserError(f"--format is {finish.format!r}: set it to wav or flac.")
    if finish.loudness_db is not None and not QUIETEST_LOUDNESS_DB < finish.loudness_db <= 0:
        raise UserError(
            f"--loudness_db is {finish.loudness_db}: set it above -70 and to at most 0 LUFS; -23 "
            "is broadcasting's."
        )
    if finish.trim_db is not None and not 0 < finish.trim_db < np.inf:
        raise UserError(
            f"--trim_db is {finish.trim_db}: set it above 0, as decibels below the sound's peak."
        )
    subtype = (finish.subtype or DEFAULT_SUBTYPES[finish.format]).upper()
    finish = dataclasses.replace(finish, subtype=subtype)
    allowed = soundfile.available_subtypes(finish.format)
    if not soundfile.check_format(finish.format, subtype) or not _can_encode(finish):
        raise UserError(
            f"--subtype is {finish.subtype!r}, which {finish.format} does not have: set it to one of "
            f"{', '.join(sorted(allowed))}."
        )
    return finish


def with_rate(finish: Finish, sample_rate_hz: int) -> Finish:
    """The finish of sounds of this rate, which they keep where no other is asked for."""
    return dataclasses.replace(finish, sample_rate_hz=finish.sample_rate_hz or sample_rate_hz)


def finished(audio: np.ndarray, sample_rate_hz: int, finish: Finish) -> tuple[np.ndarray, dict]:
    """A sound [samples], finished; and what was done to it, for the manifest.

    Resampled with soxr's VHQ quality; brought to the loudness, measured over the whole sound; then
    trimmed. Where the loudness asks for a peak above -1 dBFS the gain is lowered until it is
    there, so the sound stays quieter than asked. Without a loudness only a sound that would clip in
    its format is brought to that peak. Peaks are those of samples.
    """
    samples = np.asarray(audio, np.float32)
    if finish.sample_rate_hz != sample_rate_hz:
        samples = soxr.resample(samples, sample_rate_hz, finish.sample_rate_hz, quality="VHQ")
    gain_db, limited, measured_db = _gain(samples, finish)
    samples = samples * np.float32(10 ** (gain_db / 20)) if gain_db else samples
    facts = {"gain_db": gain_db, "peak_limited": limited}
    if finish.loudness_db is not None:
        facts["loudness_lufs"] = None if measured_db is None else measured_db + gain_db
    if finish.trim_db is not None:
        samples = trimmed(samples, finish.trim_db)
    return samples, facts | {"duration_s": len(samples) / finish.sample_rate_hz}


def loudness_lufs(samples: np.ndarray, sample_rate_hz: int) -> float | None:
    """Integrated loudness by ITU-R BS.1770-4 in LUFS; None for what its gate takes for silence.

    Sounds below its block of 0.4 s are measured with silence after them.
    """
    block = -(-2 * sample_rate_hz // 5)
    padded = np.pad(samples.astype(np.float64), (0, max(0, block - len(samples))))
    loudness = float(_meter(sample_rate_hz).integrated_loudness(padded))
    return loudness if loudness > QUIETEST_LOUDNESS_DB else None


def trimmed(samples: np.ndarray, trim_db: float) -> np.ndarray:
    """Without what follows the last sample that lies within trim_db of the peak; silence stays."""
    magnitudes = np.abs(samples)
    audible = np.flatnonzero(magnitudes >= magnitudes.max() * 10 ** (-trim_db / 20))
    return samples[: audible[-1] + 1]


def write(path: pathlib.Path, samples: np.ndarray, finish: Finish) -> None:
    """Writes a finished sound; the same samples always give the same bytes."""
    content = encoded(samples, finish)
    with files.explaining_write_errors(path):
        path.write_bytes(content)


def _gain(samples: np.ndarray, finish: Finish) -> tuple[float, bool, float | None]:
    """Gain in dB, whether the peak limits it, and the loudness before it."""
    peak_db = 20 * np.log10(max(float(np.abs(samples).max()), 1e-30))
    if finish.loudness_db is None:
        clips = finish.subtype not in FLOAT_SUBTYPES and peak_db > 0
        return (float(PEAK_LIMIT_DB - peak_db), True, None) if clips else (0.0, False, None)
    measured_db = loudness_lufs(samples, finish.sample_rate_hz)
    if measured_db is None:
        return 0.0, False, None
    wanted_db, most_db = finish.loudness_db - measured_db, PEAK_LIMIT_DB - peak_db
    return float(min(wanted_db, most_db)), bool(wanted_db > most_db), measured_db


@functools.cache
def _meter(sample_rate_hz: int):
    # Imported here because it takes most of a second, and few sounds are brought to a loudness.
    import pyloudnorm

    # Of the library's filters those that follow the standard's coefficients, at any rate.
    return pyloudnorm.Meter(sample_rate_hz, filter_class="DeMan")


def _can_encode(finish: Finish) -> bool:
    try:
        encoded(np.zeros(1024, np.float32), with_rate(finish, SAMPLE_RATES_HZ[0]))
        return True
    except (soundfile.SoundFileError, ValueError):
        return False


def encoded(samples: np.ndarray, finish: Finish) -> bytes:
    """A finished sound as a file's bytes, always the same of the same samples."""
    content = io.BytesIO()
    if finish.format == "wav" and finish.subtype in FLOAT_SUBTYPES:
        # libsndfile would put the time of day into a float file.
        as_float = samples.astype(FLOAT_SUBTYPES[finish.subtype])
        scipy.io.wavfile.write(content, finish.sample_rate_hz, as_float)
    else:
        soundfile.write(
            content, samples, finish.sample_rate_hz, subtype=finish.subtype, format=finish.format
        )
    return content.getvalue()
