"""The prepared data set: targets, log-mels and encoder features as memory-mapped arrays.

    targets.npy       float32 [references, 59049]          audio at 22,050 Hz
    logmels.npy       float16 [imitations, mels, frames]   only where the encoder is trained
    features.npy      float32 [imitations, feature_dim]    only where the encoder is frozen

Beside each lies a JSON manifest: the parameters it depends on and, for each row, the file's name,
size and time of change. A row whose file and parameters are unchanged is not computed again.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Container, Sequence

import numpy as np
from tqdm import tqdm

from qvae_jax import files
from qvae_jax.errors import UserError

VERSION = 1  # of what the rows mean; a change recomputes every cache


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the rows of one array are made from audio files.

    load gives the waveform [samples] of a file, or raises UserError; transform turns waveforms
    [batch, samples] into rows [batch, *row_shape]. parameters (JSON values) say everything else
    that a row depends on.
    """

    load: Callable[[pathlib.Path], np.ndarray]
    transform: Callable[[np.ndarray], np.ndarray]
    row_shape: tuple[int, ...]
    dtype: type
    parameters: dict


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
    batch_size: int = 16,
    stop_on_bad_file: bool = True,
) -> CachedArray:
    """The array at `path` with one row for each source file, computed where it is not yet there.

    With stop_on_bad_file, a file that cannot be read raises UserError and the cache stays as it
    was; without it, the file is left out and listed in `bad`. Raises UserError too where no file
    can be read, or the folder cannot be written.
    """
    parameters = {"version": VERSION, **recipe.parameters}
    wanted = {source.name: _fingerprint(source) for source in sources}
    old = _read_manifest(path, parameters, recipe)
    kept = {} if old is None else _reusable_rows(old, wanted)
    # Bad files are read again, for what was wrong with them may not show in size and time.
    suspects = [] if old is None else [s for s in sources if s.name in old["bad"]]
    still_bad = _still_bad(suspects, recipe, stop_on_bad_file)
    if wanted.keys() <= kept.keys() | still_bad:
        return _open(path, old, wanted)
    # Rows of files that are not asked for this time stay, so that a run on a few pairs does not
    # throw away what a run on all of them has computed.
    fingerprints = {name: old["files"][name] for name in kept} | wanted
    missing = [source for source in sources if source.name not in kept]
    with files.replacing(path) as temporary:
        shape = (len(fingerprints), *recipe.row_shape)
        array = _allocate(temporary, recipe.dtype, shape)
        rows = {name: row for row, name in enumerate(fingerprints)}
        if kept:
            old_array = np.load(path, mmap_mode="r")
            for name, row in kept.items():
                array[rows[name]] = old_array[row]
        bad = _compute_rows(array, rows, missing, recipe, batch_size, path.stem, stop_on_bad_file)
        if len(bad) == len(sources):
            raise UserError(
                f"None of the {len(sources)} files for {path.name} can be read. "
                f"{next(iter(bad.values()))}"
            )
        array.flush()
        # Without its manifest an array is not trusted, so a kill between the two renames is safe.
        _manifest_path(path).unlink(missing_ok=True)
    manifest = {"parameters": parameters, "files": fingerprints, "bad": bad}
    files.write_json(_manifest_path(path), manifest)
    return _open(path, manifest, wanted)


def _still_bad(
    suspects: Sequence[pathlib.Path], recipe: Recipe, stop_on_bad_file: bool
) -> set[str]:
    """The names of those files that still cannot be read."""
    bad = set()
    for source in suspects:
        try:
            recipe.load(source)
        except UserError:
            if stop_on_bad_file:
                raise
            bad.add(source.name)
    return bad


def _allocate(path: pathlib.Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A new array in a file, all of whose space is taken at once; OSError where there is none."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    # A disk that fills up while memory is mapped to it kills the process without a word.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _compute_rows(
    array: np.ndarray,
    rows: dict[str, int],
    missing: Sequence[pathlib.Path],
    recipe: Recipe,
    batch_size: int,
    description: str,
    stop_on_bad_file: bool,
) -> dict[str, str]:
    """Fills the missing rows of `array`; gives the reason for each file that cannot be read."""
    bad = {}
    with tqdm(total=len(missing), desc=description, unit="file", disable=None) as progress:
        for start in range(0, len(missing), batch_size):
            waveforms = {}
            for source in missing[start : start + batch_size]:
                try:
                    waveforms[rows[source.name]] = recipe.load(source)
                except UserError as error:
                    if stop_on_bad_file:
                        raise
                    bad[source.name] = str(error)
            if waveforms:
                array[list(waveforms)] = _transform(recipe, list(waveforms.values()), batch_size)
            progress.update(min(batch_size, len(missing) - start))
    return bad


def _transform(recipe: Recipe, waveforms: list[np.ndarray], batch_size: int) -> np.ndarray:
    # A last, smaller batch is filled up with silence, so that one compiled program does for all.
    batch = np.zeros((batch_size, len(waveforms[0])), np.float32)
    batch[: len(waveforms)] = waveforms
    return np.asarray(recipe.transform(batch))[: len(waveforms)]


def _fingerprint(source: pathlib.Path) -> list[int]:
    try:
        status = source.stat()
    except OSError as error:
        raise UserError(
            f"The audio file {source} cannot be found ({error.strerror}): restore it."
        ) from error
    return [status.st_size, status.st_mtime_ns]


def _manifest_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_suffix(".json")


def _read_manifest(path: pathlib.Path, parameters: dict, recipe: Recipe) -> dict | None:
    """The manifest, or None where there is none, or it is of other parameters or damaged."""
    if not (path.is_file() and _manifest_path(path).is_file()):
        return None
    try:
        manifest = files.read_json(_manifest_path(path))
        array = np.load(path, mmap_mode="r")
        fits = (
            manifest["parameters"] == parameters
            and array.shape == (len(manifest["files"]), *recipe.row_shape)
            and array.dtype == recipe.dtype
            and set(manifest["bad"]) <= set(manifest["files"])
        )
    except (UserError, OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return manifest if fits else None


def _reusable_rows(old: dict, wanted: dict[str, list[int]]) -> dict[str, int]:
    """Rows of the old array, but for bad files and those that are wanted and have changed."""
    return {
        name: row
        for row, (name, fingerprint) in enumerate(old["files"].items())
        if name not in old["bad"] and wanted.get(name, fingerprint) == fingerprint
    }


def _open(path: pathlib.Path, manifest: dict, wanted: Container[str]) -> CachedArray:
    bad = {name: reason for name, reason in manifest["bad"].items() if name in wanted}
    rows = {
        name: row
        for row, name in enumerate(manifest["files"])
        if name in wanted and name not in bad
    }
    return CachedArray(np.load(path, mmap_mode="r"), rows, bad)
