"""The VimSketch data set's layout: which imitation belongs to which reference sound.

    references/NNN_<key>.wav          reference_file_names.csv         one name a line
    vocal_imitations/NNNNN_<key>.wav  vocal_imitation_file_names.csv   one name a line

An imitation and a reference belong together when their keys, everything after the first
underscore, are equal, as names.py compares names. Any folder laid out so can be read; the two lists
may be left out.
VimSketch: Kim et al., Zenodo record 2596911.
"""

import os
import types
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qvae_jax.audio import listing
from qvae_jax.data import names
from qvae_jax.data.index import Index, Pair
from qvae_jax.system.errors import UserError, counted, first_few

REFERENCES_FOLDER = "references"
IMITATIONS_FOLDER = "vocal_imitations"
REFERENCES_LIST = "reference_file_names.csv"
IMITATIONS_LIST = "vocal_imitation_file_names.csv"

LISTS = {REFERENCES_FOLDER: REFERENCES_LIST, IMITATIONS_FOLDER: IMITATIONS_LIST}

_LAYOUT = f"{REFERENCES_FOLDER}/ and {IMITATIONS_FOLDER}/"


def read_index(dataset_dir: str | os.PathLike) -> Index:
    """Reads which sounds a folder in VimSketch's layout holds.

    Names come from the two lists; where both are absent, from the audio files that lie in the two
    folders, sorted. With lists, files that they do not name are left out; a file counts as named by
    a name that only differs in suffix or in Unicode's form. Lists are UTF-8, with or without a byte
    order mark, with any line ends; blank lines and blanks at a line's end do not count, and quotes
    are part of a name, unless it is only without them that there is such a file.

    Raises:
        UserError: the folder is missing, empty or not in the layout; only one list is there, or one
            is not UTF-8; a listed file is absent; and whatever `index_from_names` refuses.
    """
    directory = Path(dataset_dir)
    contents = read_contents(directory)
    used = contents.names()
    if contents.listed is not None:
        for folder, list_name in LISTS.items():
            present = contents.files(folder)
            _require_files(directory / list_name, used[folder], directory / folder, present)
    return index_from_names(
        directory, used[REFERENCES_FOLDER], used[IMITATIONS_FOLDER], contents.left_out()
    )


@dataclass(frozen=True)
class Contents:
    """What the two lists name, and what lies in the two folders; both by the folder's name.

    Attributes:
        listed: names of each folder's list, as the folder spells them where it holds them; None
            where there are no lists.
        present: what lies in each folder, as listing.entries gives it.
    """

    listed: dict[str, list[str]] | None
    present: dict[str, dict[str, list[str]]]

    def files(self, folder: str) -> set[str]:
        """The names of all visible files in one of the folders."""
        kinds = (listing.SOUNDS, listing.FOREIGN, listing.OTHER_FILES)
        return {name for kind in kinds for name in self.present[folder].get(kind, [])}

    def names(self) -> dict[str, list[str]]:
        """The names that count, by folder: the listed ones, or else all audio files, sorted."""
        if self.listed is not None:
            return self.listed
        return {folder: kinds.get(listing.SOUNDS, []) for folder, kinds in self.present.items()}

    def left_out(self) -> dict[str, list[str]]:
        """What lies in the folders and does not count, as FOLDER/NAME, by the keys of LEFT_OUT."""
        found = defaultdict(list)
        for folder, used in self.names().items():
            is_used = set(used).__contains__
            for kind, present in self.present[folder].items():
                is_file = kind not in (listing.FOLDERS, listing.NO_FILES)
                kind = listing.UNLISTED if self.listed is not None and is_file else kind
                found[kind] += [f"{folder}/{name}" for name in present if not is_used(name)]
        return {kind: found[kind] for kind in listing.LEFT_OUT if found[kind]}


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
    contents = Contents(None, {folder: listing.entries(directory / folder) for folder in LISTS})
    if not list_names:
        return contents
    listed = {
        folder: _as_spelt(_read_names(directory / name), contents.files(folder))
        for folder, name in LISTS.items()
    }
    return replace(contents, listed=listed)


def index_from_names(
    directory: str | os.PathLike,
    reference_names: Sequence[str],
    imitation_names: Sequence[str],
    left_out: Mapping[str, Sequence[str]] = types.MappingProxyType({}),
) -> Index:
    """Joins references and imitations on their keys, without looking at the disk.

    Args:
        directory: the data set's folder, for the index and for messages.
        reference_names: file names of the references.
        imitation_names: file names of the imitations, any number for one reference.
        left_out: what else lies there, for the index and for messages.

    Raises:
        UserError: a name without a key, two references with one key, two imitations of one name, or
            no pair at all.
    """
    directory = Path(directory)
    references: dict[str, str] = {}
    for name in reference_names:
        key = _key(name, directory / REFERENCES_FOLDER)
        if key in references:
            raise UserError(
                f"The references {names.quoted(references[key], name)} of the data folder "
                f"{directory} have the same name after the first underscore"
                f"{names.but_for(references[key], name)}, so their imitations cannot be told apart; "
                "rename or remove one."
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
        raise UserError(_without_pairs(directory, references.values(), imitation_names, left_out))
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
        left_out=left_out,
    )


def _without_pairs(
    directory: Path,
    references: Collection[str],
    imitations: Collection[str],
    left_out: Mapping[str, Sequence[str]],
) -> str:
    held = f"{counted(len(references), 'reference')} and {counted(len(imitations), 'imitation')}"
    if not (references and imitations):
        besides = "".join(f", but {each}" for each in listing.descriptions(left_out)[:1])
        return (
            f"The data folder {directory} holds {held} to read{besides}; it needs sounds in each of "
            f"{_LAYOUT}."
        )
    return (
        f"The data folder {directory} holds {held}, but no two that belong together; name them so "
        "that everything after the first underscore is equal, as in 001_dog.wav and 00001_dog.wav."
    )


def _key(name: str, folder: Path) -> str:
    key = names.pairing_key(name)
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


def _as_spelt(listed: Sequence[str], present: set[str]) -> list[str]:
    """Listed names as the folder spells them, where it holds one that counts as the same."""
    alike = defaultdict(list)
    for name in present:
        alike[names.matching_name(name)].append(name)

    def spelt(name: str) -> str:
        if name in present:
            return name
        # Spreadsheets put names with commas into quotes.
        for written in (name, name.strip('"').replace('""', '"')):
            if len(found := alike[names.matching_name(written)]) == 1:
                return found[0]
        return name

    return [spelt(name) for name in listed]


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
            f"The list {list_path} names {len(absent)} of {counted(len(names), 'file')} that are not in "
            f"{folder} ({first_few(absent)}); restore the files or take the names off the list."
        )


def _require_unique(imitation_names: Sequence[str], directory: Path) -> None:
    repeated = [name for name, count in Counter(imitation_names).items() if count > 1]
    if repeated:
        raise UserError(
            f"The list {directory / IMITATIONS_LIST} names {len(repeated)} of its files more than "
            f"once ({first_few(repeated)}); keep one line of each."
        )
    alike = names.first_alike(imitation_names)
    if alike is not None:
        raise UserError(
            f"The imitations {names.quoted(*alike)} of the data folder {directory} have the same "
            f"name{names.but_for(*alike)}, so that one sound would count twice; rename or remove one."
        )
