"""The index of a library: an embedding of each of its sounds, kept in the user's cache folder.

    search/LIBRARY/ENCODER/    a folder for each library, by its path, and encoder, by its weights

Whatever has happened before, the same sounds end in the same bytes: a file that has not changed, by
size and time of change, is not read again; one whose bytes are known, under whatever name, is not
heard again; and what is heard is written in pieces, of which a kill loses at most the one in work.
At the end there is one part (parts.py), of the files in the order of their names.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from qvae_jax.audio import listing
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.data.reading import default_num_processes, read_all
from qvae_jax.models.batching import batches
from qvae_jax.retrieval import parts
from qvae_jax.retrieval.parts import Entry, Part
from qvae_jax.retrieval.reading import Fingerprint, Read, fingerprint, read
from qvae_jax.system import caches, files, locks
from qvae_jax.system.errors import UserError, counted, first_few
from qvae_jax.system.progress import progress_bar

FOLDER = "search"
VERSION = 2  # of what is kept; when it is raised, every index is made again
PIECE_FILES = 256  # that a kill may cost
# Sounds that the encoder hears at once: those of a piece that are of one length fill such batches,
# and the last of each length is filled up with silence, which costs as much.
BATCH_SIZE = 4
ROWS_AT_ONCE = 4096  # that are copied into a new part


class Hearing(Protocol):
    """What an index needs of an encoder; retrieval.encoders has one."""

    front_end: FrontEnd
    dim: int
    digest: str

    def embed(
        self, waveforms: Sequence[np.ndarray], names: Sequence[str], batch_size: int
    ) -> np.ndarray:
        """float32 [waveforms, dim], of unit norm."""


@dataclasses.dataclass(frozen=True)
class Index:
    """A library as it can be searched.

    Attributes:
        directory: the library.
        entries: of its sounds, in the order of their names.
        embeddings: float32 [sounds, dim], of unit norm, mapped from disk.
        left_out: why other files of sounds are not among them, by name.
    """

    directory: pathlib.Path
    entries: Sequence[Entry]
    embeddings: np.ndarray
    left_out: Mapping[str, str]

    def path(self, row: int) -> pathlib.Path:
        """Where a sound lies."""
        return self.directory / self.entries[row].name


def indexed(
    library: str | os.PathLike,
    encoder: Hearing,
    *,
    outside: pathlib.Path | None = None,
    holds_results: Callable[[pathlib.Path], bool] = lambda folder: False,
    say: Callable[[str], None] = print,
) -> Index:
    """The index of a folder of sounds, and of the folders below it, brought up to date.

    Args:
        library: the folder.
        encoder: hears its sounds.
        outside, holds_results: what is not looked into; as of listing.list_audio_files.
        say: is given a line for whatever is left out, made again or waited for.

    Raises UserError where there is no such folder, where none of its files can be read, and where
    the cache folder cannot be written.
    """
    directory = pathlib.Path(library)
    paths, others = listing.list_audio_files(directory, outside, holds_results)
    for note in listing.notes(directory, others):
        say(note)
    names = [path.relative_to(directory).as_posix() for path in paths]
    about = {"version": VERSION, "encoder": encoder.digest, "dim": encoder.dim}
    about["library"] = os.path.realpath(directory)
    folder = folder_of(about)
    with _alone_in(folder, directory, say):
        kept, num_others = parts.read(folder, about)
        for line in _made_again(folder, directory, bool(kept), num_others):
            say(line)
        found, left_out = _updated(folder, directory, names, encoder, about, kept)
    for line in _notes(directory, left_out):
        say(line)
    return Index(directory, found.entries, found.embeddings, left_out)


def folder_of(about: dict) -> pathlib.Path:
    """Where the index of a library, about["library"], is kept for an encoder's digest."""
    of_library = hashlib.sha256(os.fsencode(about["library"])).hexdigest()[:16]
    return caches.user_cache_folder() / FOLDER / of_library / about["encoder"][:16]


# --- Bringing it up to date


Place = tuple[int, int]  # a row: the number of its part, and its own in it


class _Known:
    """The rows of all parts, by the files that they were made of, and by these files' bytes."""

    def __init__(self, found: Sequence[Part]):
        self.parts = []
        self._by_file: dict[tuple[str, Fingerprint], Place] = {}
        self.by_digest: dict[str, Place] = {}
        for part in found:
            self.add(part)

    def add(self, part: Part) -> None:
        """Takes what another part holds for known too."""
        for row, entry in enumerate(part.entries):
            place = (len(self.parts), row)
            self._by_file[entry.name, (entry.size_bytes, entry.mtime_ns)] = place
            self.by_digest[entry.sha256] = place
        self.parts.append(part)

    def place(self, name: str, of: Fingerprint) -> Place | None:
        """Which row of which part a file has, as it is; None where it has none yet."""
        return self._by_file.get((name, of))

    def entry(self, place: Place) -> Entry:
        """What is known of a row."""
        return self.parts[place[0]].entries[place[1]]

    def embeddings(self, places: Sequence[Place]) -> np.ndarray:
        """The embeddings of rows: [rows, dim]."""
        return np.stack([self.parts[part].embeddings[row] for part, row in places])


def _updated(
    folder: pathlib.Path,
    directory: pathlib.Path,
    names: Sequence[str],
    encoder: Hearing,
    about: dict,
    kept: Sequence[Part],
) -> tuple[Part, dict[str, str]]:
    """The one part of all sounds of these names that there are; and why others are not in it."""
    known, left_out = _Known(kept), {}
    places, missing = _places(directory, names, known, left_out)
    for made in _heard(directory, missing, encoder, known, left_out):
        piece = parts.write(folder, about, [entry for entry, _ in made], [_stacked(made)])
        known.add(piece)
        for entry in piece.entries:
            places[entry.name] = known.place(entry.name, (entry.size_bytes, entry.mtime_ns))
    if not places:
        raise UserError(
            f"The library {directory} holds {counted(len(names), 'sound')}, of which none can be "
            f"read: {next(iter(left_out.values()))}"
        )
    ordered = [places[name] for name in names if name in places]
    whole = _one_part(folder, about, known, ordered)
    parts.keep_only(folder, whole.stem)
    return whole, left_out


def _places(
    directory: pathlib.Path, names: Sequence[str], known: _Known, left_out: dict[str, str]
) -> tuple[dict[str, Place], list[str]]:
    """Where files that have not changed are known, and which others there are to read.

    Files that have gone since they were listed go into left_out.
    """
    places, missing = {}, []
    for name in names:
        try:
            # Not by pathlib, which takes seconds for as many files as a large library has.
            place = known.place(name, fingerprint(os.path.join(directory, name)))
        except UserError as error:
            left_out[name] = str(error)
            continue
        if place is None:
            missing.append(name)
        else:
            places[name] = place
    return places, missing


def _one_part(folder: pathlib.Path, about: dict, known: _Known, ordered: Sequence[Place]) -> Part:
    """The part of these rows in this order: one that is there, or else it is written."""
    entries = [known.entry(place) for place in ordered]
    for part in known.parts:
        if list(part.entries) == entries:
            return part
    copied = (known.embeddings(rows) for rows in batches(ordered, ROWS_AT_ONCE))
    return parts.write(folder, about, entries, copied)


def _stacked(made: Sequence[tuple[Entry, np.ndarray]]) -> np.ndarray:
    return np.stack([embedding for _, embedding in made])


def _heard(
    directory: pathlib.Path,
    names: Sequence[str],
    encoder: Hearing,
    known: _Known,
    left_out: dict[str, str],
) -> Iterator[list[tuple[Entry, np.ndarray]]]:
    """Yields pieces: the entries of up to PIECE_FILES of these files, and their embeddings.

    Files that cannot be read go into left_out.
    """
    load = functools.partial(read, front_end=encoder.front_end, known=frozenset(known.by_digest))
    paths = [directory / name for name in names]
    loaded = read_all(load, paths, default_num_processes())
    bar = progress_bar("indexing", total=len(names), unit="file")
    with contextlib.closing(loaded), bar:
        for piece in batches(zip(names, loaded), PIECE_FILES):
            left_out |= {name: str(one) for name, one in piece if isinstance(one, UserError)}
            readable = {name: one for name, one in piece if not isinstance(one, UserError)}
            made = _embedded(readable, encoder, known)
            if made:
                yield made
            bar.update(len(piece))


def _embedded(
    readable: Mapping[str, Read], encoder: Hearing, known: _Known
) -> list[tuple[Entry, np.ndarray]]:
    """Entries and embeddings of files; bytes that are known are not heard again."""
    new = {name: one.samples for name, one in readable.items() if one.samples is not None}
    rows = encoder.embed(list(new.values()), list(new), BATCH_SIZE) if new else ()
    heard, made = dict(zip(new, rows)), []
    for name, one in readable.items():
        if name in heard:
            duration_s, embedding = one.duration_s, heard[name]
        else:
            place = known.by_digest[one.sha256]
            duration_s, embedding = known.entry(place).duration_s, known.embeddings([place])[0]
        made.append((Entry(name, *one.fingerprint, one.sha256, duration_s), embedding))
    return made


# --- What is said


@contextlib.contextmanager
def _alone_in(
    folder: pathlib.Path, directory: pathlib.Path, say: Callable[[str], None]
) -> Iterator[None]:
    """Keeps other processes from indexing the same, and waits until none does."""
    files.make_folder(folder)
    tell = lambda holder: say(f"waiting: {holder} is indexing {directory}")
    with locks.locked(folder / ".lock", tell):
        yield


def _made_again(
    folder: pathlib.Path, directory: pathlib.Path, is_there: bool, num_others: int
) -> list[str]:
    """A line where there is an index of the library that is of no use."""
    if num_others:
        what = "what is missing" if is_there else "it"
        why = "damaged, cut short or of another version"
        return [f"note: the index of {directory} is {why}: {what} is made again"]
    if not is_there and any(folder.parent.glob("*/*.json")):
        return [f"note: the index of {directory} is of another encoder: this one's is made anew"]
    return []


def _notes(directory: pathlib.Path, left_out: Mapping[str, str]) -> list[str]:
    """A line where sounds are not in the index, with the first names and the first reason."""
    if not left_out:
        return []
    names = list(left_out)
    return [
        f"left out of {directory}: {counted(len(names), 'file')} that cannot be used "
        f"({first_few(names)}): {left_out[names[0]]}"
    ]
