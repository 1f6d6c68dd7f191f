"""The frames of an MP3 stream: where they lie between its tags, whether all are there, how many."""

import mmap
from collections.abc import Callable
from typing import NamedTuple

Content = bytes | mmap.mmap

# Bit rates in kbit/s by (MPEG version 1 or 2, layer); version 2.5 has those of 2.
_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
# Version, layer and sample rate, which are the same in all frames of a file.
_CONSTANT_BITS = 0xFFFE0C00
_BIT_RATE_BITS, _HIGHEST_BIT_RATE = 0xF000, 0xE000
_NO_CRC_BIT = 0x00010000
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")  # may follow the last frame
_ID3V1_BYTES, _APE_HEADER_BYTES, _LYRICS_END_BYTES = 128, 32, 15
_APE_HAS_HEADER = 0x80000000
_FRAMES_UNCOUNTED = 8  # a fifth of a second, that some programs append to what they counted


class Frames(NamedTuple):
    """What walking through a stream shows.

    Attributes:
        parts: where its frames are, as (start, end) in bytes; one part, where no tag divides them.
        header: of the first frame.
        num_frames: how many there are, with the one that holds a length tag.
        promised: how many the length tag promises, None without one; it may count its own frame.
        is_constant: whether all have the same bit rate.
        fault: what is wrong, as a phrase that follows "it"; None where nothing is.
    """

    parts: tuple[tuple[int, int], ...]
    header: int
    num_frames: int
    promised: int | None
    is_constant: bool
    fault: str | None

    @property
    def is_length_known(self) -> bool:
        """Whether a decoder finds the end: by the length tag, or from a bit rate that is constant."""
        if self.promised is None:
            return self.is_constant
        return self.promised >= self.num_frames - 1 - _FRAMES_UNCOUNTED

    @property
    def sound(self) -> tuple[tuple[int, int], ...]:
        """The parts without the frame that holds a length tag."""
        (start, end), *others = self.parts
        tag_bytes = 0 if self.promised is None else _frame_length(self.header)
        return (start + tag_bytes, end), *others


def find_frames(content: Content) -> Frames | None:
    """The frames of a stream; None where it begins with none, or with one of unstated length."""
    start = _end_of_id3(content)
    header = int.from_bytes(content[start : start + 4])
    if not _frame_length(header):
        return None
    promised, promised_bytes = _promised(content[start : start + 256], header)
    parts, num_frames, bit_rates, fault = _walked(content, start, promised is not None)
    if fault is None and promised is not None and num_frames - 1 < promised:
        # Some programs count the frame that holds the tag, and others do not. So where a single
        # frame is missing, the count of bytes decides.
        if num_frames < promised or (promised_bytes or 0) > parts[-1][1] - start:
            fault = f"is cut short: it holds {num_frames - 1} of {promised} frames"
    is_constant = len(bit_rates) <= 1
    return Frames(tuple(parts), header, num_frames, promised, is_constant, fault)


def mp3_fault(content: Content) -> str | None:
    """What is wrong with an MP3 stream: bytes that are no frame, missing frames, a last one cut.

    A phrase that follows "it"; None where nothing is wrong.
    """
    frames = find_frames(content)
    if frames is not None:
        return frames.fault
    start = _end_of_id3(content)
    is_free_format = _frame_length(int.from_bytes(content[start : start + 4])) == 0
    return None if is_free_format else f"is damaged at byte {start}"


def _end_of_id3(content: Content) -> int:
    """The position at which the ID3v2 tags at the beginning of a file end."""
    position = 0
    while size := id3_bytes(content[position : position + 10]):
        position += size
    return position


def id3_bytes(head: bytes) -> int:
    """The bytes of the ID3v2 tag that begins with these ten; 0 where none does."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    # The size is in four bytes of seven bits each.
    size = sum(part << shift for part, shift in zip(head[6:10], (21, 14, 7, 0)))
    has_footer = head[5] & 0x10
    return 10 + size + (10 if has_footer else 0)


def length_frame(frames: Frames) -> bytes:
    """A silent frame that holds a length tag for these frames' sound, to be decoded before that.

    Empty for layers I and II, in which no such tag is known.
    """
    if _layer(frames.header) != 3:
        return b""
    # Of the highest bit rate, so that there is room for the tag.
    header = frames.header & ~_BIT_RATE_BITS | _HIGHEST_BIT_RATE | _NO_CRC_BIT
    num_frames = frames.num_frames - (frames.promised is not None)
    num_bytes = sum(end - start for start, end in frames.sound)
    frame = bytearray(_frame_length(header))
    frame[:4] = header.to_bytes(4)
    counts = num_frames.to_bytes(4) + (num_bytes + len(frame)).to_bytes(4)
    at = _tag_offset(header)
    frame[at : at + 16] = b"Xing" + (3).to_bytes(4) + counts
    return bytes(frame)


def _walked(
    content: Content, position: int, has_length: bool
) -> tuple[list[tuple[int, int]], int, set[int], str | None]:
    """The parts of the frames, their number, their bit rates, and what is wrong."""
    parts, num_frames, bit_rates = [(position, position)], 0, set()
    constant, end = None, _start_of_end_tags(content)

    def walked(fault: str | None) -> tuple[list[tuple[int, int]], int, set[int], str | None]:
        return parts, num_frames, bit_rates, fault

    while position < end:
        header = int.from_bytes(content[position : position + 4].ljust(4, b"\0"))
        length = _frame_length(header)
        if length and constant in (None, header & _CONSTANT_BITS):
            if position + length > end:
                return walked("is cut short in its last frame")
            constant = header & _CONSTANT_BITS
            bit_rates.add(header & _BIT_RATE_BITS)
            num_frames += 1
            position += length
            parts[-1] = (parts[-1][0], position)
        elif content[position : position + 16].startswith(_TAGS):
            position = _after_tags(content, position)
            if not _frame_length(int.from_bytes(content[position : position + 4])):
                break
            parts.append((position, position))  # of two files that were joined
        else:
            return walked(_fault_of_rest(content, position, end, has_length))
    return walked(None)


def _fault_of_rest(content: Content, position: int, end: int, has_length: bool) -> str | None:
    """What is wrong where neither a frame nor a tag begins."""
    is_blank = not any(content[position:end])
    # Zeros may be padding, or the rest of a download that broke off. A tag tells which.
    if is_blank and (has_length or end < len(content)):
        return None
    if end - position < 4 and not is_blank:
        return "is cut short in its last frame"
    return f"is damaged at byte {position}"


def _after_tags(content: Content, position: int) -> int:
    while (after := _after_tag(content, position)) is not None:
        position = after
    return position


def _after_tag(content: Content, position: int) -> int | None:
    """Where the tag ends that begins at this position; None where none does."""
    head = content[position : position + _APE_HEADER_BYTES]
    if not head.startswith(_TAGS):
        return None
    if size := id3_bytes(head):
        return position + size
    if head.startswith(b"TAG"):
        return position + _ID3V1_BYTES
    if head.startswith(b"APETAGEX"):
        return position + _APE_HEADER_BYTES + int.from_bytes(head[12:16], "little")
    return len(content)


def _start_of_end_tags(content: Content) -> int:
    """Where the tags begin that can only be found from a file's end."""
    end = len(content)
    taken: list[Callable[[Content, int], int]] = [_id3v1_at_end, _lyrics_at_end, _ape_at_end]
    while size := next((size for take in taken if (size := take(content, end))), 0):
        end = max(0, end - size)
    return end


def _id3v1_at_end(content: Content, end: int) -> int:
    is_tag = content[max(0, end - _ID3V1_BYTES) :][:3] == b"TAG"
    return _ID3V1_BYTES if is_tag else 0


def _lyrics_at_end(content: Content, end: int) -> int:
    """Of Lyrics3 v2, which ends with its size in six digits and a marker."""
    tail = content[max(0, end - _LYRICS_END_BYTES) : end]
    is_tag = tail.endswith(b"LYRICS200") and tail[:6].isdigit()
    return int(tail[:6]) + _LYRICS_END_BYTES if is_tag else 0


def _ape_at_end(content: Content, end: int) -> int:
    """Of APE tags, whose size is in the footer and counts that, but not a header."""
    footer = content[max(0, end - _APE_HEADER_BYTES) : end]
    if not footer.startswith(b"APETAGEX"):
        return 0
    size, flags = (int.from_bytes(footer[at : at + 4], "little") for at in (12, 20))
    return max(size, _APE_HEADER_BYTES) + (_APE_HEADER_BYTES if flags & _APE_HAS_HEADER else 0)


def _layer(header: int) -> int:
    return 4 - ((header >> 17) & 3)


def _frame_length(header: int) -> int | None:
    """Bytes of the frame with this header; 0 where it does not say; None where it is no header."""
    version_bits, layer = (header >> 19) & 3, _layer(header)
    bit_rate_index, rate_index = (header >> 12) & 15, (header >> 10) & 3
    if header >> 21 != 0x7FF or layer == 4 or version_bits == 1:
        return None
    if bit_rate_index == 15 or rate_index == 3:
        return None
    if bit_rate_index == 0:
        return 0
    version = 1 if version_bits == 3 else 2
    bits_per_s = 1000 * _BIT_RATES[version, layer][bit_rate_index - 1]
    rate_hz = _RATES_HZ[version_bits][rate_index]
    padding = (header >> 9) & 1
    if layer == 1:
        return 4 * (12 * bits_per_s // rate_hz + padding)
    frame_samples = 576 if layer == 3 and version == 2 else 1152
    return frame_samples // 8 * bits_per_s // rate_hz + padding


def _tag_offset(header: int) -> int:
    """Where in a frame of layer III a Xing or Info tag begins: behind the side information."""
    is_version_1, is_mono = (header >> 19) & 3 == 3, (header >> 6) & 3 == 3
    side_bytes = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}
    return 4 + side_bytes[is_version_1, is_mono]


def _promised(first_frame: bytes, header: int) -> tuple[int | None, int | None]:
    """The counts of frames and of bytes in the length tag of a first frame, where it has them."""
    starts = [_tag_offset(header)] + ([] if header & _NO_CRC_BIT else [_tag_offset(header) + 2])
    for start in starts:
        name, fields = first_frame[start : start + 4], first_frame[start + 4 : start + 16]
        if name in (b"Xing", b"Info") and len(fields) == 12 and fields[3] & 1:
            num_bytes = int.from_bytes(fields[8:]) if fields[3] & 2 else None
            return int.from_bytes(fields[4:8]), num_bytes
    count = first_frame[36 + 14 : 36 + 18]  # the other tag's place is the same in all frames
    has_vbri = first_frame[36:40] == b"VBRI" and len(count) == 4
    return (int.from_bytes(count) if has_vbri else None), None
