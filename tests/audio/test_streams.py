"""What a compressed stream tells of damage, over files that libsndfile has written."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.audio import streams
from qvae_jax.audio.mp3 import mp3_fault
from qvae_jax.audio.streams import ogg_fault


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
ID3V1 = b"TAG" + bytes(125)
MP3 = encoded("MP3", "MPEG_LAYER_III", 44_100, 2)
EXAMPLES = [(ogg_fault, ogg) for ogg in OGGS.values()] + [(mp3_fault, MP3)]
by_name = pytest.mark.parametrize("name", OGGS)


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
    with path.open("rb", buffering=0) as file:
        assert streams.mp3_frames(file) is None
        assert streams.fault_of_stream(file, "WAV") is None
        assert streams.fault_of_stream(file, "OGG") == "is cut short in its last page"
