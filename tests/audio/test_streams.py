"""What a compressed stream tells of damage, over files that libsndfile has written."""

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.audio import streams
from qvae_jax.audio.streams import mp3_fault, ogg_fault


def encoded(container: str, subtype: str, rate_hz: int, num_channels: int = 1, seed: int = 0):
    noise = np.random.default_rng(seed).standard_normal((rate_hz, num_channels))
    stream = io.BytesIO()
    soundfile.write(stream, 0.1 * noise, rate_hz, format=container, subtype=subtype)
    return stream.getvalue()


def pages(ogg: bytes) -> list[bytes]:
    starts = [at for at in range(len(ogg)) if ogg.startswith(b"OggS", at)] + [len(ogg)]
    return [ogg[start:end] for start, end in zip(starts, starts[1:])]


OGGS = {
    "vorbis": encoded("OGG", "VORBIS", 44_100, 2),
    "opus": encoded("OGG", "OPUS", 48_000),
}
# All versions of MPEG audio that libsndfile writes: 1, 2 and 2.5.
MP3S = {
    rate: encoded("MP3", "MPEG_LAYER_III", rate, 1 + rate // 44_100)
    for rate in (44_100, 16_000, 8_000)
}
TAGLESS = {rate: mp3[mp3.index(mp3[:2], 100) :] for rate, mp3 in MP3S.items()}
ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x04\0\0\0\0\x01\x02" + bytes(130)
EXAMPLES = [(ogg_fault, ogg) for ogg in OGGS.values()] + [(mp3_fault, mp3) for mp3 in MP3S.values()]
by_name = pytest.mark.parametrize("name", OGGS)
by_rate = pytest.mark.parametrize("rate_hz", MP3S)


def frames(mp3: bytes) -> list[bytes]:
    found = []
    while mp3:
        length = streams._mp3_frame_length(int.from_bytes(mp3[:4]))
        found.append(mp3[:length])
        mp3 = mp3[length:]
    return found


@by_name
def test_a_whole_ogg_has_no_fault(name):
    ogg = OGGS[name]
    assert len(pages(ogg)) >= 3
    assert ogg_fault(ogg) is None
    assert ogg_fault(ogg + OGGS["vorbis"]) is None  # one stream after the other
    assert ogg_fault(ogg + ID3V1) is None


@by_name
def test_an_ogg_without_a_page_or_with_pages_exchanged_has_one(name):
    first, *middle, last = pages(OGGS[name])
    for missing in range(len(middle)):
        kept = middle[:missing] + middle[missing + 1 :]
        assert "lacks a part" in ogg_fault(b"".join([first, *kept, last]))
    assert "lacks a part" in ogg_fault(b"".join([first, *middle[::-1], last]))
    assert "damaged" in ogg_fault(b"".join([first, *middle, bytes(9), last]))


@by_name
def test_an_ogg_that_ends_at_a_page_cannot_be_told_from_one_that_was_so_recorded(name):
    assert ogg_fault(b"".join(pages(OGGS[name])[:-1])) is None
    # But where room was reserved for the rest, it can.
    assert "damaged" in ogg_fault(b"".join(pages(OGGS[name])[:-1]) + bytes(100))


@by_rate
@pytest.mark.parametrize("before", [b"", ID3V2, ID3V2 + ID3V2])
@pytest.mark.parametrize("after", [b"", ID3V1, b"APETAGEX" + bytes(50), ID3V2])
def test_a_whole_mp3_has_no_fault(rate_hz, before, after):
    assert mp3_fault(before + MP3S[rate_hz] + after) is None
    assert mp3_fault(before + TAGLESS[rate_hz] + after) is None


@by_rate
def test_zeros_after_an_mp3_are_padding_only_where_its_length_is_known(rate_hz):
    assert mp3_fault(MP3S[rate_hz] + bytes(500)) is None
    assert "damaged" in mp3_fault(TAGLESS[rate_hz] + bytes(500))


@by_rate
def test_missing_frames_show_where_the_length_is_known(rate_hz):
    all_frames = frames(MP3S[rate_hz])
    assert b"".join(all_frames) == MP3S[rate_hz]
    for num_kept in (1, len(all_frames) // 2, len(all_frames) - 2):
        fault = mp3_fault(b"".join(all_frames[:num_kept]))
        assert fault == f"is cut short: it holds {num_kept - 1} of {len(all_frames) - 1} frames"
    assert mp3_fault(b"".join(frames(TAGLESS[rate_hz])[:5])) is None


def test_a_vbri_tag_tells_the_length_too():
    all_frames = frames(TAGLESS[44_100])
    tag = bytearray(all_frames[0])
    tag[36 : 36 + 18] = b"VBRI" + bytes(10) + struct.pack(">I", len(all_frames) - 1)
    assert mp3_fault(b"".join([bytes(tag), *all_frames[1:]])) is None
    assert "cut short" in mp3_fault(b"".join([bytes(tag), *all_frames[1:-5]]))


def test_frames_of_another_format_and_bytes_between_frames_are_damage():
    middle = frames(TAGLESS[44_100])
    for between in (b"\0", b"junk", frames(TAGLESS[16_000])[3]):
        mp3 = b"".join([*middle[:5], between, *middle[5:]])
        assert mp3_fault(mp3) == f"is damaged at byte {len(b''.join(middle[:5]))}"


def test_the_length_of_a_free_format_frame_is_not_told():
    assert mp3_fault(b"\xff\xfb\x00\x00" + bytes(100)) is None


# (header, bytes of the frame) by the formulas of ISO 11172-3 and 13818-3
@pytest.mark.parametrize(
    ("header", "length"),
    [
        (0xFFFB9000, 417),  # version 1, layer III, 128 kbit/s, 44.1 kHz
        (0xFFFB9200, 418),  # padded
        (0xFFFBE400, 960),  # 320 kbit/s at 48 kHz
        (0xFFF38000, 208),  # version 2, layer III, 64 kbit/s, 22.05 kHz
        (0xFFE31800, 72),  # version 2.5, layer III, 8 kbit/s, 8 kHz
        (0xFFFDA000, 626),  # version 1, layer II, 192 kbit/s, 44.1 kHz
        (0xFFFF1400, 32),  # version 1, layer I, 32 kbit/s, 48 kHz
        (0xFFFB0000, 0),
        (0xFFFBF000, None),
        (0xFFFB9C00, None),
        (0xFFEB9000, None),
        (0xFFF99000, None),
        (0xFF7B9000, None),
    ],
)
def test_frame_lengths(header, length):
    assert streams._mp3_frame_length(header) == length


@settings(max_examples=300, deadline=None, derandomize=True)
@given(example=st.sampled_from(EXAMPLES), kept_share=st.floats(0.001, 0.9999))
def test_a_cut_shows_but_between_pages(example, kept_share):
    find_fault, content = example
    cut = content[: int(kept_share * len(content))]
    at_page = find_fault is ogg_fault and content[len(cut) :].startswith(b"OggS")
    assert len(cut) == 0 or at_page or find_fault(cut) is not None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(OGGS)), position=st.floats(0, 1), change=st.integers(1, 255))
def test_every_wrong_byte_of_an_ogg_shows(name, position, change):
    ogg = bytearray(OGGS[name])
    ogg[int(position * (len(ogg) - 1))] ^= change
    assert ogg_fault(bytes(ogg)) is not None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    content=st.binary(max_size=300) | st.sampled_from([content[:2000] for _, content in EXAMPLES]),
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=5),
)
def test_any_bytes_are_walked_through_to_an_end(content, edits):
    damaged = bytearray(content)
    for position, value in edits:
        if damaged:
            damaged[position % len(damaged)] = value
    for find_fault in (ogg_fault, mp3_fault):
        fault = find_fault(bytes(damaged))
        assert fault is None or fault.startswith(("is damaged at byte", "is cut short", "lacks"))


def test_of_other_formats_nothing_is_said(tmp_path):
    path = tmp_path / "sound"
    path.write_bytes(OGGS["vorbis"][:-1])
    assert streams.fault_of_stream(path, "WAV") is None
    assert streams.fault_of_stream(path, "OGG") == "is cut short in its last page"
