"""Opening an audio file: what its header must say, and whether all of its sound is there."""

import contextlib
import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import soundfile

from qvae_jax.audio import kinds, mp3, streams, unfinished
from qvae_jax.audio.pieces import Pieces
from qvae_jax.system.errors import Notice, UserError

# Rates outside this range come from damaged headers, and resampling from them could take terabytes.
SAMPLE_RATE_RANGE_HZ = (1_000, 1_000_000)

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
# Some writers count the header's own bytes in the size of the data.
_HEADER_SLACK_BYTES = 64

# libsndfile's frame count for a FLAC file that does not state it.
_UNKNOWN_FRAMES = 2**63 - 1

# An MP3 decoder drops its delay (529), the encoder's (at most 2257) and the padding of one frame.
_MP3_DELAY_SAMPLES = 4096


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[soundfile.SoundFile]:
    """The open file, its header and stream checked; anything that fails becomes a UserError.

    Its number of frames is right also where a header was never finished, and where an MP3 does not
    state it. Ask require_complete once it has been read. Warns with a Notice of a file that goes on
    where its header says that its sound ends.
    """
    path = Path(path)
    try:
        _require_nonempty_file(path)
        # Unbuffered, because decoders read from the descriptor, and soundfile takes a path that
        # ends in .raw for samples without a header.
        with path.open("rb", buffering=0) as file:
            # Before a decoder is given the descriptor, and with it the file's position.
            frames, goes_on = streams.mp3_frames(file), unfinished.goes_on(file)
            with _decoder(file, frames) as source:
                _require_plausible_header(path, source)
                _require_whole_stream(path, file, source, frames)
                if goes_on:
                    _warn_of_rest(path, source)
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


def require_complete(
    path: str | os.PathLike, source: soundfile.SoundFile, num_decoded: int, num_wanted: int
) -> None:
    """Raises UserError where nothing was decoded, or the file shows that some of it was not."""
    if num_decoded == 0:
        raise _without_samples(path)
    if _is_truncated(source, num_missing=num_wanted - num_decoded):
        raise UserError(
            f"The audio file {path} is cut short: its header promises more sound than the file "
            "holds; copy or download it again, or save it again from an audio editor if what is "
            "left will do."
        )


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


def _without_samples(path: str | os.PathLike) -> UserError:
    return UserError(f"The audio file {path} holds no samples; record or export it again.")


def _decoder(file: io.FileIO, frames: mp3.Frames | None) -> soundfile.SoundFile:
    """A decoder of the file, or of what it would be with a finished header and without tags."""
    pieces = _mp3_pieces(file, frames) if frames else _finished_pieces(file)
    if pieces is not None:
        return soundfile.SoundFile(pieces)
    file.seek(0)
    return soundfile.SoundFile(file.fileno(), closefd=False)


def _warn_of_rest(path: Path, source: soundfile.SoundFile) -> None:
    message = (
        f"the audio file {path} goes on behind the {source.frames / source.samplerate:.2f} s that its "
        "header states, as after a recording that was cut off; if sound is missing, import it as "
        "raw samples into an audio editor, and save it again."
    )
    warnings.warn(message, Notice, stacklevel=2)


def _mp3_pieces(file: io.FileIO, frames: mp3.Frames) -> Pieces | None:
    """What a decoder can tell the length of; None where that is the file as it is, or damaged.

    Libraries differ in which tags they know, and guess the length of a stream without a length tag
    from the file's size and the first frame's bit rate.
    """
    is_bare = frames.parts == ((0, file.seek(0, os.SEEK_END)),)
    if frames.fault is not None or (is_bare and frames.is_length_known):
        return None
    if frames.is_length_known:
        return Pieces(b"", file, frames.parts)
    return Pieces(mp3.length_frame(frames), file, frames.sound)


def _finished_pieces(file: io.FileIO) -> Pieces | None:
    """The file with its header finished; None where it is."""
    head = unfinished.finished_head(file)
    if head is None:
        return None
    return Pieces(head, file, [(len(head), file.seek(0, os.SEEK_END))])


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
    lowest, highest = SAMPLE_RATE_RANGE_HZ
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
    if source.frames == _UNKNOWN_FRAMES:  # and none were counted
        raise _without_samples(path)


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


def _require_whole_stream(
    path: Path, file: io.FileIO, source: soundfile.SoundFile, frames: mp3.Frames | None
) -> None:
    if source.format == "MP3" and frames is not None:
        fault = frames.fault
    else:
        fault = streams.fault_of_stream(file, source.format)
    if fault is not None:
        raise UserError(
            f"The audio file {path} {fault}; copy or download it again, or save it again from an "
            "audio editor if what is left will do."
        )


def _is_truncated(source: soundfile.SoundFile, num_missing: int) -> bool:
    for promised, found in _CLAMPED_CHUNK.findall(source.extra_info):
        num_missing_bytes = int(promised) - int(found)
        if int(promised) < _UNKNOWN_CHUNK_BYTES and num_missing_bytes > _HEADER_SLACK_BYTES:
            return True
    return num_missing > (_MP3_DELAY_SAMPLES if source.format == "MP3" else 0)
