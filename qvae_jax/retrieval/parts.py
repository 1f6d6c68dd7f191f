"""What is kept of an index: parts, each of which is whole or does not count.

    STEM.npy    float32 [sounds, dim]    embeddings of unit norm, to be mapped into memory
    STEM.json   what they belong to, a checksum of STEM.npy, and an Entry of each row

STEM is a digest of the JSON file, which is written last. So what a kill has cut short, and what has
been changed since, shows, and is made again.
"""

import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from qvae_jax.system import files

NEW_FILE = ".new.tmp"  # embeddings whose name is not known before the last of them
STEM_LENGTH = 16


class Entry(NamedTuple):
    """What is known of a sound: its file, as it was when it was read, and its duration.

    name is its path in the library, with /; sha256 is of the file's bytes.
    """

    name: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    duration_s: float


class Part(NamedTuple):
    """Entries, and their embeddings [entries, dim], mapped from disk."""

    entries: Sequence[Entry]
    embeddings: np.ndarray
    stem: str


def write(
    folder: pathlib.Path, about: dict, entries: Sequence[Entry], blocks: Iterable[np.ndarray]
) -> Part:
    """Writes a part, whole or not at all, and gives it as it is read.

    Args:
        folder: which this process alone writes to.
        about: JSON values that say what the part belongs to.
        entries: at least one.
        blocks: their embeddings, in arrays [rows, dim] one after the other.

    Raises UserError where the folder cannot be written.
    """
    new = folder / NEW_FILE
    with files.explaining_write_errors(folder):
        _write_array(new, len(entries), blocks)
        facts = {"about": about, "checksum": _checksum(new), "entries": entries}
        content = json.dumps(facts).encode()  # lone surrogates in names are escaped
        stem = _stem_of(content)
        os.replace(new, folder / f"{stem}.npy")
    path = folder / f"{stem}.json"
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    return Part(entries, np.load(path.with_suffix(".npy"), mmap_mode="r"), stem)


def read(folder: pathlib.Path, about: dict) -> tuple[list[Part], int]:
    """The parts in a folder that belong to this, and how many others there are.

    Others are of something else, or damaged.
    """
    paths = sorted(folder.glob("*.json"))
    found = [part for path in paths if (part := _part(path, about)) is not None]
    return found, len(paths) - len(found)


def keep_only(folder: pathlib.Path, stem: str) -> None:
    """Removes all parts but one, and what kills have left."""
    kept = {f"{stem}.json", f"{stem}.npy"}
    leftovers = (*folder.glob("*.json"), *folder.glob("*.npy"), *folder.glob(".*.tmp"))
    with files.explaining_write_errors(folder):
        for path in leftovers:
            if path.name not in kept:
                path.unlink(missing_ok=True)


def _write_array(path: pathlib.Path, num_rows: int, blocks: Iterable[np.ndarray]) -> None:
    """A .npy file, row by row, so that it need not fit into memory."""
    with path.open("wb") as file:
        for number, block in enumerate(blocks):
            if number == 0:
                described = {
                    "descr": "<f4",
                    "fortran_order": False,
                    "shape": (num_rows, block.shape[1]),
                }
                np.lib.format.write_array_header_1_0(file, described)
            file.write(np.ascontiguousarray(block, "<f4").data)
        file.flush()
        os.fsync(file.fileno())


def _part(path: pathlib.Path, about: dict) -> Part | None:
    """The part of a JSON file; None where it is damaged, or of something else."""
    try:
        content = path.read_bytes()
        if path.stem != _stem_of(content):
            return None
        facts = json.loads(content)
        array_path = path.with_suffix(".npy")
        # Bytes that are as they were written need no other look.
        if facts["about"] != about or facts["checksum"] != _checksum(array_path):
            return None
        entries = [Entry(*fields) for fields in facts["entries"]]
        return Part(entries, np.load(array_path, mmap_mode="r"), path.stem)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _stem_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:STEM_LENGTH]


def _checksum(path: pathlib.Path) -> int:
    """The CRC-32 of a file, which need not fit into memory."""
    return zlib.crc32(np.memmap(path, np.uint8, "r"))
