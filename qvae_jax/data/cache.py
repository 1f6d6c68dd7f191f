"""The prepared data set: what training reads, as plain arrays on disk.

    targets.npy    float32 [references, 59049]          audio at 22,050 Hz
    logmels.npy    float16 [imitations, mels, frames]   where the encoder learns
    maps.npy       float32 [imitations, mels, frames, channels]   where its first layers do not
    features.npy   float32 [imitations, feature_dim]    where it is frozen

Beside each lies a JSON manifest: the parameters it depends on and, for each finished row, the
row's number and the file's size and time of change. A row whose file and parameters are unchanged
is not computed again. Rows are written in place, and one counts only once the manifest names it;
the manifest follows every few seconds what is safely on disk, so a kill loses no more than those.
"""

import contextlib
import dataclasses
import io
import itertools
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from qvae_jax.data import reading
from qvae_jax.system import files, locks
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

VERSION = 3  # of what the rows mean; a change recomputes every cache
COMMIT_INTERVAL_S = 10.0  # what a kill may cost
LOCK_FILE = ".lock"

# The row's number, and the size and the time of change (ns) of the file it was made from.
Rows = dict[str, list[int]]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the rows of one array are made from audio files.

    load gives what is made of a file by itself, such as its waveform, or raises UserError; it is
    sent to other processes, so it must pickle. transform turns up to batch_size of these into rows
    [files, *row_shape]. parameters (JSON values) say everything else that a row depends on.
    """

    load: Callable[[pathlib.Path], np.ndarray]
    transform: Callable[[list[np.ndarray]], np.ndarray]
    row_shape: tuple[int, ...]
    dtype: type
    parameters: dict
    batch_size: int = 1

    @property
    def row_bytes(self) -> int:
        """What one row takes on disk."""
        return math.prod(self.row_shape) * np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class CachedArray:
    """An array, the row of each source by its name, and why those in `bad` could not be read."""

    array: np.ndarray
    rows: dict[str, int]
    bad: dict[str, str]


def cached_array(
    path: pathlib.Path,
    sources: Sequence[pathlib.Path],
    recipe: Recipe,
    *,
    stop_on_bad_file: bool = True,
    num_processes: int = 1,
) -> CachedArray:
    """The array at `path` with one row for each source file, computed where it is not yet there.

    num_processes read the files; the array does not depend on their number. With stop_on_bad_file,
    a file that cannot be read raises UserError, and what was finished before it stays; without it,
    the file is left out and listed in `bad`. Raises UserError too where no file can be read, or
    the folder cannot be written.
    """
    wanted = {source.name: _fingerprint(source) for source in sources}
    finished, bad = _finished_rows(path, recipe), {}
    if _places(wanted, finished):
        with _locked(path.parent), files.explaining_write_errors(path):
            # Another process may have finished rows while this one waited.
            finished = _finished_rows(path, recipe)
            places = _places(wanted, finished)
            _make_room(path, recipe, finished, places)
            unread = [source for source in sources if source.name in places]
            loaded = reading.read_all(recipe.load, unread, num_processes)
            with contextlib.closing(loaded), _kept(path, recipe, finished) as keep:
                for names, rows, reasons in _batches(path.stem, unread, loaded, recipe):
                    if reasons and stop_on_bad_file:
                        raise UserError(next(iter(reasons.values())))
                    bad |= reasons
                    keep({name: [places[name], *wanted[name]] for name in names}, rows)
    if not any(name in finished for name in wanted):
        reason = next(iter(bad.values()))
        raise UserError(f"None of the {len(sources)} files for {path.name} can be read. {reason}")
    rows = {name: finished[name][0] for name in wanted if name in finished}
    return CachedArray(np.load(path, mmap_mode="r"), rows, bad)


def _places(wanted: dict[str, list[int]], finished: Rows) -> dict[str, int]:
    """A row for each name that has none, or has changed: its old one, or the first that is free.

    Rows depend on what is finished and on the order of the names alone, so that an interrupted
    computation goes on to the same array.
    """
    taken = {row for row, *_ in finished.values()}
    free = (row for row in itertools.count() if row not in taken)
    places = {}
    for name, fingerprint in wanted.items():
        if name not in finished:
            places[name] = next(free)
        elif finished[name][1:] != fingerprint:
            places[name] = finished[name][0]
    return places


def _make_room(path: pathlib.Path, recipe: Recipe, finished: Rows, places: dict[str, int]) -> None:
    """Makes or enlarges the array, and strikes off the finished rows that will be written over."""
    num_rows = 1 + max(places.values(), default=-1)
    if not finished:
        # Without its manifest an array is not trusted, so a kill after either line is safe.
        _manifest_path(path).unlink(missing_ok=True)
        with files.replacing(path) as temporary:
            temporary.touch()
            _reserve(temporary, recipe, num_rows)
        return
    if any([finished.pop(name, None) for name in places]):
        _write_manifest(path, recipe, finished)
    if num_rows > len(np.load(path, mmap_mode="r")):
        _reserve(path, recipe, num_rows)


def _reserve(path: pathlib.Path, recipe: Recipe, num_rows: int) -> None:
    """Gives a .npy file, or an empty one, so many rows; OSError where the disk has no room."""
    header = _header(recipe, num_rows)
    size = len(header) + num_rows * recipe.row_bytes
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):  # a full disk shows now, not after an hour
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        file.write(header)  # last, so that it never promises more than the file holds


@contextlib.contextmanager
def _kept(path: pathlib.Path, recipe: Recipe, finished: Rows) -> Iterator[Callable]:
    """A function (rows of the manifest, their values) that writes rows and adds them to finished.

    The manifest follows at intervals, and when the block ends, however it ends.
    """
    offset = len(_header(recipe, 0))
    last_commit_s = time.monotonic()
    with path.open("r+b") as file:

        def commit() -> None:
            file.flush()
            os.fsync(file.fileno())
            _write_manifest(path, recipe, finished)

        def keep(entries: Rows, values: np.ndarray) -> None:
            nonlocal last_commit_s
            for (row, *_), value in zip(entries.values(), values, strict=True):
                file.seek(offset + row * recipe.row_bytes)
                file.write(np.ascontiguousarray(value, recipe.dtype).data)
            finished.update(entries)
            if time.monotonic() - last_commit_s >= COMMIT_INTERVAL_S:
                commit()
                last_commit_s = time.monotonic()

        try:
            yield keep
        finally:
            if finished:
                commit()
            else:
                path.unlink()


def _batches(
    description: str,
    sources: Sequence[pathlib.Path],
    loaded: Iterator[np.ndarray | UserError],
    recipe: Recipe,
) -> Iterator[tuple[list[str], np.ndarray, dict[str, str]]]:
    """Batch by batch, the names of files, their rows, and why others could not be read."""
    with progress_bar(description, total=len(sources), unit="file") as progress:
        for start in range(0, len(sources), recipe.batch_size):
            batch = sources[start : start + recipe.batch_size]
            read = dict(zip([source.name for source in batch], loaded))
            reasons = {name: str(e) for name, e in read.items() if isinstance(e, UserError)}
            readable = {name: r for name, r in read.items() if name not in reasons}
            rows = recipe.transform(list(readable.values())) if readable else np.zeros((0,))
            yield list(readable), rows, reasons
            progress.update(len(batch))


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from preparing the same folder; waits while one does."""

    def tell(holder: str) -> None:
        print(f"waiting: {holder} is preparing {folder}", flush=True)

    files.make_folder(folder)
    with locks.locked(folder / LOCK_FILE, tell):
        for path in folder.glob(".*.tmp"):  # of a process that was killed
            path.unlink()
        yield


def _fingerprint(source: pathlib.Path) -> list[int]:
    try:
        status = source.stat()
    except OSError as error:
        raise UserError(
            f"The audio file {source} cannot be found ({error.strerror}): restore it."
        ) from error
    return [status.st_size, status.st_mtime_ns]


def _finished_rows(path: pathlib.Path, recipe: Recipe) -> Rows:
    """The manifest's rows; none where it is absent, damaged or of another recipe."""
    if not (path.is_file() and _manifest_path(path).is_file()):
        return {}
    try:
        manifest = files.read_json(_manifest_path(path))
        array = np.load(path, mmap_mode="r")
        rows = {name: [int(n) for n in entry] for name, entry in manifest["rows"].items()}
        numbers = {row for row, _, _ in rows.values()}
        fits = (
            manifest["parameters"] == _parameters(recipe)
            and array.shape[1:] == recipe.row_shape
            and array.dtype == recipe.dtype
            and numbers <= set(range(len(array)))
            and len(numbers) == len(rows)
        )
    except (UserError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return rows if fits else {}


def _write_manifest(path: pathlib.Path, recipe: Recipe, finished: Rows) -> None:
    files.write_json(_manifest_path(path), {"parameters": _parameters(recipe), "rows": finished})


def _manifest_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_suffix(".json")


def _parameters(recipe: Recipe) -> dict:
    return {"version": VERSION, **recipe.parameters}


def _header(recipe: Recipe, num_rows: int) -> bytes:
    """A .npy file's header; NumPy leaves room in it, so that its length is always the same."""
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(recipe.dtype)),
        "fortran_order": False,
        "shape": (num_rows, *recipe.row_shape),
    }
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()
