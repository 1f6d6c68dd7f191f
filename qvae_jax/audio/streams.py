"""Whether a compressed stream is whole, because decoders silently skip what is damaged or missing.

Two faults cannot be seen: a stream that ends early but exactly where an Ogg page or an MP3 frame
does, unless the MP3 has a length tag; and damage inside an MP3 frame, which carries no checksum.
"""

import mmap
import os
import struct
import zlib

_OGG_PAGE = struct.Struct("<4sBBQIIIB")  # capture, version, flags, time, serial, number, CRC, size
_OGG_FIRST_PAGE, _OGG_LAST_PAGE = 0x02, 0x04  # flags

_MIRRORED_BYTES = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# Bit rates in kbit/s by (MPEG version 1 or 2, layer); version 2.5 has those of 2.
_MP3_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES_HZ = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_MP3_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")  # may follow the last frame
# Version, layer and sample rate, which are the same in all frames of a file.
_MP3_CONSTANT_BITS = 0xFFFE0C00


def fault_of_stream(path: str | os.PathLike, file_format: str) -> str | None:
    """What is wrong with a file's stream, as a phrase that follows "it"; None where nothing is.

    Args:
        path: the file, which must not be empty.
        file_format: soundfile's name of the format; only "OGG" and "MP3" are looked into.

    Raises:
        OSError: the file cannot be read.
    """
    find_fault = {"OGG": ogg_fault, "MP3": mp3_fault}.get(file_format)
    if find_fault is None:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return find_fault(content)


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


def mp3_fault(content: bytes | mmap.mmap) -> str | None:
    """What is wrong with an MP3 stream: bytes that are no frame, missing frames, a last one cut.

    A phrase that follows "it"; None where nothing is wrong.
    """
    start = position = _end_of_id3(content)
    promised, promised_bytes = _promised(content[start : start + 256])
    constant, num_frames = None, 0
    while position < len(content):
        if len(content) - position < 4 and any(content[position:]):
            return "is cut short in its last frame"
        header = int.from_bytes(content[position : position + 4].ljust(4, b"\0"))
        length = _mp3_frame_length(header)
        if length == 0:
            return None  # free format: the header does not tell where the next frame begins
        if length is None or constant not in (None, header & _MP3_CONSTANT_BITS):
            if content[position : position + 16].startswith(_MP3_TAGS):
                break
            # Zeros may be padding, or the rest of a download that broke off. A tag tells which.
            if promised is not None and not any(content[position:]):
                break
            return f"is damaged at byte {position}"
        if position + length > len(content):
            return "is cut short in its last frame"
        constant = header & _MP3_CONSTANT_BITS
        num_frames += 1
        position += length
    if promised is None or num_frames - 1 >= promised:
        return None
    # Some programs count the frame that holds the tag, and others do not. So where a single frame
    # is missing, the count of bytes decides.
    is_short = num_frames < promised or (promised_bytes or 0) > position - start
    return f"is cut short: it holds {num_frames - 1} of {promised} frames" if is_short else None


def _end_of_id3(content: bytes | mmap.mmap) -> int:
    """The position at which the tags before the first frame end."""
    position = 0
    while content[position : position + 3] == b"ID3" and position + 10 <= len(content):
        sizes = content[position + 6 : position + 10]  # of seven bits each
        has_footer = content[position + 5] & 0x10
        position += 10 + sum(size << shift for size, shift in zip(sizes, (21, 14, 7, 0)))
        position += 10 if has_footer else 0
    return position


def _mp3_frame_length(header: int) -> int | None:
    """Bytes of the frame with this header; 0 where it does not say; None where it is no header."""
    version_bits, layer = (header >> 19) & 3, 4 - ((header >> 17) & 3)
    bit_rate_index, rate_index = (header >> 12) & 15, (header >> 10) & 3
    if header >> 21 != 0x7FF or layer == 4 or version_bits == 1:
        return None
    if bit_rate_index == 15 or rate_index == 3:
        return None
    if bit_rate_index == 0:
        return 0
    version = 1 if version_bits == 3 else 2
    bits_per_s = 1000 * _MP3_BIT_RATES[version, layer][bit_rate_index - 1]
    rate_hz = _MP3_RATES_HZ[version_bits][rate_index]
    padding = (header >> 9) & 1
    if layer == 1:
        return 4 * (12 * bits_per_s // rate_hz + padding)
    frame_samples = 576 if layer == 3 and version == 2 else 1152
    return frame_samples // 8 * bits_per_s // rate_hz + padding


def _promised(first_frame: bytes) -> tuple[int | None, int | None]:
    """The counts of frames and of bytes in the length tag of a first frame, where it has them."""
    for tag in (b"Xing", b"Info"):
        start = first_frame.find(tag)
        fields = first_frame[start + 4 : start + 16]
        if start >= 0 and len(fields) == 12 and fields[3] & 1:
            num_bytes = int.from_bytes(fields[8:]) if fields[3] & 2 else None
            return int.from_bytes(fields[4:8]), num_bytes
    start = first_frame.find(b"VBRI")
    count = first_frame[start + 14 : start + 18]
    return (int.from_bytes(count) if start >= 0 and len(count) == 4 else None), None
