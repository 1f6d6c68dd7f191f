"""The VimSketch data set's layout: which imitation belongs to which reference sound.

    references/NNN_<key>.wav          reference_file_names.csv         one name a line
    vocal_imitations/NNNNN_<key>.wav  vocal_imitation_file_names.csv   one name a line

An imitation and a reference belong together when their keys, everything after the first
underscore, are equal. Any folder laid out so can be read; the two lists may be left out.
VimSketch: Kim et al., Zenodo record 2596911.
"""

import functools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qvae_jax.audio.files import is_audio_file_name
from qvae_jax.data.index import Index, Pair
from qvae_jax.system.errors import UserError, first_few

REFERENCES_FOLDER = "references"
IMITATIONS_FOLDER = "vocal_imitations"
REFERENCES_LIST = "reference_file_names.csv"
IMITATIONS_LIST = "vocal_imitation_file_names.csv"

LISTS = {REFERENCES_FOLDER: REFERENCES_LIST, IMITATIONS_FOLDER: IMITATIONS_LIST}

_LAYOUT = f"{REFERENCES_FOLDER}/ and {IMITATIONS_FOLDER}/"


def read_index(dataset_dir: str | os.PathLike) -> Index:
    """Reads which sounds a folder in VimSketch's layout holds.

    Names come from the two lists; where both are absent, from the audio files that lie in the two
    folders, sorted. With lists, files that they do not name are left out. Lists are UTF-8, with or
    without a byte order mark, with any line ends; blank lines and blanks at a line's end do not
    count, and quotes are part of a name.

    Raises:
        UserError: the folder is missing, empty or not in the layout; only one list is there, or one
            is not UTF-8; a listed file is absent; and whatever `index_from_names` refuses.
    """
    directory = Path(dataset_dir)
    contents = read_contents(directory)
    names = contents.names()
    if contents.listed is not None:
        for folder, list_name in LISTS.items():
            present = contents.present[folder]
            _require_files(directory / list_name, names[folder], directory / folder, present)
    return index_from_names(directory, names[REFERENCES_FOLDER], names[IMITATIONS_FOLDER])


@dataclass(frozen=True)
class Contents:
    """What the two lists name, and what lies in the two folders; both by the folder's name.

    listed is None where there are no lists.
    """

    listed: dict[str, list[str]] | None
    present: dict[str, set[str]]

    def names(self) -> dict[str, list[str]]:
        """The names that count, by folder: the listed ones, or else all audio files, sorted."""
        if self.listed is not None:
            return self.listed
        return {
            folder: sorted(filter(is_audio_file_name, present))
            for folder, present in self.present.items()
        }


def read_contents(dataset_dir: str | os.PathLike) -> Contents:
    """Reads the lists and folders of a data set, whether they agree or not.

    Raises:
        UserError: the folder is missing, empty or not in the layout; only one list is there, or one
            is not UTF-8.
    """
    directory = Path(dataset_dir)
    _require_layout(directory)
    list_names = [name for name in LISTS.values() if os.path.isfile(directory / name)]
    if len(list_names) == 1:
        (absent,) = set(LISTS.values()) - set(list_names)
        raise UserError(
            f"The data folder {directory} holds the list {list_names[0]} but not {absent}; "
            "restore it, or delete the other too, so that all files in the folders are used."
        )
    return Contents(
        listed={folder: _read_names(directory / name) for folder, name in LISTS.items()}
        if list_names
        else None,
        present={folder: _file_names(directory / folder) for folder in LISTS},
    )


def index_from_names(
    directory: str | os.PathLike, reference_names: Sequence[str], imitation_names: Sequence[str]
) -> Index:
    """Joins references and imitations on their keys, without looking at the disk.

    Args:
        directory: the data set's folder, for the index and for messages.
        reference_names: file names of the references.
        imitation_names: file names of the imitations, any number for one reference.

    Raises:
        UserError: a name without a key, two references with one key, an imitation named twice, or
            no pair at all.
    """
    directory = Path(directory)
    references: dict[str, str] = {}
    for name in reference_names:
        key = _key(name, directory / REFERENCES_FOLDER)
        if key in references:
            raise UserError(
                f"The references {references[key]!r} and {name!r} of the data folder {directory} "
                "have the same name after the first underscore, so their imitations cannot be "
                "told apart; rename or remove one."
            )
        references[key] = name
    _require_unique(imitation_names, directory)
    keys = [_key(name, directory / IMITATIONS_FOLDER) for name in imitation_names]
    pairs = tuple(
        Pair(imitation=name, reference=references[key], key=key)
        for name, key in zip(imitation_names, keys, strict=True)
        if key in references
    )
    if not pairs:
        raise UserError(
            f"None of the {len(imitation_names)} imitations in the data folder {directory} belongs "
            f"to one of its {len(references)} references; name them so that everything after the "
            "first underscore is equal, as in 001_dog.wav and 00001_dog.wav."
        )
    imitated = set(keys)
    return Index(
        directory=directory,
        imitations_dir=directory / IMITATIONS_FOLDER,
        references_dir=directory / REFERENCES_FOLDER,
        references=references,
        imitations=tuple(imitation_names),
        pairs=pairs,
        unpaired_imitations=tuple(
            name for name, key in zip(imitation_names, keys, strict=True) if key not in references
        ),
        unused_references=tuple(name for key, name in references.items() if key not in imitated),
    )


def pairing_key(name: str) -> str:
    """What an imitation's and its reference's names have in common; empty where it is missing."""
    return name.partition("_")[2]


def find_references(
    paths: Sequence[Path], dataset_dir: str | os.PathLike | None = None
) -> list[Path | None]:
    """The sound that each of some audio files imitates, None where no data set says so.

    It is looked for in the data set that the file lies in, then in dataset_dir, where a file of
    the same name is that imitation. Neither has to be a whole data set.
    """
    references_in = functools.cache(_references_by_key)
    found = []
    for path in paths:
        folder, reference = path.resolve().parent, None
        if folder.name == IMITATIONS_FOLDER:
            reference = references_in(folder.parent).get(pairing_key(path.name))
        # Of another name it would only share its key with imitations there, as any file may.
        same_name = dataset_dir and (Path(dataset_dir) / IMITATIONS_FOLDER / path.name).is_file()
        if reference is None and same_name:
            reference = references_in(Path(dataset_dir)).get(pairing_key(path.name))
        found.append(reference)
    return found


def _references_by_key(directory: Path) -> dict[str, Path]:
    """The references that lie there; of several with one key the first by name."""
    found = sorted((directory / REFERENCES_FOLDER).glob("*_*"), reverse=True)
    return {pairing_key(path.name): path for path in found if pairing_key(path.name)}


def _key(name: str, folder: Path) -> str:
    key = pairing_key(name)
    if not key:
        raise UserError(
            f"The file name {name!r} in {folder} has nothing after a first underscore to pair it "
            "by; name it as in 001_dog.wav, or remove it."
        )
    return key


def _read_names(path: Path) -> list[str]:
    try:
        # Not splitlines: it would also break lines at characters that may stand in a name.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"The list {path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    except OSError as error:
        raise UserError(
            f"The list {path} cannot be read ({error.strerror}); check its permissions."
        ) from error
    names = [line.rstrip() for line in lines]
    return [name for name in names if name]


def _file_names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be read ({error.strerror}); check its permissions."
        ) from error


def _has_layout(directory: Path) -> bool:
    return all(
        os.path.isdir(directory / folder) for folder in (REFERENCES_FOLDER, IMITATIONS_FOLDER)
    )


def _require_layout(directory: Path) -> None:
    if not os.path.isdir(directory):
        raise UserError(
            f"The data folder {directory} does not exist or is not a folder; give the path of the "
            f"folder that holds {_LAYOUT}."
        )
    if _has_layout(directory):
        return
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise UserError(
            f"The data folder {directory} cannot be read ({error.strerror}); check its permissions."
        ) from error
    if not entries:
        raise UserError(
            f"The data folder {directory} is empty; download the data set into it, or give the "
            f"path of the folder that holds {_LAYOUT}."
        )
    nested = [entry for entry in entries if _has_layout(entry)]
    hint = f"give {nested[0]} instead" if nested else "give the path of the folder that does"
    raise UserError(f"The data folder {directory} does not hold {_LAYOUT}; {hint}.")


def _require_files(list_path: Path, names: Sequence[str], folder: Path, present: set[str]) -> None:
    absent = [name for name in names if name not in present]
    if absent:
        raise UserError(
            f"The list {list_path} names {len(absent)} of {len(names)} files that are not in "
            f"{folder} ({first_few(absent)}); restore the files or take the names off the list."
        )


def _require_unique(imitation_names: Sequence[str], directory: Path) -> None:
    repeated = [name for name, count in Counter(imitation_names).items() if count > 1]
    if repeated:
        raise UserError(
            f"The list {directory / IMITATIONS_LIST} names {len(repeated)} of its files more than "
            f"once ({first_few(repeated)}); keep one line of each."
        )
