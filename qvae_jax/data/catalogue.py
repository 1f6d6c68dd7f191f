"""What a run learns from, and where it lies: pairs of a data set, windows of a library, or both."""

import dataclasses
import hashlib
import pathlib

import ml_collections

from qvae_jax.audio.windows import Sound
from qvae_jax.data import layouts
from qvae_jax.data.index import Index, Pair
from qvae_jax.data.library import Library, LibraryRow, read_library
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

LIBRARY_CACHE = "library"  # in the cache folder of a workdir


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """What there is to learn from; at least one of the two.

    Attributes:
        index: the data set of pairs.
        library: the sound library.
    """

    index: Index | None
    library: Library | None = None

    def imitation_path(self, pair: Pair) -> Sound:
        """What the encoder hears of a pair or a row of the library."""
        return pair.window if isinstance(pair, LibraryRow) else self.index.imitation_path(pair)

    def reference_path(self, pair: Pair) -> Sound:
        """What the decoder is to make of it."""
        return pair.window if isinstance(pair, LibraryRow) else self.index.reference_path(pair)

    def notes(self) -> list[str]:
        """A line to print for each kind of file that is here and takes no part."""
        return [line for each in (self.index, self.library) if each for line in each.notes()]


def read_catalogue(config: ml_collections.ConfigDict, workdir: pathlib.Path | None) -> Catalogue:
    """What the config's folders hold, a synthetic data set being made first where it says so.

    Raises UserError where a folder does not exist, or holds something else.
    """
    library = None
    if config.data.sounds_dir:
        library = read_library(config.data.sounds_dir, outside=workdir)
    index = _index(config, workdir) if has_pairs(config) else None
    return Catalogue(index, library)


def has_pairs(config: ml_collections.ConfigDict) -> bool:
    """Whether a data set of pairs is learnt from: not where a library alone is named."""
    data = config.data
    return bool(data.dataset_dir or data.synthesize or not data.sounds_dir)


def dataset_folder(config: ml_collections.ConfigDict, workdir: pathlib.Path | None) -> pathlib.Path:
    """Where the data set lies: data.dataset_dir, or inside the workdir."""
    if config.data.dataset_dir:
        return pathlib.Path(config.data.dataset_dir)
    return _inside_workdir(workdir, "data.dataset_dir", "dataset")


def cache_folder(
    config: ml_collections.ConfigDict, directory: pathlib.Path, workdir: pathlib.Path | None
) -> pathlib.Path:
    """Where the arrays of a data set, or of a library, lie: a folder below data.cache_dir each."""
    if not config.data.cache_dir:
        folder = _inside_workdir(workdir, "data.cache_dir", "cache")
        is_library = config.data.sounds_dir and directory == pathlib.Path(config.data.sounds_dir)
        return folder / LIBRARY_CACHE if is_library else folder
    resolved = pathlib.Path(directory).resolve()
    # Two data sets of one name must not share a folder.
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
    return pathlib.Path(config.data.cache_dir) / f"{resolved.name}-{digest}"


def _index(config: ml_collections.ConfigDict, workdir: pathlib.Path | None) -> Index:
    directory = dataset_folder(config, workdir)
    if config.data.synthesize:
        # Imported here because SciPy's filters take a second that nothing else should wait for.
        from qvae_jax.data import synthetic

        with files.explaining_write_errors(directory):
            synthetic.write_synthetic_data_set(directory)
    elif config.data.sounds_dir and not directory.is_dir():
        raise UserError(
            f"The data folder {directory} does not exist: give the path of the data set of pairs, or "
            "set data.dataset_dir to '' to learn from data.sounds_dir alone."
        )
    return layouts.read_index(directory)


def _inside_workdir(workdir: pathlib.Path | None, setting: str, name: str) -> pathlib.Path:
    if workdir is None:
        raise UserError(
            f"{setting} is empty, which means inside the workdir: give --workdir, or name a folder "
            f"with --config.{setting}=FOLDER."
        )
    return workdir / name
