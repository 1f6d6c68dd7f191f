"""Which files were in which part of a run's split, kept in the run's folder.

What is recorded counts: a run is measured, shown and continued on these pairs, whatever has been
added to the data set since. Names are compared as names.py says, so a data set may be converted to
another format, or copied to another system.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from qvae_jax.data.batches import Examples
from qvae_jax.data.index import Index, Pair
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
    """

    path: pathlib.Path
    parts: dict[str, dict[str, str]]
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)

    def pairs(self, part: str, index: Index) -> tuple[Pair, ...]:
        """The pairs of one part, in order, as the data set has them.

        Raises UserError naming a file that is gone, or an imitation that now has another reference.
        """
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
            f"{imitation!r} is no longer in {part}"
            for part, recorded in self.parts.items()
            for imitation in recorded
            if matching_name(imitation) not in found.get(part, ())
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
    """Writes imitation and reference of each pair of each part, and why files were left out."""
    names = _names({part: examples.pairs for part, examples in parts.items()})
    files.write_json(
        workdir / SPLIT_FILE, {"parts": names, "left_out": dict(sorted(left_out.items()))}
    )


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
    return SplitRecord(path, record["parts"], record["left_out"])


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
    return (
        isinstance(parts, dict)
        and "train" in parts
        and parts.keys() <= set(PARTS)
        and all(_is_text_by_text(part) for part in parts.values())
        and _is_text_by_text(left_out)
    )


def _is_text_by_text(found) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


def _names(parts: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, str]]:
    return {part: {pair.imitation: pair.reference for pair in of} for part, of in parts.items()}
