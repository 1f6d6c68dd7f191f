"""A data set prepared for training: split, and read into arrays that training maps into memory."""

import dataclasses
import functools
import hashlib
import math
import pathlib

import ml_collections
import numpy as np

from qvae_jax.audio.files import fit_length, read_audio
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data import folds, layouts, reading, recipes, splits
from qvae_jax.data.batches import Examples
from qvae_jax.data.cache import CachedArray, cached_array
from qvae_jax.data.index import Index, Pair
from qvae_jax.data.split_record import SplitRecord
from qvae_jax.models import decoders
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, counted, first_few


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set ready to train on.

    Attributes:
        index: what the data set holds.
        parts: the examples of each part of its split that has any.
        left_out: why files that belong to the split could not be read, by their names.
        first_layer: the encoder layer whose input the examples' inputs are; 0 for log-mels.
    """

    index: Index
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
    """Reads the index, splits it, and computes whatever the cache lacks.

    Args:
        config: of which the data settings are used, and those that say what learns.
        model_config: what the model is.
        model_variables: needed where what is cached comes from the encoder: where it is frozen, and
            with data.cache_trunk.
        workdir: needed where the config keeps its data or its cache inside it.
        layers: encoder layers that learn.
        recorded: the split of a run that goes on, which is not worked out anew then; what has been
            added to the data set since takes no part, and is named.

    Raises UserError for a data set that cannot be read (see read_index, read_audio), or that lacks
    a file of the recorded split.
    """
    index = _index(config, workdir)
    parts = pairs_by_part(config, index) if recorded is None else _recorded_pairs(recorded, index)
    pairs = [pair for part in parts.values() for pair in part]
    folder = cache_folder(config, index.directory, workdir)
    cached = functools.partial(
        cached_array,
        stop_on_bad_file=config.data.on_bad_file == "stop",
        num_processes=config.data.num_processes or reading.default_num_processes(),
    )
    references = {pair.reference: index.reference_path(pair) for pair in pairs}
    targets = cached(folder / "targets.npy", references, recipes.targets())
    gestures = None
    if needs_controls(model_config):
        gestures = cached(folder / "gestures.npy", references, recipes.gestures())
    first_layer = _first_layer(config, model_config, layers)
    if is_frozen(config):
        name, recipe = "features", recipes.features(model_config, model_variables)
    elif first_layer:
        name, recipe = "maps", recipes.maps(model_config, model_variables, first_layer)
    else:
        name, recipe = "logmels", recipes.logmels(model_config.front_end)
    path = folder / f"{name}-{recipes.digest(recipe.parameters)}.npy"
    imitations = {pair.imitation: index.imitation_path(pair) for pair in pairs}
    inputs = cached(path, imitations, recipe)
    _report(index, inputs, targets)
    examples = {name: _examples(part, inputs, targets, gestures) for name, part in parts.items()}
    left_out = inputs.bad | targets.bad
    if recorded is not None:
        recorded.require_all(examples)
        _report_added(config, recorded, index)
        left_out = recorded.left_out
    parts = {n: part for n, part in examples.items() if n == "train" or len(part)}
    return Prepared(index, parts, left_out, first_layer)


def is_frozen(config: ml_collections.ConfigDict) -> bool:
    """Whether training reads features instead of log-mels."""
    return config.training.encoder == "frozen"


def needs_controls(model_config: QVAEConfig) -> bool:
    """Whether training reads each target's control curves and length."""
    return model_config.decoder_type == "steered"


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


def dataset_folder(config: ml_collections.ConfigDict, workdir: pathlib.Path | None) -> pathlib.Path:
    """Where the data set lies: data.dataset_dir, or inside the workdir."""
    if config.data.dataset_dir:
        return pathlib.Path(config.data.dataset_dir)
    return _inside_workdir(workdir, "data.dataset_dir", "dataset")


def cache_folder(
    config: ml_collections.ConfigDict, dataset_dir: pathlib.Path, workdir: pathlib.Path | None
) -> pathlib.Path:
    """Where a data set's arrays lie: a folder below data.cache_dir for each data set."""
    if not config.data.cache_dir:
        return _inside_workdir(workdir, "data.cache_dir", "cache")
    resolved = pathlib.Path(dataset_dir).resolve()
    # Two data sets of one name must not share a folder.
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
    return pathlib.Path(config.data.cache_dir) / f"{resolved.name}-{digest}"


def target_audio(path: pathlib.Path) -> np.ndarray:
    """A reference as the decoder's target: [59049] at 22,050 Hz, cut or padded at its end."""
    duration_s = decoders.NUM_SAMPLES / decoders.SAMPLE_RATE_HZ
    samples = read_audio(path, decoders.SAMPLE_RATE_HZ, max_duration_s=duration_s)
    return fit_length(samples, decoders.NUM_SAMPLES)


def input_audio(path: pathlib.Path, front_end: FrontEnd) -> np.ndarray:
    """An imitation as the encoder's input: [front_end.num_samples], cut or padded at its end."""
    samples = read_audio(path, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    return fit_length(samples, front_end.num_samples)


def _index(config: ml_collections.ConfigDict, workdir: pathlib.Path | None) -> Index:
    directory = dataset_folder(config, workdir)
    if config.data.synthesize:
        # Imported here because SciPy's filters take a second that nothing else should wait for.
        from qvae_jax.data import synthetic

        with files.explaining_write_errors(directory):
            synthetic.write_synthetic_data_set(directory)
    return layouts.read_index(directory)


def _inside_workdir(workdir: pathlib.Path | None, setting: str, name: str) -> pathlib.Path:
    if workdir is None:
        raise UserError(
            f"{setting} is empty, which means inside the workdir: give --workdir, or name a folder "
            f"with --config.{setting}=FOLDER."
        )
    return workdir / name


def pairs_by_part(config: ml_collections.ConfigDict, index: Index) -> dict[str, tuple[Pair, ...]]:
    """The pairs to train on, and those to validate on, as a run without a record splits them."""
    if config.overfit.num_pairs:
        pairs = splits.draw_pairs(index.pairs, config.overfit.num_pairs, config.data.split_seed)
        if len(pairs) < config.overfit.num_pairs:
            print(
                f"overfit.num_pairs is {config.overfit.num_pairs}, but the data set has "
                f"{counted(len(pairs), 'pair')}: training on all of them."
            )
        return {"train": pairs}
    if config.data.split == "all":
        return {"train": index.pairs}
    split = _fold(config, index) if config.data.split == "folds" else _seeded(config, index)
    parts = {
        "train": split.train,
        "interpolation": split.interpolation,
        "extrapolation": split.extrapolation,
    }
    return {name: pairs for name, pairs in parts.items() if pairs}


def _seeded(config: ml_collections.ConfigDict, index: Index) -> splits.Split:
    split = splits.split_pairs(
        index,
        seed=config.data.split_seed,
        train_sound_ratio=config.data.train_sound_ratio,
        train_imitation_ratio=config.data.train_imitation_ratio,
    )
    if not split.train:
        raise UserError(
            f"The split of {index.directory} leaves no pair to train on (it has "
            f"{len(index.pairs)}): raise data.train_sound_ratio or data.train_imitation_ratio, or "
            "use --config=overfit."
        )
    return split


def _fold(config: ml_collections.ConfigDict, index: Index) -> splits.Split:
    split, absent = folds.split_by_fold(
        index, pathlib.Path(config.data.folds_dir), config.data.fold
    )
    if absent:
        print(
            f"left out of fold {config.data.fold}: {counted(len(absent), 'imitation')} without a "
            f"pair in {index.directory} ({first_few(absent)})"
        )
    num_pairs = len(split.train) + len(split.interpolation) + len(split.extrapolation)
    if num_pairs < len(index.pairs):
        print(
            f"left out of {index.directory}: {counted(len(index.pairs) - num_pairs, 'pair')} of "
            f"{len(index.pairs)}, not named in fold {config.data.fold}"
        )
    if not split.train:
        raise UserError(
            f"fold {config.data.fold} of {config.data.folds_dir} names no training pair of "
            f"{index.directory}: name the folds of this data set in data.folds_dir."
        )
    return split


def _recorded_pairs(recorded: SplitRecord, index: Index) -> dict[str, tuple[Pair, ...]]:
    return {part: recorded.pairs(part, index) for part in recorded.parts}


def _report(index: Index, inputs: CachedArray, targets: CachedArray) -> None:
    for note in index.notes():
        print(note)
    for name, reason in {**inputs.bad, **targets.bad}.items():
        print(f"left out {name}: {reason}")


def _report_added(config: ml_collections.ConfigDict, recorded: SplitRecord, index: Index) -> None:
    if config.overfit.num_pairs or config.data.split == "folds":
        return  # from the first, not all that the data set holds took part
    added = recorded.added_since(index)
    if added:
        print(
            f"added to {index.directory} after the run began, and taking no part: "
            f"{first_few(added)} ({len(added)} in all)"
        )


def _examples(
    pairs: tuple[Pair, ...],
    inputs: CachedArray,
    targets: CachedArray,
    gestures: CachedArray | None,
) -> Examples:
    readable = tuple(
        pair for pair in pairs if pair.imitation in inputs.rows and pair.reference in targets.rows
    )
    examples = Examples(
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
