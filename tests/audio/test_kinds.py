"""Which files are read as sound, and what is said of those that are not."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.audio import kinds
from qvae_jax.audio.files import read_audio
from qvae_jax.system.errors import UserError

FORMATS = {
    ".wave": "WAV", ".bwf": "WAV", ".oga": "OGG", ".opus": "OGG", ".aif": "AIFF", ".aifc": "AIFF",
    ".snd": "AU", ".sph": "NIST", ".8svx": "SVX",
}  # fmt: skip
SUBTYPES = {".opus": "OPUS", ".wve": "ALAW", ".aifc": "ULAW"}
MPEG_AUDIO = {".mp1": b"\xff\xff\x40\xc4", ".mp2": b"\xff\xfd\x80\xc4"}  # 44.1 kHz, mono
MPEG_FRAME_BYTES, MPEG_FRAME_SAMPLES = {".mp1": 136, ".mp2": 417}, {".mp1": 384, ".mp2": 1152}


def encoded(path) -> int:
    """Writes a sound in the format that the path's suffix stands for; its number of samples."""
    suffix = path.suffix
    if suffix in MPEG_AUDIO:  # silent frames, for libsndfile writes MP3 alone
        frame = MPEG_AUDIO[suffix].ljust(MPEG_FRAME_BYTES[suffix], b"\0")
        path.write_bytes(20 * frame)
        return 20 * MPEG_FRAME_SAMPLES[suffix]
    sound = np.sin(np.arange(8_000) / 9) / 2
    options = {"format": FORMATS.get(suffix, suffix[1:].upper()), "subtype": SUBTYPES.get(suffix)}
    soundfile.write(path, sound, 8_000, **options)
    return len(sound)


@pytest.mark.parametrize("suffix", sorted(kinds.READABLE))
def test_each_readable_suffix_is_read(tmp_path, suffix):
    path = tmp_path / f"hum{suffix}"
    num_samples = encoded(path)
    assert len(read_audio(path, soundfile.info(path).samplerate)) >= num_samples


def test_a_suffix_is_read_or_foreign():
    assert not kinds.READABLE & kinds.FOREIGN
    assert kinds.is_readable_name("a.b.WAV") and not kinds.is_readable_name("wav")
    assert kinds.is_foreign_name("a.M4a") and not kinds.is_foreign_name("m4a")


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("a.wav", "a"), ("a.FLAC", "a"), ("a.m4a", "a"), ("a.b.wav", "a.b"), ("dog v1.5", "dog v1.5"),
        ("a.wav.wav", "a.wav"), ("wav", "wav"), ("", ""), ("a.", "a."), ("a.txt", "a.txt"),
    ],
)  # fmt: skip
def test_audio_suffixes_alone_are_taken_off(name, without):
    assert kinds.without_audio_suffix(name) == without


FOREIGN_BEGINNINGS = {
    "MPEG-4 or QuickTime": b"\0\0\0\x1cftypM4A \0\0\0\0",
    "Matroska, as webm": b"\x1a\x45\xdf\xa3\x9fB\x86",
    "Windows Media": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "AMR": b"#!AMR\n<",
    "AAC": b"\xff\xf1\x50\x40\x02",
    "AVI": b"RIFF\x40\x02\0\0AVI LIST",
    "AC-3": b"\x0b\x77\x69\x01",
    "WavPack": b"wvpk\x80\x12",
    "True Audio": b"TTA1\x01\0",
    "RealMedia": b".RMF\0\0",
    "Ogg with Speex": b"OggS\0\2" + bytes(20) + b"\1\x50Speex   ",
    "Core Audio": b"caff\0\1\0\0desc" + bytes(7) + b"\x20" + bytes(8) + b"aac ",
    "WAV with another": b"RIFF\0\1\0\0WAVEfmt \x1e\0\0\0\x55\0",
    "an MPEG transport stream": b"\x47\x40\x11\x10".ljust(188, b"\xff") + b"\x47\x40",
}


@pytest.mark.parametrize("name", ["hum.m4a", "hum.wav", "hum"])
@pytest.mark.parametrize("kind", FOREIGN_BEGINNINGS)
def test_what_libsndfile_does_not_read_is_named_with_a_way_out(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(FOREIGN_BEGINNINGS[kind] + bytes(600))
    said = f"^The file .*{name} is {kind}.*, which libsndfile does not read: convert it"
    with pytest.raises(UserError, match=said) as raised:
        read_audio(path, 22_050)
    assert f"`ffmpeg -i {path} {tmp_path / 'hum'}" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("hum.m4a", bytes(range(128, 250)), "is of a kind (.m4a), which libsndfile does not read"),
        ("hum.wav", bytes(range(128, 250)), "cannot be decoded as audio (Format not recognised)"),
        ("hum.wav", b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS"),
        ("hum.wav", b"\n<!DOCTYPE html><html>", "is a web page"),
        ("hum.mp3", b"<HTML><head>", "is a web page"),
        ("hum.wav", b"PK\x03\x04\x14\0", "is an archive: unpack"),
        ("hum.mid", b"MThd\0\0\0\x06", "is MIDI"),
        ("hum.wav", b"\xef\xbb\xbf\n<HTML lang=de>" + bytes(range(200)), "is a web page or XML"),
        ("hum.wav", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "or XML"),
        ("hum.wav", b'{"detail": "Not authenticated"}', "is a text"),
        ("hum.wav", bytes(5_000), "is blank"),
    ],
)
def test_what_is_no_sound_is_told(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_audio(tmp_path / name, 22_050)
    assert said in str(raised.value) and "\n" not in str(raised.value)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=40), st.sampled_from(["hum.wav", "hum.m4a", "hum"]))
def test_any_bytes_are_told_or_not_known(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    said = kinds.why_undecodable(path)
    assert said is None or said.startswith("is ")
    assert said or name != "hum.m4a"


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("hum.m4a", "`ffmpeg -i hum.m4a hum.wav`"),
        ("my hums/it's.3gp", """`ffmpeg -i 'my hums/it'"'"'s.3gp' 'my hums/it'"'"'s.wav'`"""),
        ("hum.wav", "`ffmpeg -i hum.wav hum.converted.wav`"),
        ("-hum.m4a", "`ffmpeg -i ./-hum.m4a ./-hum.wav`"),
    ],
)
def test_the_command_can_be_pasted(path, command):
    assert kinds.how_to_convert(path) == command
