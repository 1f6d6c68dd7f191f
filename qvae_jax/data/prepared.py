"""Rows prepared for training: divided, and read into arrays that training maps into memory."""

import dataclasses
import functools
import math
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np

from qvae_jax.audio.files import fit_length
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.audio.windows import Sound, read_sound
from qvae_jax.data import reading, recipes
from qvae_jax.data.batches import Examples, joined
from qvae_jax.data.cache import CachedArray, Recipe, bytes_to_add, cached_array
from qvae_jax.data.catalogue import Catalogue, cache_folder, read_catalogue
from qvae_jax.data.index import Pair
from qvae_jax.data.library import LibraryRow
from qvae_jax.data.parts import divide
from qvae_jax.data.split_record import SplitRecord
from qvae_jax.models import decoders, sound_encoder
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError, counted, first_few


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a run learns from, ready to train on.

    Attributes:
        catalogue: what it is and where it lies.
        parts: the examples of each part of the split that has any.
        left_out: why files that belong to the split could not be read, by their names.
        first_layer: the encoder layer whose input the examples' inputs are; 0 for log-mels.
    """

    catalogue: Catalogue
    parts: dict[str, Examples]
    left_out: dict[str, str]
    first_layer: int = 0


def prepare(
    config: ml_collections.ConfigDict,
    model_config: QVAEConfig,
    model_variables: Variables | None,
    workdir: pathlib.Path | None,
    layers: frozenset[int],
    recorded: SplitRecord | None = None,
) -> Prepared:
    """Reads what there is to learn from, divides it, and computes whatever the cache lacks.

    Args:
        config: of which the data settings are used, and those that say what learns.
        model_config: what the model is.
        model_variables: needed where what is cached comes from the encoder: where it is frozen, and
            with data.cache_trunk.
        workdir: needed where the config keeps its data or its cache inside it.
        layers: encoder layers that learn.
        recorded: the split of a run that goes on, which is not worked out anew then; what has been
            added to the data set since takes no part, and is named.

    Raises UserError for a data set or library that cannot be read (see read_catalogue, read_audio),
    or that lacks a file of the recorded split, and where the disk has no room.
    """
    first_layer = _first_layer(config, model_config, layers)
    arrays = _arrays(config, model_config, model_variables, first_layer)
    prepared = prepare_arrays(config, arrays, workdir, recorded)
    return dataclasses.replace(prepared, first_layer=first_layer)


def prepare_arrays(
    config: ml_collections.ConfigDict,
    arrays: Mapping[str, "ToPrepare"],
    workdir: pathlib.Path | None,
    recorded: SplitRecord | None = None,
    kind: type[Examples] = Examples,
) -> Prepared:
    """Reads what there is to learn from, divides it, and makes these arrays of it.

    arrays has their names in Examples, or in the kind of them that parts shall hold; the other
    arguments, and what is raised, are those of prepare.
    """
    catalogue = read_catalogue(config, workdir)
    cached = functools.partial(
        cached_array,
        stop_on_bad_file=config.data.on_bad_file == "stop",
        num_processes=config.data.num_processes or reading.default_num_processes(),
    )

    def survey(directory: pathlib.Path, paths: Mapping, recipe: Recipe) -> CachedArray:
        return cached(cache_folder(config, directory, workdir) / "survey.npy", paths, recipe)

    if recorded is None:
        parts, left_out = divide(config, catalogue, survey)
    else:
        parts = {part: recorded.rows(part, catalogue) for part in recorded.names}
        left_out = recorded.left_out
    groups = _groups(config, catalogue, parts, workdir)
    if catalogue.library is not None:
        _require_room(groups, arrays)
    examples: dict[str, list[Examples]] = {part: [] for part in parts}
    bad: dict[str, str] = {}
    for group in groups:
        found = {
            name: cached(group.folder / array.file, group.sources(array), array.recipe)
            for name, array in group.of(arrays).items()
        }
        for part, rows in group.parts.items():
            examples[part].append(_examples(kind, rows, **found))
        bad |= {name: why for array in found.values() for name, why in array.bad.items()}
    _report(catalogue, bad)
    parts = {part: joined(found) for part, found in examples.items() if found}
    if recorded is None:
        left_out = left_out | bad
    else:
        recorded.require_all(parts)
        _report_added(config, recorded, catalogue)
    parts = {n: part for n, part in parts.items() if n == "train" or len(part)}
    return Prepared(catalogue, parts, left_out)


def is_frozen(config: ml_collections.ConfigDict) -> bool:
    """Whether training reads features instead of log-mels."""
    return config.training.encoder == "frozen"


def needs_controls(model_config: QVAEConfig) -> bool:
    """Whether training reads each target's control curves and length."""
    return model_config.is_steered


def _first_layer(
    config: ml_collections.ConfigDict, model_config: QVAEConfig, layers: frozenset[int]
) -> int:
    """The encoder layer that training starts from: 0, or with data.cache_trunk the first to change.

    Says so where data.cache_trunk is set and has no effect.
    """
    if not config.data.cache_trunk or is_frozen(config):
        return 0
    first = min(layers)
    logmel_bytes = recipes.logmels(model_config.front_end).row_bytes
    map_bytes = 4 * math.prod(model_config.map_shape(first - 1))
    reasons = {
        "the encoder's first layer learns": first == 0,
        "fine_tuning.frozen_batch_norm moves the statistics of layers that do not learn": (
            config.fine_tuning.frozen_batch_norm != "frozen"
        ),
        "training.dtype is not float32": config.training.dtype != "float32",
        f"the map before layer {first} is no smaller ({map_bytes // 1000} kB) than the log-mel "
        f"({logmel_bytes // 1000} kB)": map_bytes >= logmel_bytes,
    }
    reason = next((reason for reason, applies in reasons.items() if applies), None)
    if reason is None:
        return first
    print(f"data.cache_trunk has no effect: {reason}, so log-mels are cached.")
    return 0


def target_audio(sound: Sound, sample_rate_hz: int = decoders.SAMPLE_RATE_HZ) -> np.ndarray:
    """A reference as the decoder's target, cut or padded at its end: 59,049 samples at 22,050 Hz."""
    num_samples = decoders.num_samples(sample_rate_hz)
    samples = read_sound(sound, sample_rate_hz, max_duration_s=num_samples / sample_rate_hz)
    return fit_length(samples, num_samples)


def input_audio(sound: Sound, front_end: FrontEnd) -> np.ndarray:
    """An imitation as the encoder's input: [front_end.num_samples], cut or padded at its end."""
    samples = read_sound(sound, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    return fit_length(samples, front_end.num_samples)


@dataclasses.dataclass(frozen=True)
class ToPrepare:
    """One array to prepare.

    Attributes:
        file: its name.
        recipe: how its rows are made.
        of_references: whether they are made of references rather than of imitations.
        in_library: the array that a sound library has in its place, None for the same.
    """

    file: str
    recipe: Recipe
    of_references: bool
    in_library: "ToPrepare | None" = None


def _arrays(
    config: ml_collections.ConfigDict,
    model_config: QVAEConfig,
    model_variables: Variables | None,
    first_layer: int,
) -> dict[str, ToPrepare]:
    """The arrays that training reads, by their names in Examples."""
    if is_frozen(config):
        inputs = _features(model_config, model_variables)
    elif first_layer:
        inputs = _inputs("maps", recipes.maps(model_config, model_variables, first_layer))
    else:
        inputs = _inputs("logmels", recipes.logmels(model_config.front_end))
    rate_hz = model_config.sample_rate_hz
    # Prepared caches of the usual rate have had no rate in the name.
    of_rate = "" if rate_hz == decoders.SAMPLE_RATE_HZ else f"-{rate_hz}"
    arrays = {"targets": ToPrepare(f"targets{of_rate}.npy", recipes.targets(rate_hz), True)}
    if needs_controls(model_config):
        arrays["gestures"] = ToPrepare("gestures.npy", recipes.gestures(), True)
    return arrays | {"inputs": inputs}


def _features(model_config: QVAEConfig, model_variables: Variables) -> ToPrepare:
    """Features of imitations, and in a library of sounds, by whatever hears them."""
    heard_by = functools.partial(sound_encoder.one_alone, model_config, model_variables)
    of_voices = recipes.features(*heard_by())
    if not model_config.sound_encoder:
        return _inputs("features", of_voices)
    of_sounds = recipes.features(*heard_by(sounds=True))
    return _inputs("features", of_voices, _inputs("features", of_sounds))


def _inputs(name: str, recipe: Recipe, in_library: ToPrepare | None = None) -> ToPrepare:
    """What an encoder is given or gives, in a file of its own for each way to make it."""
    file = f"{name}-{recipes.digest(recipe.parameters)}.npy"
    return ToPrepare(file, recipe, of_references=False, in_library=in_library)


@dataclasses.dataclass(frozen=True)
class _Group:
    """The rows, by part, whose arrays lie in one folder: the data set's, or the library's."""

    folder: pathlib.Path
    parts: dict[str, tuple[Pair, ...]]
    catalogue: Catalogue
    is_library: bool

    def of(self, arrays: Mapping[str, ToPrepare]) -> dict[str, ToPrepare]:
        """The arrays as they are made here."""
        if not self.is_library:
            return dict(arrays)
        return {name: array.in_library or array for name, array in arrays.items()}

    def sources(self, array: ToPrepare) -> dict[str, Sound]:
        """What the rows of an array are made of, by their names."""
        rows = [row for part in self.parts.values() for row in part]
        if array.of_references:
            return {row.reference: self.catalogue.reference_path(row) for row in rows}
        return {row.imitation: self.catalogue.imitation_path(row) for row in rows}


def _groups(
    config: ml_collections.ConfigDict,
    catalogue: Catalogue,
    parts: Mapping[str, Sequence[Pair]],
    workdir: pathlib.Path | None,
) -> list[_Group]:
    found = []
    for source, is_library in ((catalogue.index, False), (catalogue.library, True)):
        own = {
            part: tuple(row for row in rows if isinstance(row, LibraryRow) == is_library)
            for part, rows in parts.items()
        }
        if any(own.values()):
            folder = cache_folder(config, source.directory, workdir)
            own = {part: rows for part, rows in own.items() if rows}
            found.append(_Group(folder, own, catalogue, is_library))
    return found


def _require_room(groups: Sequence[_Group], arrays: Mapping[str, ToPrepare]) -> None:
    """Tells how much will be written; UserError where the disk has less."""
    needed = sum(
        bytes_to_add(group.folder / array.file, group.sources(array), array.recipe)
        for group in groups
        for array in group.of(arrays).values()
    )
    if not needed:
        return
    folder = groups[-1].folder
    present = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(present).free
    num_rows = sum(len(rows) for group in groups for rows in group.parts.values())
    told = (
        f"preparing {counted(num_rows, 'row')} takes {needed / 1e9:.2f} GB more in "
        f"{folder.parent}, where {free / 1e9:.2f} GB are free"
    )
    if needed > free:
        raise UserError(
            f"{told}: make room, name another folder in data.cache_dir, or lower "
            "data.windows_per_file."
        )
    print(told)


def _report(catalogue: Catalogue, bad: Mapping[str, str]) -> None:
    for note in catalogue.notes():
        print(note)
    for name, reason in bad.items():
        print(f"left out {name}: {reason}")


def _report_added(
    config: ml_collections.ConfigDict, recorded: SplitRecord, catalogue: Catalogue
) -> None:
    if config.overfit.num_pairs:
        return  # from the first, not all that there is took part
    index, library = catalogue.index, catalogue.library
    added = {}
    if index is not None and config.data.split != "folds":  # which name what takes part
        added[index.directory] = recorded.added_since(index)
    if library is not None:
        added[library.directory] = recorded.files_added_since(library)
    for directory, names in added.items():
        if names:
            print(
                f"added to {directory} after the run began, and taking no part: "
                f"{first_few(names)} ({len(names)} in all)"
            )


def _examples(
    kind: type[Examples],
    pairs: tuple[Pair, ...],
    inputs: CachedArray,
    targets: CachedArray,
    gestures: CachedArray | None = None,
) -> Examples:
    readable = tuple(
        pair for pair in pairs if pair.imitation in inputs.rows and pair.reference in targets.rows
    )
    examples = kind(
        pairs=readable,
        inputs=inputs.array,
        targets=targets.array,
        input_rows=np.array([inputs.rows[pair.imitation] for pair in readable], int),
        target_rows=np.array([targets.rows[pair.reference] for pair in readable], int),
    )
    if gestures is None:
        return examples
    rows = np.array([gestures.rows[pair.reference] for pair in readable], int)
    return dataclasses.replace(examples, gestures=gestures.array, gesture_rows=rows)
