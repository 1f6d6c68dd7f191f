"""Whether a compressed stream is whole, because decoders silently skip what is damaged or missing.

Two faults cannot be seen: a stream that ends early but exactly where an Ogg page or an MP3 frame
does, unless the MP3 has a length tag; and damage inside an MP3 frame, which carries no checksum.
"""

import io
import mmap
import struct
import zlib

from qvae_jax.audio.mp3 import Frames, find_frames, mp3_fault

_OGG_PAGE = struct.Struct("<4sBBQIIIB")  # capture, version, flags, time, serial, number, CRC, size
_OGG_FIRST_PAGE, _OGG_LAST_PAGE = 0x02, 0x04  # flags

_MIRRORED_BYTES = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def mp3_frames(file: io.FileIO) -> Frames | None:
    """The frames of an MP3 file; None for what is none, or whose frames do not state their length.

    Raises OSError where the file cannot be read.
    """
    file.seek(0)
    if not file.read(3).startswith((b"ID3", b"\xff")):
        return None
    with _mapped(file) as content:
        return find_frames(content)


def fault_of_stream(file: io.FileIO, file_format: str) -> str | None:
    """What is wrong with a file's stream, as a phrase that follows "it"; None where nothing is.

    Args:
        file: the file, which must not be empty.
        file_format: soundfile's name of the format; only "OGG" and "MP3" are looked into.

    Raises:
        OSError: the file cannot be read.
    """
    find_fault = {"OGG": ogg_fault, "MP3": mp3_fault}.get(file_format)
    if find_fault is None:
        return None
    with _mapped(file) as content:
        return find_fault(content)


def _mapped(file: io.FileIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def ogg_fault(content: bytes | mmap.mmap) -> str | None:
    """What is wrong with an Ogg stream (RFC 3533): a page is damaged, missing or cut short.

    A phrase that follows "it"; None where nothing is wrong.
    """
    position = content.find(b"OggS")
    next_numbers = {}
    is_at_end = False
    while 0 <= position < len(content):
        header = content[position : position + _OGG_PAGE.size]
        if header[:4] != b"OggS"[: len(header)]:
            if is_at_end and content.find(b"OggS", position) < 0:
                return None  # what follows is no page, such as a tag
            return f"is damaged at byte {position}"
        if len(header) < _OGG_PAGE.size:
            return "is cut short in its last page"
        _, _, flags, _, serial, number, crc, num_segments = _OGG_PAGE.unpack(header)
        body = position + _OGG_PAGE.size + num_segments
        end = body + sum(content[position + _OGG_PAGE.size : body])
        if end > len(content):
            return "is cut short in its last page"
        if crc != _ogg_crc(content[position:end]):
            return f"is damaged at byte {position}"
        if not flags & _OGG_FIRST_PAGE and number != next_numbers.get(serial):
            return f"lacks a part before byte {position}"
        next_numbers[serial] = (number + 1) % 2**32
        is_at_end = bool(flags & _OGG_LAST_PAGE)
        position = end
    return None


def _ogg_crc(page: bytes) -> int:
    """A page's CRC-32, with the field that holds it taken as zero.

    Ogg's CRC is zlib's with all bits mirrored, started at zero and not inverted at the end.
    """
    blank = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(blank.translate(_MIRRORED_BYTES), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
