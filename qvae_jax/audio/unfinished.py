"""Headers that their writers never finished: what a recorder that lost power, or a program that
wrote to a pipe, leaves in the place of the sound's size. Such sound goes on to the end of the file.

libsndfile takes most of these stand-ins for what they are; here are those that it does not.
"""

import os
import string
import struct
from collections.abc import Callable
from typing import BinaryIO

import soundfile

from qvae_jax.audio.mp3 import id3_bytes

UNKNOWN = 0xFFFFFFFF  # libsndfile reads to the end of a file whose header has this size
_UNKNOWN_64 = (0, 2**64 - 1)
_NAME_BYTES = set(map(ord, string.ascii_letters + string.digits + " _-.()"))
_CHUNK_BYTES = 8  # name and size
_STREAMINFO_BYTES = 26  # of a FLAC file, up to the end of its number of frames
_TOTAL_BITS = 36
_BLOCK_FRAMES = 2**15
_BLANK_BYTES = 4_096  # that tell whether space was only reserved


def finished_head(file: BinaryIO) -> bytes | None:
    """The beginning of a file with its header finished; None where nothing is to be changed.

    As many bytes as it replaces. The file's position changes. A FLAC stream of unstated length is
    decoded to its end, to count its frames; raises soundfile.SoundFileError where that fails.
    """
    start = _read_at(file, 0, 4)
    finishers: dict[bytes, Callable[[BinaryIO], bytes | None]] = {
        b"RIFF": _finished_wav,
        b"RF64": _finished_rf64,
        b"BW64": _finished_bw64,
        b"FORM": _finished_aiff,
        b".snd": _finished_au,
        b"caff": _finished_caf,
        b"fLaC": _finished_flac,
        b"ID3": _finished_flac,
    }
    finish = next((finishers[magic] for magic in finishers if start.startswith(magic)), None)
    return finish(file) if finish else None


def goes_on(file: BinaryIO) -> bool:
    """Whether a WAV file goes on behind the sound that its header states, and not with other chunks.

    So it does where a recorder that brings its header up to date now and then was cut off. Blank
    space and tags are not counted, nor is less than a tenth of the sound.
    """
    start = _find_chunk(file, b"data", "<I") if _read_at(file, 0, 4) == b"RIFF" else None
    if start is None:
        return False
    (size,) = struct.unpack("<I", _read_at(file, start + 4, 4))
    behind = start + _CHUNK_BYTES + size + size % 2
    num_bytes = _end_of(file) - behind
    if size == 0 or num_bytes <= size / 10 or _are_chunks(file, behind, "<I"):
        return False
    beginning = _read_at(file, behind, _BLANK_BYTES)
    return any(beginning) and not beginning.startswith((b"TAG", b"ID3", b"APETAGEX"))


class _Forwards(soundfile.SoundFile):
    """A sound file that is only read forwards: soundfile would seek to an end that it must know."""

    def seekable(self) -> bool:
        return False


def _num_frames(file: BinaryIO) -> int:
    num_frames = 0
    file.seek(0)
    with _Forwards(file.fileno(), closefd=False) as source:
        while num_read := len(source.read(_BLOCK_FRAMES, dtype="int16")):
            num_frames += num_read
    return num_frames


def _finished_wav(file: BinaryIO) -> bytes | None:
    return _with_size_of(file, b"data", "<I", empty_size=0)


def _finished_aiff(file: BinaryIO) -> bytes | None:
    return _with_size_of(file, b"SSND", ">I", empty_size=8)  # of an offset and a block size


def _with_size_of(file: BinaryIO, name: bytes, layout: str, empty_size: int) -> bytes | None:
    """The head with an unknown size for the chunk of this name, if it seems to be empty and is not."""
    start = _find_chunk(file, name, layout)
    if start is None:
        return None
    (size,) = struct.unpack(layout, _read_at(file, start + 4, 4))
    after = start + _CHUNK_BYTES + empty_size
    if size != empty_size or _are_chunks(file, after, layout):
        return None
    return _replaced(file, start + 4, struct.pack(layout, UNKNOWN))


def _finished_rf64(file: BinaryIO) -> bytes | None:
    """RF64 has the size in a chunk of its own, ds64, and 0xFFFFFFFF in its place."""
    sizes, data = _find_chunk(file, b"ds64", "<I"), _find_chunk(file, b"data", "<I")
    if sizes is None or data is None:
        return _finished_wav(file)
    num_bytes = int.from_bytes(_read_at(file, sizes + 16, 8), "little")
    (size,) = struct.unpack("<I", _read_at(file, data + 4, 4))
    if size != UNKNOWN or num_bytes not in _UNKNOWN_64:
        return _finished_wav(file)
    start = data + _CHUNK_BYTES
    if _are_chunks(file, start, "<I"):
        return None
    end = _end_of(file)
    return _replaced(file, sizes + _CHUNK_BYTES, struct.pack("<QQ", end - 8, end - start))


def _finished_bw64(file: BinaryIO) -> bytes | None:
    """ITU-R BS.2088's name for RF64, which libsndfile does not know."""
    finished = _finished_rf64(file) or _read_at(file, 0, 4)
    return b"RF64" + finished[4:]


def _finished_au(file: BinaryIO) -> bytes | None:
    start, size = struct.unpack(">II", _read_at(file, 4, 8).ljust(8, b"\1"))
    if size != 0 or start >= _end_of(file):
        return None
    return _replaced(file, 8, struct.pack(">I", UNKNOWN))


def _finished_caf(file: BinaryIO) -> bytes | None:
    """Core Audio's files have sizes of 64 bits, and may have -1 for the sound if it comes last."""
    position, end = 8, _end_of(file)
    while position + 12 <= end:
        name, size = struct.unpack(">4sq", _read_at(file, position, 12))
        start = position + 12
        if name == b"data" and size in (-1, 0):
            return _replaced(file, position + 4, struct.pack(">q", end - start))
        if name == b"data" or size < 0:
            return None
        position = start + size
    return None


def _finished_flac(file: BinaryIO) -> bytes | None:
    """The number of frames is in the last 36 bits before STREAMINFO's checksum; tags may precede."""
    start = 0
    while num_bytes := id3_bytes(_read_at(file, start, 10)):
        start += num_bytes
    head = _read_at(file, start, _STREAMINFO_BYTES)
    packed = int.from_bytes(head[-8:])
    if not head.startswith(b"fLaC") or packed % 2**_TOTAL_BITS:
        return None
    return _replaced(file, start + len(head) - 8, (packed + _num_frames(file)).to_bytes(8))


def _find_chunk(file: BinaryIO, name: bytes, layout: str) -> int | None:
    """Where the chunk of this name begins, in a file of chunks; None where there is none."""
    position, end = 12, _end_of(file)
    while position + _CHUNK_BYTES <= end:
        found, size = struct.unpack(f"{layout[0]}4sI", _read_at(file, position, _CHUNK_BYTES))
        if found == name:
            return position
        position += _CHUNK_BYTES + size + size % 2
    return None


def _are_chunks(file: BinaryIO, position: int, layout: str) -> bool:
    """Whether chunks follow from this position to the end of the file, or less than one does."""
    end = _end_of(file)
    while position + _CHUNK_BYTES <= end:
        name, size = struct.unpack(f"{layout[0]}4sI", _read_at(file, position, _CHUNK_BYTES))
        if not set(name) <= _NAME_BYTES:
            return False
        position += _CHUNK_BYTES + size + size % 2
    return position <= end + 1  # the last one may lack its byte of padding


def _replaced(file: BinaryIO, position: int, field: bytes) -> bytes:
    """The file's bytes up to this position, and the field."""
    return _read_at(file, 0, position) + field


def _read_at(file: BinaryIO, position: int, num_bytes: int) -> bytes:
    file.seek(position)
    return file.read(num_bytes)


def _end_of(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
