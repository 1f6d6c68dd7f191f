"""Which rows are in which part of a run: pairs and windows of sounds, as a config divides them."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_collections

from qvae_jax.data import folds, library, splits
from qvae_jax.data.cache import CachedArray, Recipe
from qvae_jax.data.catalogue import Catalogue
from qvae_jax.data.index import Index, Pair
from qvae_jax.data.library import Surveyed
from qvae_jax.system.errors import UserError, counted, first_few

# (folder, {name: file}, recipe) -> what is cached of a data set or a library.
Survey = Callable[[pathlib.Path, Mapping[str, pathlib.Path], Recipe], CachedArray]


class Division(NamedTuple):
    """The rows of each part that has any, and why files are left out, by their names."""

    parts: dict[str, tuple[Pair, ...]]
    left_out: dict[str, str]


def divide(config: ml_collections.ConfigDict, catalogue: Catalogue, survey: Survey) -> Division:
    """The rows to train on and those to validate on, as a run without a record divides them.

    What a library leaves out is printed. Raises UserError where nothing is left to train on.
    """
    index = catalogue.index
    if catalogue.library is None:
        return Division(pairs_by_part(config, index), {})
    if index is None and config.data.split == "folds":
        raise UserError(
            "data.split is 'folds', which divides pairs, but data.dataset_dir is empty: name the "
            "data set there, or set data.split to 'seeded'."
        )
    found = _surveyed(config, catalogue.library, survey)
    print(*found.notes(), sep="\n", end="\n" if found.notes() else "")
    if config.overfit.num_pairs:
        rows = (*(index.pairs if index else ()), *catalogue.library.rows(found.windows))
        return Division({"train": _few(config, rows)}, found.left_out)
    parts = pairs_by_part(config, index) if index else {}
    unlearnt = _sounds_of(config, index, parts.get("extrapolation", ()), survey)
    ratio = 1.0 if config.data.split == "all" else config.data.train_file_ratio
    learnt, held_out = found.split(ratio, unlearnt)
    _check_division(config, found, learnt, held_out, parts)
    parts["train"] = (*parts.get("train", ()), *learnt)
    return Division({**parts, **({library.PART: held_out} if held_out else {})}, found.left_out)


def _surveyed(
    config: ml_collections.ConfigDict, sounds: library.Library, survey: Survey
) -> Surveyed:
    recipe = library.survey_recipe(config.data.windows_per_file)
    paths = {file: sounds.path(file) for file in sounds.files}
    return library.surveyed(sounds, survey(sounds.directory, paths, recipe))


def _sounds_of(
    config: ml_collections.ConfigDict, index: Index | None, pairs: Sequence[Pair], survey: Survey
) -> set[str]:
    """The sounds of some pairs' references, as a library's are told: none of them may be learnt."""
    if not pairs:
        return set()
    recipe = library.survey_recipe(config.data.windows_per_file)
    paths = {pair.reference: index.reference_path(pair) for pair in pairs}
    records = survey(index.directory, paths, recipe)
    found = {records.array[row]["sound"].decode() for row in records.rows.values()}
    return found - {""}


def _check_division(
    config: ml_collections.ConfigDict,
    found: Surveyed,
    learnt: Sequence[Pair],
    held_out: Sequence[Pair],
    parts: Mapping[str, Sequence[Pair]],
) -> None:
    """Says where no file is held out though some should be; UserError where none trains."""
    directory = found.library.directory
    files = counted(len(found.windows), "file")
    if not learnt and not parts.get("train"):
        raise UserError(
            f"The split of {directory} leaves no file to train on (it has {files} to learn from): "
            "raise data.train_file_ratio, or add sounds."
        )
    if not held_out and config.data.split != "all" and config.data.train_file_ratio < 1:
        print(f"no file of {directory} is held out: of {files} none fell to the held-out share")


def pairs_by_part(config: ml_collections.ConfigDict, index: Index) -> dict[str, tuple[Pair, ...]]:
    """The pairs to train on, and those to validate on, as a run without a record splits them."""
    if config.overfit.num_pairs:
        return {"train": _few(config, index.pairs)}
    if config.data.split == "all":
        return {"train": index.pairs}
    split = _fold(config, index) if config.data.split == "folds" else _seeded(config, index)
    parts = {
        "train": split.train,
        "interpolation": split.interpolation,
        "extrapolation": split.extrapolation,
    }
    return {name: pairs for name, pairs in parts.items() if pairs}


def _few(config: ml_collections.ConfigDict, rows: Sequence[Pair]) -> tuple[Pair, ...]:
    """The rows to learn by heart."""
    drawn = splits.draw_pairs(rows, config.overfit.num_pairs, config.data.split_seed)
    if len(drawn) < config.overfit.num_pairs:
        print(
            f"overfit.num_pairs is {config.overfit.num_pairs}, but the data set has "
            f"{counted(len(drawn), 'pair')}: training on all of them."
        )
    return drawn


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
