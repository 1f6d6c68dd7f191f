"""What files that are named as sound, but cannot be decoded, are instead."""

import re

HEAD_BYTES = 64  # of a file, which tell its kind

_CONVERT = "convert it to WAV first, for example with ffmpeg"
_AGAIN = "as a download that failed leaves; download it again"
# How a file of each kind begins, what it is, and how to mend it.
_KINDS: tuple[tuple[bytes, str], ...] = (
    (
        rb"version https://git-lfs",
        "a pointer of Git LFS; fetch the sound itself with `git lfs pull`",
    ),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|head|body)", f"a web page, {_AGAIN}"),
    (rb"(?s).{4}ftyp", f"an MP4 file, as m4a, mp4 and 3gp are; {_CONVERT}"),
    (rb"\x1aE\xdf\xa3", f"a WebM or Matroska file; {_CONVERT}"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", f"a Windows Media file; {_CONVERT}"),
    (rb"#!AMR", f"an AMR file; {_CONVERT}"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", f"an AAC file; {_CONVERT}"),
    (rb"(?s)caff.{24}(aac|opus|ilbc|ima4)", f"a Core Audio file of compressed sound; {_CONVERT}"),
    # By the number of the format: MPEG, FLAC, AAC, Windows Media.
    (
        rb"(?s)RIFF.{4}WAVEfmt .{4}(\x50\0|\x55\0|\xac\xf1|\xff\0|\x06\x16|\x10\x16|[\x60-\x63]\x01)",
        f"a WAV file that holds another format's compressed sound; {_CONVERT}",
    ),
    (
        rb"(?s)OggS.{24}(Speex|\x7fFLAC|\x80theora|fishead)",
        f"an Ogg file of another kind; {_CONVERT}",
    ),
    (rb"wvPK", f"a WavPack file; {_CONVERT}"),
    (rb"MAC ", f"a Monkey's Audio file; {_CONVERT}"),
    (rb"MPCK|MP\+", f"a Musepack file; {_CONVERT}"),
    (rb"DSD |FRM8", f"a DSD file; {_CONVERT}"),
    (rb"MThd", "a MIDI file, which holds notes and no sound; render it to WAV first"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive; unpack it first"),
    (rb"\x00+\Z", f"blank, {_AGAIN}"),
    (rb"[\t\r\n -~]+\Z", f"a text, {_AGAIN}"),
)


def kind_of(head: bytes) -> str | None:
    """What a file with these first HEAD_BYTES is, and how to mend it, as a phrase that follows "is".

    None where that is not known.
    """
    return next((kind for start, kind in _KINDS if re.match(start, head)), None)
