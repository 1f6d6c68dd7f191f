"""Reading waveforms from audio files, and writing them."""

import contextlib
import dataclasses
import io
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from qvae_jax.audio import kinds, streams
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

# Rates outside this range come from damaged headers, and resampling from them could take terabytes.
_SAMPLE_RATE_RANGE_HZ = (1_000, 1_000_000)

# The largest values that programs write are 32-bit integers stored as floats without scaling.
# Anything larger is other bytes, taken for floats.
_LARGEST_SAMPLE = 2.0**31

_BLOCK_FRAMES = 2**15

# soxr's HQ filters reach less than 2048 samples at the lower of the two rates. So with this many
# samples beyond the end, the resampled samples before it are the same, bit for bit.
_RESAMPLER_REACH_SAMPLES = 2048

# libsndfile clamps a PCM chunk that runs past the end of its file, and says so only in its log.
_CLAMPED_CHUNK = re.compile(
    r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
# A WAV header gives the bytes of a frame in three ways; libsndfile believes the first.
_FRAME_BYTES = re.compile(r"^\s*Block Align\s*: (\d+)", re.MULTILINE)
_BYTES_PER_SECOND = re.compile(r"^\s*Bytes/sec\s*: (\d+)", re.MULTILINE)
_SAMPLE_BYTES = {
    "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
    "ULAW": 1, "ALAW": 1,
}  # fmt: skip
# Programs that write to a pipe cannot know the size, and write this value or a larger one instead.
_UNKNOWN_CHUNK_BYTES = 0x7FFFF000
# libsndfile's frame count for a FLAC file without one; soundfile fails at the end of such a file.
_UNKNOWN_FRAMES = 2**63 - 1
# Some writers count the header's own bytes in the size of the data.
_HEADER_SLACK_BYTES = 64

# An MP3 decoder drops its delay (529), the encoder's (at most 2257) and the padding of one frame.
_MP3_DELAY_SAMPLES = 4096
_MP3_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
# Tags at the end of an MP3 are never decoded.
_MP3_UNREAD_SHARE = 0.1


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

    Damage and truncation are noticed where the file shows them: WAV, AIFF and AU by their sizes,
    FLAC by its checksums (as far as it is decoded), Ogg and MP3 as `streams` says. What no file
    shows goes unnoticed: other bytes in place of uncompressed samples, zeros among them, and
    whatever follows where a header puts the end too early.

    Raises:
        UserError: there is no such file, or it is not a file, empty, not audio, damaged or
            truncated, or holds samples that are not finite or absurdly large.
    """
    path = Path(path)
    if max_duration_s is not None and not max_duration_s > 0:
        raise ValueError(f"max_duration_s must be positive, not {max_duration_s}")
    max_samples = None if max_duration_s is None else round(max_duration_s * sample_rate_hz)
    decoded, native_rate_hz = _decode(path, sample_rate_hz, max_samples)
    return as_waveform(decoded, native_rate_hz, sample_rate_hz, path)[:max_samples]


def as_waveform(
    decoded: np.ndarray, native_rate_hz: int, sample_rate_hz: int, path: str | os.PathLike
) -> np.ndarray:
    """Decoded samples [frames, channels] as a mono waveform at the asked rate: float32 [samples].

    This alone decides how sound becomes a waveform; read_audio says how. path is for the message.
    Raises UserError for samples that are not finite or beyond any scale.
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
    return samples


def is_plausible(samples: np.ndarray) -> bool:
    """Whether all samples are finite, and no larger than any program writes them."""
    # NaN is the extreme of any array that holds one, and comparisons with it are false.
    extremes = samples.min(initial=0.0), samples.max(initial=0.0)
    return bool(-_LARGEST_SAMPLE <= extremes[0] and extremes[1] <= _LARGEST_SAMPLE)


@dataclasses.dataclass(frozen=True)
class AudioFile:
    """An open audio file: what its header says, and its sound in blocks.

    Attributes:
        sample_rate_hz: the file's own.
        num_channels: the file's own.
        encoding: libsndfile's format and subtype, such as "WAV PCM_16".
        blocks: float32 [frames, channels] each, 32,768 frames or less, as decoded. After the last
            one, UserError is raised if the file shows that sound is missing.
    """

    sample_rate_hz: int
    num_channels: int
    encoding: str
    blocks: Iterator[np.ndarray]


@contextlib.contextmanager
def open_audio(path: str | os.PathLike) -> Iterator[AudioFile]:
    """Opens an audio file to be read block by block, in little memory however long it is.

    Raises:
        UserError: as read_audio does, except for samples that are not finite, which the caller
            must look for.
    """
    path = Path(path)
    with _opened(path) as source:
        yield AudioFile(
            sample_rate_hz=source.samplerate,
            num_channels=source.channels,
            encoding=f"{source.format} {source.subtype}",
            blocks=_blocks(path, source),
        )


def _blocks(path: Path, source: soundfile.SoundFile) -> Iterator[np.ndarray]:
    num_decoded = 0
    while len(block := source.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
        yield block
        num_decoded += len(block)
    _require_complete(path, source, num_decoded, num_wanted=source.frames)


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


def _decode(path: Path, sample_rate_hz: int, max_samples: int | None) -> tuple[np.ndarray, int]:
    """Gives float32 [frames, channels], no more of it than is needed, and the file's rate in Hz."""
    with _opened(path) as source:
        num_wanted = source.frames
        if max_samples is not None:
            needed = _num_needed_frames(max_samples, sample_rate_hz, source.samplerate)
            num_wanted = min(num_wanted, needed)
        decoded = _read(source, num_wanted)
        _require_complete(path, source, len(decoded), num_wanted)
        return decoded, source.samplerate


def _read(source: soundfile.SoundFile, num_frames: int) -> np.ndarray:
    if source.subtype != "PCM_16":
        return source.read(num_frames, dtype="float32", always_2d=True)
    # The numbers that libsndfile's own conversion gives, in a third of the time.
    return source.read(num_frames, dtype="int16", always_2d=True) * np.float32(2**-15)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """The open file, its header and stream checked; anything that fails becomes a UserError."""
    try:
        _require_nonempty_file(path)
        # By descriptor, because soundfile takes a file named .raw for samples without a header.
        with (
            path.open("rb") as stream,
            soundfile.SoundFile(stream.fileno(), closefd=False) as source,
        ):
            _require_plausible_header(path, source)
            _require_whole_stream(path, source)
            yield source
    except OSError as error:
        raise UserError(
            f"The audio file {path} cannot be read ({error.strerror or error}); check its "
            "permissions and its disk."
        ) from error
    except soundfile.SoundFileError as error:
        raise UserError(_undecodable(path, error)) from error
    except (MemoryError, ValueError) as error:
        raise UserError(
            f"The audio file {path} claims to hold more sound than fits into memory; split it, or "
            "export it again if its header is damaged."
        ) from error


def _undecodable(path: Path, error: soundfile.SoundFileError) -> str:
    with contextlib.suppress(OSError):
        if (kind := kinds.why_undecodable(path)) is not None:
            return f"The file {path} {kind}."
    reason = getattr(error, "error_string", str(error)) or "no reason is given"
    reason = reason.removeprefix("Error : ").rstrip(".").replace(". ", ": ")
    return (
        f"The file {path} cannot be decoded as audio ({reason}); it is damaged, cut short or of "
        "another kind, so replace it, or convert it to WAV first."
    )


def _num_needed_frames(max_samples: int, sample_rate_hz: int, native_rate_hz: int) -> int:
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


def _require_nonempty_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        link = f"is a link to {os.readlink(path)}, which " if os.path.islink(path) else ""
        raise UserError(f"The audio file {path} {link}does not exist; check its path.") from error
    # Opening a named pipe or a device could block for ever.
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"The path {path} is not a file; give the path of an audio file.")
    if status.st_size == 0:
        raise UserError(f"The audio file {path} is empty (0 bytes); copy or download it again.")


def _require_plausible_header(path: Path, source: soundfile.SoundFile) -> None:
    lowest, highest = _SAMPLE_RATE_RANGE_HZ
    if not lowest <= source.samplerate <= highest:
        raise UserError(
            f"The audio file {path} claims a sample rate of {source.samplerate} Hz, outside "
            f"{lowest} to {highest} Hz; its header is damaged, so export it again from its source."
        )
    if _contradicts_itself(source):
        raise UserError(
            f"The header of the audio file {path} contradicts itself about the size of its "
            "samples; convert it again from its source."
        )
    if source.frames == _UNKNOWN_FRAMES:
        raise UserError(
            f"The audio file {path} does not state its length, as happens when an encoder writes "
            "to a pipe; encode it again to a file, or convert it to WAV first."
        )


def _contradicts_itself(source: soundfile.SoundFile) -> bool:
    """Whether a WAV header's bytes per frame and per second both contradict its sample format."""
    sample_bytes = _SAMPLE_BYTES.get(source.subtype)
    if source.format not in ("WAV", "WAVEX", "RF64") or sample_bytes is None:
        return False
    frame_bytes = _FRAME_BYTES.search(source.extra_info)
    bytes_per_second = _BYTES_PER_SECOND.search(source.extra_info)
    if frame_bytes is None or bytes_per_second is None:
        return False
    stated = int(frame_bytes[1])
    # One wrong field alone is a sloppy writer, not damage.
    agree = stated > 0 and stated * source.samplerate == int(bytes_per_second[1])
    return agree and stated != source.channels * sample_bytes


def _require_whole_stream(path: Path, source: soundfile.SoundFile) -> None:
    fault = streams.fault_of_stream(path, source.format)
    if fault is not None:
        raise UserError(
            f"The audio file {path} {fault}; copy or download it again, or save it again from an "
            "audio editor if what is left will do."
        )


def _require_complete(
    path: Path, source: soundfile.SoundFile, num_decoded: int, num_wanted: int
) -> None:
    """Raises UserError where the file shows that some of its sound was not decoded."""
    if num_decoded == 0:
        raise UserError(f"The audio file {path} holds no samples; record or export it again.")
    if _is_truncated(path, source, num_missing=num_wanted - num_decoded):
        raise UserError(
            f"The audio file {path} is cut short: its header promises more sound than the file "
            "holds; copy or download it again, or save it again from an audio editor if what is "
            "left will do."
        )
    num_bytes_read = os.lseek(source.name, 0, os.SEEK_CUR)  # opened by descriptor
    if (
        source.format == "MP3"
        and num_wanted == source.frames
        and num_bytes_read < (1 - _MP3_UNREAD_SHARE) * path.stat().st_size
    ):
        # Without a length tag libsndfile guesses the length from the first frame's bit rate, and
        # never decodes beyond that.
        raise UserError(
            f"The MP3 file {path} does not state its length, and decoding would drop its end; "
            "convert it to WAV or FLAC first."
        )


def _is_truncated(path: Path, source: soundfile.SoundFile, num_missing: int) -> bool:
    for promised, found in _CLAMPED_CHUNK.findall(source.extra_info):
        num_missing_bytes = int(promised) - int(found)
        if int(promised) < _UNKNOWN_CHUNK_BYTES and num_missing_bytes > _HEADER_SLACK_BYTES:
            return True
    if source.format != "MP3":
        return num_missing > 0
    if num_missing <= _MP3_DELAY_SAMPLES:
        return False
    # Without a length tag, the promised length was only libsndfile's guess.
    content = path.read_bytes()
    return any(tag in content for tag in _MP3_LENGTH_TAGS)
