"""Which files were in which part of a run's split, kept in the run's folder."""

import pathlib
from collections.abc import Mapping

from qvae_jax.data.batches import Examples
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

SPLIT_FILE = "split.json"


def record_split(
    workdir: pathlib.Path, parts: Mapping[str, Examples], left_out: Mapping[str, str]
) -> None:
    """Writes imitation and reference of each pair of each part, and why files were left out."""
    files.write_json(
        workdir / SPLIT_FILE, {"parts": _names(parts), "left_out": dict(sorted(left_out.items()))}
    )


def left_out(workdir: pathlib.Path) -> frozenset[str]:
    """The names of the files that a run left out because they could not be read.

    Empty for a run without a record. Raises UserError for a record that is damaged.
    """
    return frozenset(_recorded(workdir, "left_out") or ())


def check_split(workdir: pathlib.Path, parts: Mapping[str, Examples]) -> None:
    """Raises UserError naming what differs from the split that the run in workdir began with.

    A run without a record, of an earlier version, is not checked.
    """
    path, recorded = workdir / SPLIT_FILE, _recorded(workdir, "parts")
    if recorded is None:
        return
    if not all(isinstance(part, dict) for part in recorded.values()):
        raise _damaged(path)
    found = _names(parts)
    differences = [
        f"{name!r} {what} {part}"
        for part in (recorded | found)
        for what, one, other in (
            ("is no longer in", recorded.get(part, {}), found.get(part, {})),
            ("is new in", found.get(part, {}), recorded.get(part, {})),
        )
        for name, reference in one.items()
        if other.get(name) != reference
    ]
    if not differences and any(list(recorded[part]) != list(found[part]) for part in found):
        differences = ["the files come in another order"]
    if differences:
        raise UserError(
            f"the data set gives another split than {path} records: {differences[0]}"
            + (f" and {len(differences) - 1} more differences" if len(differences) > 1 else "")
            + "; restore the data set, or name another workdir."
        )


def _recorded(workdir: pathlib.Path, field: str) -> dict | None:
    """One field of a run's record; None for a run without a record."""
    path = workdir / SPLIT_FILE
    if not path.is_file():
        return None
    record = files.read_json(path)
    value = record.get(field) if isinstance(record, dict) else None
    if not isinstance(value, dict):
        raise _damaged(path)
    return value


def _damaged(path: pathlib.Path) -> UserError:
    return UserError(f"{path} is damaged: restore it, or name another workdir.")


def _names(parts: Mapping[str, Examples]) -> dict[str, dict[str, str]]:
    return {
        part: {pair.imitation: pair.reference for pair in examples.pairs}
        for part, examples in parts.items()
    }
