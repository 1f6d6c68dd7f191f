"""Which files were in which part of a run's split, kept in the run's folder.

What is recorded counts: a run is measured, shown and continued on these pairs, whatever has been
added to the data set since. Names are compared as names.py says, so a data set may be converted to
another format, or copied to another system.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from qvae_jax.data.batches import Examples
from qvae_jax.data.catalogue import Catalogue
from qvae_jax.data.index import Index, Pair
from qvae_jax.data.library import Library, LibraryRow, row_name
from qvae_jax.data.names import matching_name
from qvae_jax.data.splits import PARTS
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, counted

SPLIT_FILE = "split.json"


@dataclasses.dataclass(frozen=True)
class SplitRecord:
    """A run's split by names.

    Attributes:
        path: the file that holds it, for messages.
        parts: for each part, the reference's name by the imitation's, in the split's order.
        left_out: why files were left out, by their names; no part holds them.
        sounds: for each part, the numbers of a library's windows by their file, in order.
    """

    path: pathlib.Path
    parts: dict[str, dict[str, str]]
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    sounds: dict[str, dict[str, list[int]]] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The parts that hold anything, in the order of PARTS."""
        return [part for part in PARTS if self.parts.get(part) or self.sounds.get(part)]

    def rows(self, part: str, catalogue: Catalogue) -> tuple[Pair, ...]:
        """The pairs and windows of one part, in order, as data set and library have them.

        Raises UserError as pairs() and windows() do.
        """
        return self.pairs(part, catalogue.index) + self.windows(part, catalogue.library)

    def windows(self, part: str, library: Library | None) -> tuple[LibraryRow, ...]:
        """The windows of one part, in order; UserError naming a file that is gone."""
        recorded = self.sounds.get(part, {})
        if recorded and library is None:
            raise UserError(
                f"{self.path} records {counted(len(recorded), 'file')} of a sound library in {part}: "
                "name its folder in data.sounds_dir."
            )
        present = {matching_name(file): file for file in library.files} if library else {}
        self._require_no(
            f"{file!r} is no longer in {part}"
            for file in recorded
            if matching_name(file) not in present
        )
        return tuple(
            library.row(present[matching_name(file)], number)
            for file, numbers in recorded.items()
            for number in numbers
        )

    def pairs(self, part: str, index: Index | None) -> tuple[Pair, ...]:
        """The pairs of one part, in order, as the data set has them.

        Raises UserError naming a file that is gone, or an imitation that now has another reference.
        """
        if index is None:
            self._require_no(
                f"{name!r} is no longer in {part}" for name in self.parts.get(part, ())
            )
            return ()
        in_index = {matching_name(pair.imitation): pair for pair in index.pairs}
        imitations = set(map(matching_name, index.imitations))
        references = set(map(matching_name, index.references.values()))
        faults, pairs = [], []
        for imitation, reference in self.parts.get(part, {}).items():
            pair = in_index.get(matching_name(imitation))
            if pair is not None and matching_name(pair.reference) == matching_name(reference):
                pairs.append(pair)
            elif matching_name(imitation) not in imitations:
                faults.append(f"{imitation!r} is no longer in {part}")
            elif matching_name(reference) not in references:
                faults.append(f"{reference!r}, the reference of {imitation!r} in {part}, is gone")
            else:
                faults.append(
                    f"{imitation!r} in {part} has the reference {pair.reference!r} instead of "
                    f"{reference!r}"
                )
        self._require_no(faults)
        return tuple(pairs)

    def require_all(self, parts: Mapping[str, Examples]) -> None:
        """Raises UserError naming a recorded pair that these parts lack."""
        found = {
            part: {matching_name(pair.imitation) for pair in examples.pairs}
            for part, examples in parts.items()
        }
        self._require_no(
            f"{name!r} is no longer in {part}"
            for part in self.names
            for name in self._row_names(part)
            if matching_name(name) not in found.get(part, ())
        )

    def added_since(self, index: Index) -> list[str]:
        """The imitations with a reference that are in no part and were not left out."""
        known = {matching_name(imitation) for part in self.parts.values() for imitation in part}
        left_out = set(map(matching_name, self.left_out))
        return [
            pair.imitation
            for pair in index.pairs
            if matching_name(pair.imitation) not in known
            and left_out.isdisjoint(map(matching_name, (pair.imitation, pair.reference)))
        ]

    def files_added_since(self, library: Library) -> list[str]:
        """The files of a library that are in no part and were not left out."""
        known = {matching_name(file) for files in self.sounds.values() for file in files}
        known |= set(map(matching_name, self.left_out))
        return [file for file in library.files if matching_name(file) not in known]

    def _row_names(self, part: str) -> list[str]:
        windows = self.sounds.get(part, {}).items()
        names = [row_name(file, number) for file, numbers in windows for number in numbers]
        return [*self.parts.get(part, {}), *names]

    def _require_no(self, faults) -> None:
        faults = list(faults)
        if faults:
            more = f" and {counted(len(faults) - 1, 'more difference')}" if len(faults) > 1 else ""
            raise UserError(
                f"the data set gives another split than {self.path} records: {faults[0]}{more}; "
                "restore the data set, or name another workdir."
            )


def record_split(
    workdir: pathlib.Path, parts: Mapping[str, Examples], left_out: Mapping[str, str]
) -> None:
    """Writes the pairs of each part, or the windows of each file, and why files were left out."""
    names = _names({part: examples.pairs for part, examples in parts.items()})
    sounds = _windows({part: examples.pairs for part, examples in parts.items()})
    record = {"parts": names, "left_out": dict(sorted(left_out.items()))}
    files.write_json(workdir / SPLIT_FILE, record | ({"sounds": sounds} if sounds else {}))


def recorded_split(workdir: pathlib.Path) -> SplitRecord | None:
    """The split that a run began with; None for a run of an earlier version, which is said.

    Raises UserError for a record that is damaged.
    """
    path = workdir / SPLIT_FILE
    if not path.is_file():
        print(
            f"{workdir} holds no {SPLIT_FILE}, as runs of an earlier version do not: its split is "
            "worked out from the data set as it is now."
        )
        return None
    record = files.read_json(path)
    if not _is_record(record):
        raise UserError(f"{path} is damaged: restore it, or name another workdir.")
    return SplitRecord(path, record["parts"], record["left_out"], record.get("sounds", {}))


def is_in(workdir: pathlib.Path) -> bool:
    """Whether a folder holds the record of a run's split."""
    return _is_record(files.json_or_none(workdir / SPLIT_FILE))


def unrecorded_split(workdir: pathlib.Path, parts: Mapping[str, Sequence[Pair]]) -> SplitRecord:
    """What the record of a run would hold with these pairs."""
    return SplitRecord(workdir / SPLIT_FILE, _names(parts))


def _is_record(record) -> bool:
    if not isinstance(record, dict):
        return False
    parts, left_out = record.get("parts"), record.get("left_out")
    sounds = record.get("sounds", {})
    return (
        isinstance(parts, dict)
        and "train" in parts
        and parts.keys() <= set(PARTS)
        and all(_is_text_by_text(part) for part in parts.values())
        and _is_text_by_text(left_out)
        and isinstance(sounds, dict)
        and sounds.keys() <= set(PARTS)
        and all(map(_is_windows_by_file, sounds.values()))
    )


def _is_text_by_text(found) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


def _is_windows_by_file(found) -> bool:
    return isinstance(found, dict) and all(
        isinstance(numbers, list) and all(type(n) is int and n > 0 for n in numbers)
        for numbers in found.values()
    )


def _names(parts: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, str]]:
    """The references' names by the imitations', of each part that holds pairs, and of train."""
    names = {
        part: {row.imitation: row.reference for row in rows if not isinstance(row, LibraryRow)}
        for part, rows in parts.items()
    }
    return {part: found for part, found in names.items() if found or part == "train"}


def _windows(parts: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, list[int]]]:
    """The numbers of the windows by their file, of each part that holds any."""
    found: dict[str, dict[str, list[int]]] = {}
    for part, rows in parts.items():
        for row in rows:
            if isinstance(row, LibraryRow):
                found.setdefault(part, {}).setdefault(row.key, []).append(row.number)
    return found
