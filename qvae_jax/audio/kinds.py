"""Kinds of files: which are read as sound, which hold sound that libsndfile does not decode."""

import os
import pathlib
import re
import shlex

# What libsndfile decodes, but for suffixes that mostly mean something else, such as .mat and .raw.
READABLE = frozenset(
    ".wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .mp3 .mp2 .mp1 .aif .aiff .aifc .au .snd .caf "
    ".nist .sph .voc .8svx .ircam .avr .paf .pvf .sds .wve".split()
)
# What phones, browsers and programs record instead, pictures in motion among it.
FOREIGN = frozenset(
    ".m4a .m4b .m4r .mp4 .m4v .mov .qt .3gp .3gpp .3g2 .aac .adts .alac .amr .awb .webm .weba .mka "
    ".mkv .wma .wmv .asf .avi .flv .mpg .mpeg .ogv .ogx .spx .ac3 .eac3 .dts .ape .mpc .tak .tta "
    ".wv .dsf .dff .ra .rm .qcp .gsm .oma .aa .aax".split()
)
_AUDIO = READABLE | FOREIGN

_NUM_BYTES = 512  # at a file's beginning; enough for all of the patterns below
_KINDS = {
    rb".{4}(?:ftyp|moov|mdat|wide|free|skip)": "MPEG-4 or QuickTime, as m4a, mp4, mov and 3gp are",
    rb"\x1a\x45\xdf\xa3": "Matroska, as webm, mka and mkv are",
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media, as wma is",
    rb"#!AMR": "AMR",
    rb"\xff[\xf0\xf1\xf8\xf9]": "AAC",
    rb"RIFF.{4}AVI ": "AVI",
    rb"\x0b\x77": "AC-3",
    rb"MAC ": "Monkey's Audio",
    rb"wvpk": "WavPack",
    rb"TTA1": "True Audio",
    rb"MP\+|MPCK": "Musepack",
    rb"DSD |FRM8": "DSD",
    rb"\.ra\xfd|\.RMF": "RealMedia",
    rb"FLV\x01": "Flash video",
    rb"\x47.{187}\x47": "an MPEG transport stream",
    rb"OggS.{24}.{0,8}(?:Speex|\x7fFLAC|\x80theora|fishead)": "Ogg with Speex, FLAC or video in it",
    rb"caff.{24}(?:aac|opus|ilbc|ima4)": "Core Audio with compressed sound in it",
    # By the number of the format: MPEG, FLAC, AAC, Windows Media.
    rb"RIFF.{4}WAVEfmt .{4}(?:\x50\0|\x55\0|\xac\xf1|\xff\0|\x06\x16|\x10\x16|[\x60-\x63]\x01)": (
        "WAV with another format's compressed sound in it"
    ),
}
_NO_SOUND = {
    rb"version https://git-lfs": (
        "is a pointer of Git LFS instead of the sound: fetch the sound with `git lfs pull`"
    ),
    rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml)": (
        "is a web page or XML instead of a sound: download the sound again"
    ),
    rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!": "is an archive: unpack it first",
    rb"MThd": "is MIDI, which holds notes instead of sound: render it to WAV first",
    rb"\0+\Z": "is blank, as a download that failed leaves it: download it again",
    rb"[\t\r\n -~]+\Z": (
        "is a text instead of a sound, as a download that failed leaves it: download it again"
    ),
}


def is_readable_name(name: str) -> bool:
    """Whether a file's name ends as those of sounds do that are read, in either case."""
    return suffix_of(name) in READABLE


def is_foreign_name(name: str) -> bool:
    """Whether a file's name ends as those of sounds do that libsndfile does not decode."""
    return suffix_of(name) in FOREIGN


def suffix_of(name: str) -> str:
    """A name's end from its last dot, in small letters; of `.wav` too, empty where there is none."""
    return "." + name.rpartition(".")[2].lower() if "." in name else ""


def without_audio_suffix(name: str) -> str:
    """A name without its last suffix, where that is one of sounds, read or not."""
    suffix = suffix_of(name)
    return name[: -len(suffix)] if suffix in _AUDIO else name


def how_to_convert(path: str | os.PathLike) -> str:
    """A command that makes a WAV beside a file, for a message."""
    path = pathlib.Path(path)
    target = path.with_suffix(".converted.wav" if suffix_of(path.name) == ".wav" else ".wav")
    source, target = (
        f"./{each}" if str(each).startswith("-") else str(each) for each in (path, target)
    )
    return f"`ffmpeg -i {shlex.quote(source)} {shlex.quote(target)}`"


def why_undecodable(path: str | os.PathLike) -> str | None:
    """What a file is that libsndfile does not decode, as a sentence's end that follows its name.

    Told by its first bytes, or else by its suffix. None where neither tells.
    Raises OSError where it cannot be read.
    """
    with open(path, "rb") as file:
        beginning = file.read(_NUM_BYTES)
    for pattern, fault in _NO_SOUND.items():
        if re.match(pattern, beginning, re.DOTALL | re.IGNORECASE):
            return fault
    kinds = (kind for p, kind in _KINDS.items() if re.match(p, beginning, re.DOTALL))
    suffix = suffix_of(os.path.basename(path))
    kind = next(kinds, f"of a kind ({suffix})" if suffix in FOREIGN else None)
    if kind is None:
        return None
    return f"is {kind}, which libsndfile does not read: convert it, as with {how_to_convert(path)}"
