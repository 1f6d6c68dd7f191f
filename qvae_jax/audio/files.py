"""Reading waveforms from audio files, and writing them."""

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from qvae_jax.audio import unfinished
from qvae_jax.audio.levels import is_plausible, warn_of_levels
from qvae_jax.audio.opening import opened, require_complete
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

_BLOCK_FRAMES = 2**15

# soxr's HQ filters reach less than 2048 samples at the lower of the two rates. So with this many
# samples beyond the end, the resampled samples before it are the same, bit for bit.
_RESAMPLER_REACH_SAMPLES = 2048


def read_audio(
    path: str | os.PathLike, sample_rate_hz: int, *, max_duration_s: float | None = None
) -> np.ndarray:
    """A file's sound as a mono waveform at the given rate.

    Takes any format, rate (1 kHz to 1 MHz) and channel count that libsndfile decodes. Channels are
    averaged, then resampled with soxr's HQ quality; the result equals `librosa.load(path,
    sr=sample_rate_hz)`. Loudness is left as it is, so float files may exceed [-1, 1].

    Args:
        path: the audio file; its format is told by its contents, not by its name.
        sample_rate_hz: the rate of the result.
        max_duration_s: keep at most this much of the beginning (positive; None: everything). No
            more than that needs is decoded.

    Returns:
        float32 [samples], all finite; ceil(frames · sample_rate_hz / file's rate) samples, and no
        more than round(max_duration_s · sample_rate_hz).

    A header that was never finished, as a recorder that lost power leaves it, does not matter: its
    sound goes on to the end of the file. Neither do an MP3's tags, nor whether it states its length.

    Damage and truncation are noticed where the file shows them: WAV, AIFF and AU by their sizes,
    FLAC by its checksums (as far as it is decoded), Ogg and MP3 as `streams` says. What no file
    shows goes unnoticed, such as other bytes in place of uncompressed samples, zeros among them.

    Raises:
        UserError: there is no such file, or it is not a file, empty, not audio, damaged or
            truncated, or holds samples that are not finite or absurdly large.

    Warns with a Notice of sound that is far beyond full scale, of channels that cancel each other,
    and of a WAV file that goes on where its header says that its sound ends.
    """
    [samples] = read_at_rates(path, [(sample_rate_hz, max_duration_s)])
    return samples


def read_at_rates(
    path: str | os.PathLike, wanted: Sequence[tuple[int, float | None]]
) -> list[np.ndarray]:
    """A file's sound as read_audio gives it, decoded once for several rates and longest durations.

    wanted has such a pair (sample_rate_hz, max_duration_s) for each waveform of the result.
    """
    path = Path(path)
    for _, max_duration_s in wanted:
        if max_duration_s is not None and not max_duration_s > 0:
            raise ValueError(f"max_duration_s must be positive, not {max_duration_s}")
    decoded, native_rate_hz = _decode(path, wanted)
    found = []
    for rate_hz, max_duration_s in wanted:
        num_samples = _num_samples(rate_hz, max_duration_s)
        needed = _num_needed_frames(num_samples, rate_hz, native_rate_hz)
        samples = as_waveform(decoded[:needed], native_rate_hz, rate_hz, path)
        found.append(samples[:num_samples])
    return found


def as_waveform(
    decoded: np.ndarray, native_rate_hz: int, sample_rate_hz: int, path: str | os.PathLike
) -> np.ndarray:
    """Decoded samples [frames, channels] as a mono waveform at the asked rate: float32 [samples].

    This alone decides how sound becomes a waveform; read_audio says how. path is for the message.
    Raises UserError for samples that are not finite or absurdly large; warns as read_audio does.
    """
    # Sums of values in a damaged float file may overflow; the check below refuses them.
    with np.errstate(over="ignore", invalid="ignore"):
        mono = decoded[:, 0] if decoded.shape[1] == 1 else decoded.mean(axis=1)
    samples = _resample(mono, native_rate_hz, sample_rate_hz)
    # Both are checked: resampling smears such a value, and may itself overflow.
    if not (is_plausible(mono) and is_plausible(samples)):
        raise UserError(
            f"The audio file {path} holds samples that are not finite (NaN, infinite or absurdly "
            "large); export it again from its source."
        )
    warn_of_levels(decoded, mono, f"the audio file {path}")
    return samples


def read_native(path: str | os.PathLike, max_duration_s: float) -> tuple[np.ndarray, int, bool]:
    """A file's beginning as a mono waveform at its own rate, which depends on no resampler.

    Gives float32 [samples], of max_duration_s at most; the rate in Hz; and whether the file goes
    on behind them. Raises UserError, and warns, as read_audio does.
    """
    path = Path(path)
    with opened(path) as source:
        rate_hz = source.samplerate
        num_wanted = min(source.frames, round(max_duration_s * rate_hz))
        decoded = _read(source, num_wanted)
        require_complete(path, source, len(decoded), num_wanted)
        goes_on = num_wanted < source.frames
    return as_waveform(decoded, rate_hz, rate_hz, path), rate_hz, goes_on


@dataclasses.dataclass(frozen=True)
class AudioFile:
    """An open audio file: what its header says, and its sound in blocks.

    Attributes:
        sample_rate_hz: the file's own.
        num_channels: the file's own.
        encoding: libsndfile's format and subtype, such as "WAV PCM_16".
        goes_on: whether there may be more sound than the header states.
        blocks: float32 [frames, channels] each, 32,768 frames or less, as decoded. After the last
            one, UserError is raised if the file shows that sound is missing.
    """

    sample_rate_hz: int
    num_channels: int
    encoding: str
    goes_on: bool
    blocks: Iterator[np.ndarray]


@contextlib.contextmanager
def open_audio(path: str | os.PathLike) -> Iterator[AudioFile]:
    """Opens an audio file to be read block by block, in little memory however long it is.

    Raises:
        UserError: as read_audio does, except for samples that are not finite, which the caller
            must look for.
    """
    path = Path(path)
    with opened(path) as source, path.open("rb", buffering=0) as file:
        yield AudioFile(
            sample_rate_hz=source.samplerate,
            num_channels=source.channels,
            encoding=f"{source.format} {source.subtype}",
            goes_on=unfinished.goes_on(file),
            blocks=_blocks(path, source),
        )


def _blocks(path: Path, source: soundfile.SoundFile) -> Iterator[np.ndarray]:
    num_decoded = 0
    while len(block := source.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
        yield block
        num_decoded += len(block)
    require_complete(path, source, num_decoded, num_wanted=source.frames)


def fit_length(samples: np.ndarray, num_samples: int) -> np.ndarray:
    """[samples] cut, or padded with zeros, at its end to [num_samples]."""
    kept = samples[:num_samples]
    return np.pad(kept, (0, num_samples - len(kept)))


def write_wav(path: str | os.PathLike, samples: np.ndarray, sample_rate_hz: int) -> None:
    """Writes a mono waveform as a 32-bit float WAV file, whole or not at all.

    The same samples always give the same bytes. An existing file is replaced.

    Args:
        path: where to; missing folders are made.
        samples: [samples], nominally in [-1, 1]; louder samples are kept, not clipped.
        sample_rate_hz: rate of the samples.

    Raises:
        UserError: the folder cannot be written to, or is full.
        ValueError: samples that are not finite, or not one-dimensional.
    """
    path = Path(path)
    # Numbers too large for float32 become infinite and are refused below.
    with np.errstate(over="ignore"):
        samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise ValueError(f"samples must be one-dimensional, not of shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError(f"samples for {path} are not all finite")
    # Imported here so that processes that only read need not wait for it.
    import scipy.io.wavfile

    # Encoded in memory, because libsndfile would put the time of day into the file, and does not
    # reliably report a write that a full disk cut short.
    encoded = io.BytesIO()
    scipy.io.wavfile.write(encoded, sample_rate_hz, samples)
    with files.replacing(path) as temporary:
        temporary.write_bytes(encoded.getvalue())


def _decode(path: Path, wanted: Sequence[tuple[int, float | None]]) -> tuple[np.ndarray, int]:
    """Gives float32 [frames, channels], no more of it than is needed, and the file's rate in Hz."""
    with opened(path) as source:
        needed = [
            _num_needed_frames(_num_samples(*one), one[0], source.samplerate) for one in wanted
        ]
        num_wanted = source.frames if None in needed else min(source.frames, max(needed))
        decoded = _read(source, num_wanted)
        require_complete(path, source, len(decoded), num_wanted)
        return decoded, source.samplerate


def _read(source: soundfile.SoundFile, num_frames: int) -> np.ndarray:
    if source.subtype != "PCM_16":
        return source.read(num_frames, dtype="float32", always_2d=True)
    # The numbers that libsndfile's own conversion gives, in a third of the time.
    return source.read(num_frames, dtype="int16", always_2d=True) * np.float32(2**-15)


def _num_samples(sample_rate_hz: int, max_duration_s: float | None) -> int | None:
    return None if max_duration_s is None else round(max_duration_s * sample_rate_hz)


def _num_needed_frames(
    max_samples: int | None, sample_rate_hz: int, native_rate_hz: int
) -> int | None:
    """How many of a file's frames so many samples at another rate need; None: all."""
    if max_samples is None:
        return None
    native_per_output = native_rate_hz / sample_rate_hz
    margin = _RESAMPLER_REACH_SAMPLES * max(1.0, native_per_output)
    return math.ceil(max_samples * native_per_output + margin)


def _resample(mono: np.ndarray, native_rate_hz: int, sample_rate_hz: int) -> np.ndarray:
    if native_rate_hz == sample_rate_hz:
        return mono
    resampled = soxr.resample(mono, native_rate_hz, sample_rate_hz, quality="HQ")
    # librosa's rule and librosa's rounding, so that lengths agree with the original's.
    ratio = float(sample_rate_hz) / native_rate_hz
    return fit_length(resampled, math.ceil(len(mono) * ratio))
