"""What a folder holds: the sounds that are read, and what is left out of it and why.

Nothing visible is passed over in silence. What is hidden is, and what operating systems leave in
folders: `.DS_Store`, the `._*` companions that macOS leaves on foreign disks, `Thumbs.db`,
`desktop.ini`, `__MACOSX`.
"""

import os
import pathlib
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence

from qvae_jax.audio import kinds
from qvae_jax.system.errors import UserError, counted, first_few

_LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "lost+found"}

# What lies in a folder.
SOUNDS = "sounds"
FOREIGN = "foreign"
OTHER_FILES = "other_files"
FOLDERS = "folders"
LINKED_FOLDERS = "linked_folders"
RESULTS = "results"
NO_FILES = "no_files"
UNLISTED = "unlisted"

# What is left out: the noun that is counted, what is the matter with it, and what to do.
LEFT_OUT = {
    FOREIGN: (
        "file",
        "of a kind that libsndfile does not read",
        "convert to WAV first, as with {}",
    ),
    OTHER_FILES: ("file", "not named as sounds are", ""),
    UNLISTED: ("file", "not in the list", ""),
    FOLDERS: ("folder", "of which nothing is read", "move the sounds out of there"),
    LINKED_FOLDERS: ("link", "to folders, which are not followed", "name the folders too"),
    RESULTS: ("folder", "of generated sounds", "name it to have these read"),
    NO_FILES: ("name", "with no file behind", ""),
}


def entries(folder: str | os.PathLike) -> dict[str, list[str]]:
    """The names in a folder, sorted, by what they are: SOUNDS, FOREIGN and so on.

    Sounds are told by their suffix (kinds.READABLE, in either case). What is hidden, and what
    operating systems leave there, is none of it. Raises UserError for a folder that cannot be read.
    """
    found: dict[str, list[str]] = {}
    for name, kind in _kinds(folder):
        found.setdefault(kind, []).append(name)
    return found


def list_audio_files(
    folder: str | os.PathLike,
    outside: str | os.PathLike | None = None,
    holds_results: Callable[[pathlib.Path], bool] = lambda folder: False,
) -> tuple[list[pathlib.Path], dict[str, list[str]]]:
    """The audio files in a folder and in all folders below it, and what else is there.

    Args:
        folder: where to look; sounds are told by their suffix, as entries() does. Links to folders
            are not followed, unless this is one.
        outside: a folder below it that is not looked into, nor mentioned.
        holds_results: whether a folder below it holds what this program has made of sounds. It is
            not looked into either, but mentioned.

    Returns:
        The paths of the sounds, sorted; and what is left out, by the keys of LEFT_OUT: paths
        relative to the folder.

    Raises:
        UserError: the folder does not exist, cannot be read, or holds no audio file.
    """
    folder = pathlib.Path(folder)
    if not os.path.isdir(folder):
        raise UserError(
            f"The folder {folder} does not exist or is not a folder; give the path of a folder "
            "that holds audio files."
        )
    skipped = None if outside is None else os.path.realpath(outside)
    sounds, left_out, waiting = [], {}, [folder]
    while waiting:
        parent = waiting.pop()
        for name, kind in _kinds(parent):
            path = parent / name
            if kind == SOUNDS:
                sounds.append(path)
            elif kind != FOLDERS:
                left_out.setdefault(kind, []).append(str(path.relative_to(folder)))
            elif os.path.realpath(path) == skipped:
                continue
            elif path.is_symlink() or holds_results(path):
                kind = LINKED_FOLDERS if path.is_symlink() else RESULTS
                left_out.setdefault(kind, []).append(str(path.relative_to(folder)))
            else:
                waiting.append(path)
    left_out = {kind: sorted(left_out[kind]) for kind in LEFT_OUT if kind in left_out}
    if not sounds:
        raise UserError(_without_sounds(folder, left_out))
    return sorted(sounds), left_out


def notes(folder: str | os.PathLike, left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """A line to print for each kind of what is left out of a folder; its first names are named."""
    return [f"left out of {folder}: {each}" for each in descriptions(left_out)]


def descriptions(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """How many of each kind are left out, which the first are, and what to do about them."""
    return [_described(kind, names) for kind, names in left_out.items() if names]


def is_ignored(name: str) -> bool:
    """Whether a file or folder is hidden by its name, or is what operating systems leave."""
    return name.startswith(".") or name.lower() in _LITTER


def _kinds(folder: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Each name in a folder that is not ignored, in order, and what it is."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be read ({error.strerror}); check its permissions."
        ) from error
    for name in names:
        if not is_ignored(name):
            yield name, _kind(os.path.join(folder, name))


def _kind(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except PermissionError as error:
        raise UserError(
            f"{path} cannot be looked at ({error.strerror}); check the permissions of its folder."
        ) from error
    except OSError:  # a link that leads nowhere
        return NO_FILES
    if stat.S_ISDIR(mode):
        return FOLDERS
    if not stat.S_ISREG(mode):
        return NO_FILES
    if kinds.is_readable_name(path):
        return SOUNDS
    return FOREIGN if kinds.is_foreign_name(path) else OTHER_FILES


def _described(kind: str, names: Sequence[str]) -> str:
    noun, matter, advice = LEFT_OUT[kind]
    advice = advice.format(kinds.how_to_convert(names[0]))
    return f"{counted(len(names), noun)} {matter} ({first_few(names)})" + (advice and f": {advice}")


def _without_sounds(folder: pathlib.Path, left_out: Mapping[str, Sequence[str]]) -> str:
    held = " and ".join(descriptions(left_out))
    return (
        f"The folder {folder} holds no audio file that can be read"
        + (f", but {held}" if held else "")
        + "; put some there (wav, flac, ogg, opus, mp3, aiff or whatever else libsndfile reads), or "
        "give another folder."
    )
