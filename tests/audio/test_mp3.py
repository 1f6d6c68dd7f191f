"""MP3 streams as encoders and taggers leave them: what a walk through them tells, and their sound."""

import io
import struct

import numpy as np
import pytest
import soundfile

from qvae_jax.audio import mp3 as mp3_module
from qvae_jax.audio.files import read_audio
from qvae_jax.audio.mp3 import find_frames, mp3_fault
from qvae_jax.audio.windows import duration_s
from qvae_jax.system.errors import UserError


def encoded(rate_hz: int, num_channels: int = 1, mode: str = "CONSTANT") -> bytes:
    """A second of noise, nearly silent at first, so that a variable bit rate varies."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((rate_hz, num_channels))
    noise[: rate_hz // 2] *= 1e-4
    stream, how = io.BytesIO(), {"bitrate_mode": mode, "compression_level": 0.3}
    soundfile.write(stream, noise, rate_hz, format="MP3", subtype="MPEG_LAYER_III", **how)
    return stream.getvalue()


def frames(mp3: bytes) -> list[bytes]:
    found = []
    while mp3:
        length = mp3_module._frame_length(int.from_bytes(mp3[:4]))
        found.append(mp3[:length])
        mp3 = mp3[length:]
    return found


def tagless(mp3: bytes) -> bytes:
    return b"".join(frames(mp3)[1:])


# Arbitrary bytes, among them the names of the tags that tell a length.
COVER = (b"Info" + bytes(12) + b"Xing\xff\xfa" + np.random.default_rng(0).bytes(3_000)) * 20


def id3v2(content: bytes = bytes(130), *, has_footer: bool = False) -> bytes:
    size = bytes(len(content) >> shift & 127 for shift in (21, 14, 7, 0))
    flags = b"\x10" if has_footer else b"\0"
    footer = b"3DI\x04\0" + flags + size if has_footer else b""
    return b"ID3\x04\0" + flags + size + content + footer


def ape(*, version: int = 2_000, has_header: bool = True) -> bytes:
    item = struct.pack("<II", len(COVER), 2) + b"Cover Art (Front)\0" + COVER
    flags = 0x80000000 if has_header else 0
    rest = struct.pack("<III", version, len(item) + 32, 1)
    header = b"APETAGEX" + rest + struct.pack("<I", flags | 0x20000000) + bytes(8)
    footer = b"APETAGEX" + rest + struct.pack("<I", flags) + bytes(8)
    return (header if has_header else b"") + item + footer


def lyrics3() -> bytes:
    body = b"LYRICSBEGIN" + b"IND0000211" + b"INF03000" + b"Info " * 600
    return body + b"%06d" % len(body) + b"LYRICS200"


ID3V1 = b"TAG" + b"Xing".ljust(125, b"\0")
BEFORE = {
    "nothing": b"",
    "ID3v2": id3v2(),
    "a cover": id3v2(COVER),
    "two of ID3v2": id3v2(COVER) + id3v2(),
    "with a footer": id3v2(COVER, has_footer=True),
}
AFTER = {
    "nothing": b"",
    "ID3v1": ID3V1,
    "APEv2 with a cover": ape(),
    "APEv2 and ID3v1": ape() + ID3V1,
    "APEv2 without a header": ape(has_header=False),
    "APEv1": ape(version=1_000, has_header=False) + ID3V1,
    "Lyrics3": lyrics3() + ID3V1,
    "APEv2, Lyrics3, ID3v1": ape() + lyrics3() + ID3V1,
    "ID3v2": id3v2(COVER, has_footer=True),
    "an APE tag that was cut": b"APETAGEX" + bytes(50),
}
# All versions of MPEG audio that libsndfile writes: 1, 2 and 2.5.
MP3S = {rate: encoded(rate, 1 + rate // 44_100) for rate in (44_100, 16_000, 8_000)}
VARIABLE = encoded(44_100, mode="VARIABLE")
by_rate = pytest.mark.parametrize("rate_hz", MP3S)


# --- What the walk tells


@by_rate
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("after", AFTER)
def test_the_frames_lie_between_the_tags(rate_hz, before, after):
    for mp3 in (MP3S[rate_hz], tagless(MP3S[rate_hz])):
        found = find_frames(BEFORE[before] + mp3 + AFTER[after])
        start = len(BEFORE[before])
        assert found.fault is None
        assert found.parts == ((start, start + len(mp3)),)
        assert found.num_frames == len(frames(mp3))
        assert found.promised == (None if mp3 is not MP3S[rate_hz] else len(frames(mp3)) - 1)


@by_rate
def test_zeros_after_an_mp3_are_padding_only_where_its_length_is_known(rate_hz):
    assert mp3_fault(MP3S[rate_hz] + bytes(500)) is None
    assert "damaged" in mp3_fault(tagless(MP3S[rate_hz]) + bytes(500))


@by_rate
def test_missing_frames_show_where_the_length_is_known(rate_hz):
    all_frames = frames(MP3S[rate_hz])
    assert b"".join(all_frames) == MP3S[rate_hz]
    for num_kept in (1, len(all_frames) // 2, len(all_frames) - 2):
        for after in (b"", ape()):
            fault = mp3_fault(b"".join(all_frames[:num_kept]) + after)
            assert fault == f"is cut short: it holds {num_kept - 1} of {len(all_frames) - 1} frames"
    assert mp3_fault(b"".join(frames(tagless(MP3S[rate_hz]))[:5])) is None


def test_a_vbri_tag_tells_the_length_too():
    all_frames = frames(tagless(MP3S[44_100]))
    tag = bytearray(all_frames[0])
    tag[36 : 36 + 18] = b"VBRI" + bytes(10) + struct.pack(">I", len(all_frames) - 1)
    assert mp3_fault(b"".join([bytes(tag), *all_frames[1:]])) is None
    assert "cut short" in mp3_fault(b"".join([bytes(tag), *all_frames[1:-5]]))


@pytest.mark.parametrize("at", [4, 20, 60, 100, 200])
def test_a_tags_name_elsewhere_in_the_first_frame_tells_no_length(at):
    first, *others = frames(tagless(MP3S[44_100]))
    tag = b"Info" + struct.pack(">III", 3, 9_999, 9_999)
    first = first[:at] + tag + first[at + len(tag) :]
    found = find_frames(b"".join([first, *others]))
    assert (found.promised, found.fault) == (None, None)


def test_frames_of_another_format_and_bytes_between_frames_are_damage():
    middle = frames(tagless(MP3S[44_100]))
    for between in (b"\0", b"junk", frames(tagless(MP3S[16_000]))[3]):
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
    assert mp3_module._frame_length(header) == length


# --- The sound


def read(folder, content: bytes) -> np.ndarray:
    path = folder / "sound.mp3"
    path.write_bytes(content)
    samples = read_audio(path, 44_100)
    assert duration_s(path) == pytest.approx(len(samples) / 44_100, abs=0.005)
    return samples


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("after", AFTER)
def test_tags_do_not_change_the_sound(tmp_path, before, after):
    for mp3 in (MP3S[44_100], tagless(MP3S[44_100]), VARIABLE):
        expected = read(tmp_path, mp3)
        found = read(tmp_path, BEFORE[before] + mp3 + AFTER[after])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("after", [b"", ID3V1, ape()], ids=["bare", "ID3v1", "APEv2"])
@by_rate
def test_a_variable_bit_rate_without_a_length_is_read_to_its_end(tmp_path, rate_hz, after):
    """The whole sound, with the encoder's delay, which no tag tells, before it."""
    whole = encoded(rate_hz, 1 + rate_hz // 44_100, "VARIABLE")
    (tmp_path / "sound.mp3").write_bytes(tagless(whole) + after)
    (tmp_path / "whole.mp3").write_bytes(whole)
    expected = read_audio(tmp_path / "whole.mp3", rate_hz)
    found = read_audio(tmp_path / "sound.mp3", rate_hz)
    delay = 576
    assert len(expected) == rate_hz
    np.testing.assert_allclose(found[delay : delay + rate_hz], expected, atol=1e-4)


@pytest.mark.parametrize("between", [b"", ID3V1 + id3v2()], ids=["bare", "tags"])
@pytest.mark.parametrize(
    "mp3", [MP3S[44_100], VARIABLE, tagless(MP3S[44_100])], ids=["constant", "variable", "tagless"]
)
def test_of_two_files_that_were_joined_both_are_heard(tmp_path, mp3, between):
    found = read(tmp_path, id3v2() + mp3 + between + mp3 + ID3V1)
    assert len(found) >= 2 * 44_100
    quarters = [np.square(part).sum() for part in np.array_split(found, 4)]
    assert min(quarters[1], quarters[3]) > 10 * max(quarters[0], quarters[2])


def test_frames_that_are_cut_off_are_still_missed_before_a_tag(tmp_path):
    (tmp_path / "sound.mp3").write_bytes(MP3S[44_100][:-2_000] + ape())
    with pytest.raises(UserError, match="sound.mp3 is (damaged|cut short)"):
        read_audio(tmp_path / "sound.mp3", 44_100)
