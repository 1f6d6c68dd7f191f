"""The layout of QVIM-DEV, the development set of the QVIM challenge (AES AIMLA 2025).

    DEV Dataset.csv         a line of its own, then Label, Class, Items, Query 1, Query 2, Query 3
    Items/CLASS/NAME        the sounds
    Queries/CLASS/NAME      their imitations

A line of the table names a sound and up to three imitations of it; a sound may have several lines,
and an imitation that is listed twice counts once. Names are compared as names.py says.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from qvae_jax.audio import listing
from qvae_jax.data.index import Index, Pair
from qvae_jax.data.names import matching_name
from qvae_jax.system.errors import UserError, counted

TABLE = "DEV Dataset.csv"
ITEMS_FOLDER, QUERIES_FOLDER = "Items", "Queries"
CLASS_COLUMN, ITEM_COLUMN = "Class", "Items"
QUERY_COLUMNS = ("Query 1", "Query 2", "Query 3")


class Line(NamedTuple):
    """A line of the table: the sound's class, its file's name and those of its imitations."""

    sound_class: str
    item: str
    queries: tuple[str, ...]


def is_in(directory: str | os.PathLike) -> bool:
    """Whether a folder has this layout."""
    return os.path.isfile(Path(directory) / TABLE)


def read_index(dataset_dir: str | os.PathLike) -> Index:
    """What a folder in this layout holds; the key of a sound is CLASS/NAME without a suffix.

    Names in the index are CLASS/NAME, as the disk spells them. A listed file that is not there, and
    a file that is not listed, is left out and named in the index's notes.

    Raises UserError where a folder is missing or the table is not readable, where it names one
    imitation with two sounds, and where no pair is left.
    """
    directory = Path(dataset_dir)
    present = {folder: _present(directory / folder) for folder in (ITEMS_FOLDER, QUERIES_FOLDER)}
    used = {folder: set() for folder in present}
    references, classes, found = {}, {}, {}
    absent: list[str] = []

    def spelt(folder: str, line: Line, name: str) -> str | None:
        name = f"{line.sound_class}/{name}"
        on_disk = present[folder].get(matching_name(name))
        if on_disk is None:
            absent.append(f"{folder}/{name}")
        else:
            used[folder].add(on_disk)
        return on_disk

    for line in read_lines(directory / TABLE):
        item = spelt(ITEMS_FOLDER, line, line.item)
        queries = [spelt(QUERIES_FOLDER, line, query) for query in line.queries]
        if item is None:
            continue
        key = matching_name(item)
        references[key], classes[key] = item, line.sound_class
        for query in filter(None, queries):
            known = found.setdefault(query, Pair(query, item, key))
            if known.key != key:
                raise UserError(
                    f"{directory / TABLE} names {query!r} as an imitation of {known.reference!r} "
                    f"and of {item!r}: keep one of them."
                )
    if not found:
        raise UserError(
            f"The data folder {directory} holds no imitation with its sound: {TABLE} names "
            f"{counted(len(absent), 'file')} that {'is' if len(absent) == 1 else 'are'} not there."
        )
    imitated = {pair.key for pair in found.values()}
    unlisted = [
        f"{folder}/{name}"
        for folder, names in present.items()
        for name in names.values()
        if name not in used[folder]
    ]
    left_out = {listing.NO_FILES: list(dict.fromkeys(absent)), listing.UNLISTED: unlisted}
    return Index(
        directory=directory,
        imitations_dir=directory / QUERIES_FOLDER,
        references_dir=directory / ITEMS_FOLDER,
        references=references,
        imitations=tuple(found),
        pairs=tuple(found.values()),
        unpaired_imitations=(),
        unused_references=tuple(name for key, name in references.items() if key not in imitated),
        left_out={kind: names for kind, names in left_out.items() if names},
        classes=classes,
    )


def read_lines(path: Path) -> list[Line]:
    """The table's lines; UserError where it is absent, not UTF-8, or lacks a column or a name."""
    try:
        text = path.read_text("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not readable as a table ({error}): restore it.") from error
    wanted = (CLASS_COLUMN, ITEM_COLUMN, *QUERY_COLUMNS)
    # The header is the second line; a table that was saved without the first has it above.
    headers = (number for number, row in enumerate(rows[:2]) if set(wanted) <= set(_stripped(row)))
    number = next(headers, None)
    if number is None:
        raise UserError(
            f"{path} has no line of column names ({', '.join(wanted)}) at its beginning: restore it."
        )
    header = _stripped(rows[number])
    return list(_lines(path, header, rows[number + 1 :], number + 2))


def find_reference(path: Path) -> Path | None:
    """The sound that a file in such a data set imitates; None of any other file."""
    for place in (path.parent.resolve() / path.name, path.resolve()):
        queries_dir = place.parent.parent
        if queries_dir.name == QUERIES_FOLDER and is_in(queries_dir.parent):
            try:
                index = read_index(queries_dir.parent)
            except UserError:  # a data set that is damaged says nothing
                return None
            name = matching_name(f"{place.parent.name}/{place.name}")
            pairs = (pair for pair in index.pairs if matching_name(pair.imitation) == name)
            return next((index.reference_path(pair) for pair in pairs), None)
    return None


def _lines(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], first: int
) -> Iterator[Line]:
    for number, row in enumerate(rows, start=first):
        values = dict(zip(header, _stripped(row)))
        if not any(values.values()):
            continue
        sound_class, item = (values.get(column, "") for column in (CLASS_COLUMN, ITEM_COLUMN))
        if not sound_class or not item:
            raise UserError(f"{path} names no class or no sound in line {number}: restore it.")
        queries = (values.get(column, "") for column in QUERY_COLUMNS)
        yield Line(sound_class, item, tuple(filter(None, queries)))


def _stripped(row: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in row]


def _present(folder: Path) -> dict[str, str]:
    """The sounds below a folder, as CLASS/NAME, by what counts of these names."""
    paths, _ = listing.list_audio_files(folder)
    names = (path.relative_to(folder).as_posix() for path in paths)
    return {matching_name(name): name for name in names}
