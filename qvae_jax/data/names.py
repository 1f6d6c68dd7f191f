"""When two names of files count as one.

Two spellings of a name that look the same are one name: systems write `ü` as one character (NFC) or
as a letter and a dot pair (NFD), and copying from one system to another changes that. Suffixes do
not count either, so a sound may be in another format than what is named with it. Upper and lower
case do count: on most disks `Dog` and `dog` are two files.
"""

import unicodedata
from collections.abc import Iterable

from qvae_jax.audio.kinds import without_audio_suffix


def matching_name(name: str) -> str:
    """What of a file's name counts where names are compared: in NFC, without an audio suffix."""
    return without_audio_suffix(normal(name))


def normal(name: str) -> str:
    """A name in the one of its spellings that Unicode calls NFC."""
    return unicodedata.normalize("NFC", name)


def pairing_key(name: str) -> str:
    """What an imitation's and its reference's names have in common; empty where it is missing.

    Of matching_name, everything after the first underscore.
    """
    return matching_name(name).partition("_")[2]


def first_alike(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that count as one, in the names' order; None where no two do."""
    seen: dict[str, str] = {}
    for name in names:
        match = matching_name(name)
        if match in seen:
            return seen[match], name
        seen[match] = name
    return None


def quoted(*names: str) -> str:
    """Names for a message, joined by "and"; escaped where one is not in NFC, which does not show."""
    is_plain = all(name == normal(name) for name in names)
    return " and ".join(map(repr if is_plain else ascii, names))


def but_for(one: str, other: str) -> str:
    """What to add to "the same name" where two names that count as one are written differently."""
    keys = {name.partition("_")[2] for name in (one, other)}
    return "" if len(keys) == 1 else " but for its suffix or Unicode form"
