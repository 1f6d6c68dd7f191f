"""Files that are named as sound and are none: the message says what they are."""

import pytest

from qvae_jax.audio.files import read_audio
from qvae_jax.system.errors import UserError


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS"),
        (b"<!DOCTYPE html><html><title>404 Not Found</title></html>", "a web page"),
        (b"\xef\xbb\xbf\n<HTML lang=de>" + bytes(range(200)), "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
        (b'{"detail": "Not authenticated"}', "a text"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42" + bytes(900), "an MP4 file"),
        (b"\0\0\0\x18ftyp3gp4" + bytes(500), "an MP4 file"),
        (b"\x1aE\xdf\xa3" + bytes(900), "a WebM or Matroska file"),
        (bytes.fromhex("3026B2758E66CF11") + bytes(500), "a Windows Media file"),
        (b"#!AMR\n" + bytes(500), "an AMR file"),
        (b"\xff\xf1\x50\x80" + bytes(500), "an AAC file"),
        (b"caff\0\1\0\0desc" + bytes(7) + b"\x20" + bytes(8) + b"aac " + bytes(99), "Core Audio"),
        (b"RIFF\0\1\0\0WAVEfmt \x1e\0\0\0\x55\0" + bytes(99), "a WAV file that holds another"),
        (b"OggS\0\2" + bytes(20) + b"\1\x50Speex   " + bytes(99), "an Ogg file of another kind"),
        (b"wvPK" + bytes(500), "a WavPack file"),
        (b"MThd\0\0\0\6" + bytes(500), "a MIDI file"),
        (b"PK\x03\x04" + bytes(300), "an archive"),
        (b"\x1f\x8b\x08" + bytes(300), "an archive"),
        (bytes(5_000), "blank"),
        (bytes(range(128, 250)) * 9, "Format not recognised"),
    ],
)
def test_what_is_no_sound_is_named(tmp_path, content, said):
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"x.wav cannot be decoded as audio.*{said}") as raised:
        read_audio(path, 16_000)
    message = str(raised.value)
    assert message.endswith(".") and "\n" not in message and ". " not in message
