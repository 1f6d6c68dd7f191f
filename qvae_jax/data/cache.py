"""The prepared data set: what training reads, as plain arrays on disk.

    targets.npy    float32 [references, 59049]          audio at 22,050 Hz; targets-44100.npy, of
                                                        118,098 samples, at 44,100 Hz
    gestures.npy   recipes.GESTURE [references]         its curves and length, for a steered decoder
    logmels.npy    float16 [imitations, mels, frames]   where the encoder learns
    maps.npy       float32 [imitations, mels, frames, channels]   where only its last layers learn
    features.npy   float32 [imitations, feature_dim]    where it is frozen
    survey.npy     survey.record [files]                what the files of a sound library hold

Beside each array lies a JSON manifest: the parameters that the array depends on and, for each
finished row, the row's number and its file's size and time of change. A row whose file and
parameters are unchanged is not computed again. Rows are written in place, and a row counts only
once the manifest names it. The manifest is brought up to date every few seconds with the rows that
are safely on disk, so a kill costs only those seconds. Rows are found by what of a file's name counts
(names.py).
"""

import contextlib
import dataclasses
import io
import itertools
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from qvae_jax.audio.windows import Sound, file_of
from qvae_jax.data import reading
from qvae_jax.data.names import matching_name
from qvae_jax.system import files, locks
from qvae_jax.system.errors import UserError, counted
from qvae_jax.system.progress import progress_bar

VERSION = 3  # of what rows mean; when it is raised, every cache is computed again
COMMIT_INTERVAL_S = 10.0  # the work that a kill may cost
LOCK_FILE = ".lock"

# By matching_name: the row's number, and the file's size in bytes and time of change in nanoseconds.
Rows = dict[str, list[int]]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the rows of one array are made from audio files.

    Attributes:
        load: makes of one sound what does not depend on others, such as its waveform, or raises
            UserError. It is sent to other processes, so it must pickle.
        transform: turns up to batch_size results of load into rows [files, *row_shape].
        row_shape: the shape of a row.
        dtype: of the array.
        parameters: JSON values that say everything else that a row depends on.
        batch_size: how many files transform takes at once.
    """

    load: Callable[[Sound], np.ndarray]
    transform: Callable[[list[np.ndarray]], np.ndarray]
    row_shape: tuple[int, ...]
    dtype: np.dtype | type
    parameters: dict
    batch_size: int = 1

    @property
    def row_bytes(self) -> int:
        """Size of one row on disk, in bytes."""
        return math.prod(self.row_shape) * np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class CachedArray:
    """A prepared array.

    Attributes:
        array: [rows, *row_shape], mapped from disk.
        rows: the row of each source that could be read, by its name.
        bad: why the others could not be read, by their names.
    """

    array: np.ndarray
    rows: dict[str, int]
    bad: dict[str, str]


def cached_array(
    path: pathlib.Path,
    sources: Mapping[str, Sound],
    recipe: Recipe,
    *,
    stop_on_bad_file: bool = True,
    num_processes: int = 1,
) -> CachedArray:
    """The array at `path` with a row for each source file; rows that are missing are computed.

    Args:
        path: the .npy file; its manifest lies beside it.
        sources: files or parts of files, by the names that the rows are to have, which all count
            as different. A name always means the same part of its file.
        recipe: how a row is made.
        stop_on_bad_file: whether a file that cannot be read ends this, the rows before it kept, or
            is left out and listed in `bad`.
        num_processes: how many read files; the array does not depend on it.

    Raises:
        UserError: a file cannot be read, with stop_on_bad_file; no file can be read; the folder
            cannot be written.
    """
    given = {matching_name(name): name for name in sources}
    if len(given) < len(sources):
        raise ValueError(f"two sources of {path.name} have names that count as one")
    sources = {name: sources[given[name]] for name in given}
    wanted = {name: _fingerprint(source) for name, source in sources.items()}
    finished, bad = _finished_rows(path, recipe), {}
    if _places(wanted, finished):
        with _locked(path.parent), files.explaining_write_errors(path):
            # Another process may have finished rows while this one waited.
            finished = _finished_rows(path, recipe)
            places = _places(wanted, finished)
            _make_room(path, recipe, finished, places)
            loaded = reading.read_all(recipe.load, [sources[n] for n in places], num_processes)
            with contextlib.closing(loaded), _kept(path, recipe, finished) as keep:
                for names, rows, reasons in _batches(path.stem, list(places), loaded, recipe):
                    if reasons and stop_on_bad_file:
                        raise UserError(next(iter(reasons.values())))
                    bad |= reasons
                    keep({name: [places[name], *wanted[name]] for name in names}, rows)
    if not any(name in finished for name in wanted):
        reason = next(iter(bad.values()))
        raise UserError(
            f"{path.name} cannot be made: of {counted(len(sources), 'file')} none can be read. {reason}"
        )
    rows = {given[name]: finished[name][0] for name in wanted if name in finished}
    bad = {given[name]: reason for name, reason in bad.items()}
    return CachedArray(np.load(path, mmap_mode="r"), rows, bad)


def bytes_to_add(path: pathlib.Path, sources: Mapping[str, Sound], recipe: Recipe) -> int:
    """How many bytes cached_array, given the same, would add to the disk for its rows."""
    finished = _finished_rows(path, recipe)
    wanted = {matching_name(name): _fingerprint(source) for name, source in sources.items()}
    num_rows = 1 + max(_places(wanted, finished).values(), default=-1)
    num_held = len(np.load(path, mmap_mode="r")) if finished else 0
    return max(0, num_rows - num_held) * recipe.row_bytes


def _places(wanted: dict[str, list[int]], finished: Rows) -> dict[str, int]:
    """A row for each name that has none yet, the first that is free; or that changed, its old one.

    Rows depend only on what is finished and on the order of the names, so that a computation that
    was interrupted ends in the same array.
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
    """Makes or enlarges the array, and takes rows that will be overwritten off the manifest."""
    num_rows = 1 + max(places.values(), default=-1)
    if not finished:
        # An array without a manifest is not trusted, so a kill after either step is safe.
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
    """Makes room for num_rows in a .npy file or an empty file; OSError where the disk has none."""
    header = _header(recipe, num_rows)
    size = len(header) + num_rows * recipe.row_bytes
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):  # so that a full disk shows now, not after an hour
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        file.write(header)  # last, so that it never promises more rows than the file holds


@contextlib.contextmanager
def _kept(path: pathlib.Path, recipe: Recipe, finished: Rows) -> Iterator[Callable]:
    """A function (manifest entries, values) that writes rows and adds the entries to `finished`.

    The manifest is written at intervals, and when the block ends, in whatever way.
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
    names: Sequence[str],
    loaded: Iterator[np.ndarray | UserError],
    recipe: Recipe,
) -> Iterator[tuple[list[str], np.ndarray, dict[str, str]]]:
    """For each batch: the names of files, their rows, and why the others could not be read."""
    with progress_bar(description, total=len(names), unit="file") as progress:
        for start in range(0, len(names), recipe.batch_size):
            batch = names[start : start + recipe.batch_size]
            read = dict(zip(batch, loaded))
            reasons = {name: str(e) for name, e in read.items() if isinstance(e, UserError)}
            readable = {name: r for name, r in read.items() if name not in reasons}
            rows = recipe.transform(list(readable.values())) if readable else np.zeros((0,))
            yield list(readable), rows, reasons
            progress.update(len(batch))


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from preparing the same folder; waits until none does."""

    def tell(holder: str) -> None:
        print(f"waiting: {holder} is preparing {folder}", flush=True)

    files.make_folder(folder)
    with locks.locked(folder / LOCK_FILE, tell):
        for path in folder.glob(".*.tmp"):  # left by a process that was killed
            path.unlink()
        yield


def _fingerprint(source: Sound) -> list[int]:
    try:
        status = file_of(source).stat()
    except OSError as error:
        raise UserError(
            f"The audio file {file_of(source)} cannot be found ({error.strerror}): restore it."
        ) from error
    return [status.st_size, status.st_mtime_ns]


def _finished_rows(path: pathlib.Path, recipe: Recipe) -> Rows:
    """The rows that the manifest names; none where it is absent, damaged or of another recipe."""
    if not (path.is_file() and _manifest_path(path).is_file()):
        return {}
    try:
        manifest = files.read_json(_manifest_path(path))
        array = np.load(path, mmap_mode="r")
        rows = {
            matching_name(name): [int(n) for n in entry] for name, entry in manifest["rows"].items()
        }
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
    """A .npy file's header, whose length NumPy pads so that it does not depend on num_rows."""
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(recipe.dtype)),
        "fortran_order": False,
        "shape": (num_rows, *recipe.row_shape),
    }
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()
