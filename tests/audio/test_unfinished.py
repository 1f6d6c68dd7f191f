"""Files whose writers never finished the header: their sound is that of the finished file."""

import io
import struct
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.audio import windows
from qvae_jax.audio.files import open_audio, read_audio
from qvae_jax.audio.unfinished import finished_head
from qvae_jax.data.examine import examine
from qvae_jax.system.errors import UserError

RATE_HZ = 16_000
SOUND = 0.3 * np.sin(np.arange(9_000) ** 1.5 / 900)
LIST = b"LIST" + struct.pack("<I", 14) + b"INFOISFT\x02\0\0\0qv"
LARGE, LARGE_64 = b"\xff" * 4, b"\xff" * 8


def encoded(container: str, subtype: str = "PCM_16", samples: np.ndarray = SOUND) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE_HZ, format=container, subtype=subtype)
    return stream.getvalue()


def with_fields(content: bytes, *fields: tuple[bytes, int, bytes]) -> bytes:
    """The file with other bytes, each given by the name of a chunk and a place behind that."""
    for name, offset, field in fields:
        start = content.index(name) + offset
        content = content[:start] + field + content[start + len(field) :]
    return content


def sizes(riff: bytes | None, data: bytes, name: bytes = b"RIFF") -> list[tuple[bytes, int, bytes]]:
    return [(b"data", 4, data)] + ([] if riff is None else [(name, 4, riff)])


WAV, FLOAT, AIFF = encoded("WAV"), encoded("WAV", "FLOAT"), encoded("AIFF")
RF64, AU, CAF = encoded("RF64"), encoded("AU"), encoded("CAF")
W64, FLAC = encoded("W64"), encoded("FLAC")
ADPCM = encoded("WAV", "IMA_ADPCM")
STREAMINFO_FRAMES = (b"fLaC", 21, bytes([FLAC[21] & 0xF0, 0, 0, 0, 0]))
LISTED = WAV.replace(b"data", LIST + b"data", 1)
FILLED = WAV.replace(b"data", b"FLLR" + struct.pack("<I", 4_044) + bytes(4_044) + b"data", 1)
# Name: the finished file, and as it was left.
UNFINISHED = {
    "WAV, both 0": (WAV, with_fields(WAV, *sizes(bytes(4), bytes(4)))),
    "WAV, no data": (WAV, with_fields(WAV, *sizes(b"\x24\0\0\0", bytes(4)))),
    "WAV, data alone 0": (WAV, with_fields(WAV, *sizes(None, bytes(4)))),
    "WAV, RIFF unknown, data 0": (WAV, with_fields(WAV, *sizes(LARGE, bytes(4)))),
    "WAV, both unknown": (WAV, with_fields(WAV, *sizes(LARGE, LARGE))),
    "WAV, a LIST before": (LISTED, with_fields(LISTED, *sizes(bytes(4), bytes(4)))),
    "WAV, filled up to 4096 bytes": (
        FILLED,
        with_fields(FILLED, *sizes(b"\xf8\x0f\0\0", bytes(4))),  # as Apple's AVAudioFile leaves it
    ),
    "WAV, floats": (FLOAT, with_fields(FLOAT, *sizes(bytes(4), bytes(4)))),
    "WAV, ADPCM": (ADPCM, with_fields(ADPCM, *sizes(bytes(4), bytes(4)), (b"fact", 8, bytes(4)))),
    "RF64, both 0": (RF64, with_fields(RF64, (b"ds64", 8, bytes(24)))),
    "RF64, both unknown": (RF64, with_fields(RF64, (b"ds64", 8, LARGE_64 * 3))),
    "RF64, data 0": (RF64, with_fields(RF64, (b"ds64", 16, bytes(8)))),
    "RF64, data unknown": (RF64, with_fields(RF64, (b"ds64", 16, LARGE_64))),
    "RF64, as RIFF": (RF64, with_fields(RF64, (b"data", 4, bytes(4)))),
    "BW64": (RF64, RF64.replace(b"RF64", b"BW64", 1)),
    "BW64, data unknown": (
        RF64,
        with_fields(RF64, (b"RF64", 0, b"BW64"), (b"ds64", 16, LARGE_64)),
    ),
    "W64, data 0": (W64, with_fields(W64, (b"data\xf3", 16, bytes(8)))),
    "W64, data unknown": (W64, with_fields(W64, (b"data\xf3", 16, LARGE_64))),
    "AU, 0": (AU, with_fields(AU, (b".snd", 8, bytes(4)))),
    "AU, unknown": (AU, with_fields(AU, (b".snd", 8, LARGE))),
    "AIFF, no frames": (
        AIFF,
        with_fields(AIFF, (b"SSND", 4, b"\0\0\0\x08"), (b"COMM", 10, bytes(4))),
    ),
    "AIFF, all 0": (
        AIFF,
        with_fields(AIFF, (b"FORM", 4, bytes(4)), (b"SSND", 4, bytes(4)), (b"COMM", 10, bytes(4))),
    ),
    "CAF, unknown": (CAF, with_fields(CAF, (b"data", 4, LARGE_64))),
    "CAF, 0": (CAF, with_fields(CAF, (b"data", 4, bytes(8)))),
    "FLAC, unknown": (FLAC, with_fields(FLAC, STREAMINFO_FRAMES)),
    "FLAC, unknown, with a tag": (
        FLAC,
        b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + with_fields(FLAC, STREAMINFO_FRAMES),
    ),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_it_is_read_to_the_end_of_the_file(tmp_path, name):
    paths = [tmp_path / "finished", tmp_path / "unfinished"]
    for path, content in zip(paths, UNFINISHED[name]):
        path.write_bytes(content)
    finished, unfinished = (read_audio(path, RATE_HZ) for path in paths)
    np.testing.assert_array_equal(unfinished, finished)
    assert len(finished) == len(SOUND) or "ADPCM" in name
    assert windows.duration_s(paths[1]) == len(finished) / RATE_HZ
    part = [windows.read_window(path, RATE_HZ, start_s=0.25, window_s=0.1) for path in paths]
    np.testing.assert_array_equal(part[1], part[0])
    with open_audio(paths[1]) as audio:
        assert sum(map(len, audio.blocks)) == len(finished)


NOTHING = np.zeros(0)
EMPTY = {
    "WAV": encoded("WAV", samples=NOTHING),
    "WAV, sizes unknown": with_fields(encoded("WAV", samples=NOTHING), *sizes(LARGE, LARGE)),
    "WAV, floats": encoded("WAV", "FLOAT", NOTHING),
    "WAV, a LIST behind": encoded("WAV", samples=NOTHING) + LIST,
    "WAV, two LISTs behind": encoded("WAV", samples=NOTHING) + LIST + LIST,
    "WAV, a LIST without padding": encoded("WAV", samples=NOTHING) + b"LIST\5\0\0\0INFO ",
    "WAV, a byte behind": encoded("WAV", samples=NOTHING) + b"\0",
    "RF64": encoded("RF64", samples=NOTHING),
    "W64": encoded("W64", samples=NOTHING),
    "AIFF": encoded("AIFF", samples=NOTHING),
    "AU": encoded("AU", samples=NOTHING),
    "FLAC": with_fields(FLAC[: FLAC.index(b"\xff\xf8")], STREAMINFO_FRAMES),
}


@pytest.mark.parametrize("name", EMPTY)
def test_what_is_truly_empty_is_refused(tmp_path, name):
    path = tmp_path / "empty.wav"
    path.write_bytes(EMPTY[name])
    with pytest.raises(UserError, match="holds no samples"):
        read_audio(path, RATE_HZ)


@pytest.mark.parametrize("num_missing", [1, 10, 3_000])
def test_a_flac_of_unstated_length_that_is_cut_short_is_refused(tmp_path, num_missing):
    path = tmp_path / "cut.flac"
    path.write_bytes(UNFINISHED["FLAC, unknown"][1][:-num_missing])
    with pytest.raises(UserError, match="cut.flac"):
        read_audio(path, RATE_HZ)


def stated(num_frames: int, behind: bytes = b"") -> bytes:
    """A WAV file whose header states so many of its frames, and bytes behind all of them."""
    return with_fields(LISTED, (b"data", 4, struct.pack("<I", 2 * num_frames))) + behind


@pytest.mark.parametrize(
    ("content", "goes_on"),
    [
        (stated(9_000), False),
        (stated(1_000), True),  # as brought up to date before a recorder was cut off
        (stated(8_500), False),
        (stated(9_000, LIST), False),
        (stated(9_000, LIST + b"LIST\5\0\0\0INFO "), False),
        (stated(9_000, bytes(9_000)), False),  # space that was reserved
        (stated(9_000, b"ID3\3" + bytes(9_000)), False),
        (stated(9_000, bytes(range(1, 201)) * 50), True),
        (UNFINISHED["WAV, both unknown"][1], False),
        (UNFINISHED["WAV, both 0"][1], False),
        (AIFF, False),
        (FLAC, False),
    ],
)
def test_a_wav_that_goes_on_behind_its_sound_is_told_of(tmp_path, content, goes_on):
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_audio(path, RATE_HZ)
    said = [str(each.message) for each in caught]
    assert len(said) == goes_on
    assert all(f"the audio file {path} goes on behind the" in message for message in said)
    assert examine(path).goes_on == goes_on


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    content=st.binary(max_size=100)
    | st.sampled_from([left for _, left in UNFINISHED.values()]).map(lambda left: left[:400]),
    num_kept=st.integers(0, 400),
    edits=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4),
)
def test_any_bytes_are_a_header_or_not(content, num_kept, edits):
    damaged = bytearray(content[:num_kept])
    for position, value in edits:
        if damaged:
            damaged[position % len(damaged)] = value
    if damaged[:4] == b"fLaC" or damaged[:3] == b"ID3":
        return  # decoded, which needs a file
    head = finished_head(io.BytesIO(damaged))
    assert head is None or (len(head) <= len(damaged) and head[4:8] == damaged[4 : len(head)][:4])
