"""Cross-validation folds from CSV files, as published with Greif et al. (2024).

    FOLDS/fold0/train.csv   imitations to learn from
    FOLDS/fold0/val.csv     other imitations of the same sounds
    FOLDS/fold0/test.csv    all imitations of the sounds that are not learnt from
    FOLDS/meta.csv          the sound that each imitation belongs to; may be left out

Each has a header and a column `filename`, separated by tabs, commas or semicolons. A folder before a name does
not matter, nor does a line that is repeated; names are compared as names.py says. A column `positive_pair`, in the fold's file or in
meta.csv, holds the reference's name; without it, the imitation's name tells the reference.
"""

import csv
import io
import pathlib
from dataclasses import dataclass

from qvae_jax.data.index import Index, Pair
from qvae_jax.data.names import matching_name, pairing_key
from qvae_jax.data.splits import Split
from qvae_jax.system.errors import UserError, counted, first_few

META_FILE = "meta.csv"
FILES = {"train": "train.csv", "interpolation": "val.csv", "extrapolation": "test.csv"}
NAME_COLUMN, PAIR_COLUMN = "filename", "positive_pair"


@dataclass(frozen=True)
class Line:
    """An imitation's file name, and its reference's, or None where the file does not say."""

    imitation: str
    reference: str | None


def split_by_fold(index: Index, folds_dir: pathlib.Path, fold: int) -> tuple[Split, list[str]]:
    """The split of one fold, and the names in it that the data set has no pair for.

    Args:
        index: the data set.
        folds_dir: the folder that holds fold0, fold1 and so on.
        fold: the number of one of them.

    Raises:
        UserError: a file is missing, damaged, or contradicts the data set's pairs; an imitation is
            in two parts; or a sound of the test part is also learnt from.
    """
    folder = pathlib.Path(folds_dir) / f"fold{fold}"
    if not folder.is_dir():
        raise UserError(
            f"the fold {folder} does not exist: set data.folds_dir to the folder that holds "
            "fold0, fold1 and so on, and data.fold to one of their numbers."
        )
    meta = _references(pathlib.Path(folds_dir) / META_FILE)
    pairs = {matching_name(pair.imitation): pair for pair in index.pairs}
    parts: dict[str, tuple[Pair, ...]] = {}
    absent = []
    for part, name in FILES.items():
        path = folder / name
        found = []
        for line in read_lines(path):
            name = matching_name(line.imitation)
            if name not in pairs:
                absent.append(line.imitation)
                continue
            pair = pairs[name]
            _require_same_sound(path, pair, line.reference or meta.get(name))
            found.append(pair)
        parts[part] = tuple(found)
    sounds = {part: dict.fromkeys(pair.key for pair in found) for part, found in parts.items()}
    learnt, held_out = parts["train"], parts["interpolation"]
    _refuse_shared(folder, "imitation", ("train", "interpolation"), learnt, set(held_out))
    for part in ("train", "interpolation"):
        unseen = sounds["extrapolation"]
        _refuse_shared(folder, "sound", (part, "extrapolation"), sounds[part], unseen)
    split = Split(
        **parts,
        train_sounds=tuple(sounds["train"] | sounds["interpolation"]),
        extrapolation_sounds=tuple(sounds["extrapolation"]),
    )
    return split, absent


def read_lines(path: pathlib.Path) -> list[Line]:
    """The imitations that a file names, in its order, each once and without its folder.

    Raises UserError where the file is missing, not UTF-8 or no table, has no column `filename`, or
    names one imitation with two references.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8."
        ) from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): a fold needs {', '.join(FILES.values())}."
        ) from error
    # The header tells, because names may hold commas; some countries' Excel writes semicolons.
    header = text.partition("\n")[0]
    separator = next(filter(header.__contains__, "\t;"), ",")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise UserError(f"{path} is not readable as a table ({error}): restore it.") from error
    header = rows[0] if rows else []
    if NAME_COLUMN not in header:
        raise UserError(
            f"{path} has no column {NAME_COLUMN!r}: give a file whose first line names its "
            "columns, separated by tabs, commas or semicolons."
        )
    lines: dict[str, Line] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        if len(row) != len(header):
            raise UserError(
                f"{path} has {counted(len(row), 'value')} in line {number} instead of {len(header)}: "
                "quote names that hold the separator."
            )
        values = dict(zip(header, row))
        name = _without_folder(values[NAME_COLUMN])
        if not name:
            raise UserError(f"{path} has no file name in line {number}: restore it.")
        line = Line(name, _without_folder(values.get(PAIR_COLUMN, "")) or None)
        known = lines.setdefault(matching_name(name), line)
        if matching_name(known.reference or "") != matching_name(line.reference or ""):
            raise UserError(
                f"{path} names {name!r} twice, with the references "
                f"{known.reference!r} and {line.reference!r}: keep one of them."
            )
    return list(lines.values())


def _references(meta: pathlib.Path) -> dict[str, str | None]:
    """Each imitation's reference, by its matching_name; empty where the file is absent."""
    if not meta.is_file():
        return {}
    return {matching_name(line.imitation): line.reference for line in read_lines(meta)}


def _require_same_sound(path: pathlib.Path, pair: Pair, told: str | None) -> None:
    # Published names of references may lack the number before the first underscore.
    if told is not None and pair.key not in (matching_name(told), pairing_key(told)):
        raise UserError(
            f"{path} belongs to another data set: it pairs {pair.imitation!r} with {told!r}, and "
            f"the data folder with {pair.reference!r}."
        )


def _refuse_shared(folder: pathlib.Path, what: str, parts: tuple[str, str], one, other) -> None:
    """Raises UserError where two parts of a fold have something in common."""
    shared = [entry for entry in one if entry in other]
    if shared:
        names = [entry.imitation if isinstance(entry, Pair) else entry for entry in shared]
        first, second = (FILES[part] for part in parts)
        raise UserError(
            f"{folder} is not a fold to measure by: {first} and {second} share "
            f"{counted(len(names), what)} ({first_few(names)}); take them out of one."
        )


def _without_folder(name: str) -> str:
    return name.rpartition("/")[2].strip()
