"""The pairs of a run's data split, for the modes that hear or measure what it learnt."""

import pathlib
from collections.abc import Sequence

from qvae_jax import configuration
from qvae_jax.data import prepared, split_record
from qvae_jax.data.vimsketch import IMITATIONS_FOLDER, REFERENCES_FOLDER, Pair, read_index
from qvae_jax.generation.inputs import Source, run_data_set
from qvae_jax.system.errors import UserError


def run_sources(workdir: str, part: str) -> list[Source]:
    """The imitations of one part of a run's split, in its order, each with its reference."""
    return _sources(*run_pairs(workdir, part))


def run_sources_by_part(workdir: str) -> dict[str, list[Source]]:
    """The imitations of each part of a run's split that has any; as run_sources."""
    directory, parts = _run_parts(workdir)
    return {part: _sources(directory, pairs) for part, pairs in parts.items()}


def run_pairs(workdir: str, part: str) -> tuple[pathlib.Path, tuple[Pair, ...]]:
    """A run's data set, and the pairs of one part of its split; UserError where there are none."""
    directory, parts = _run_parts(workdir)
    if not parts.get(part):
        raise UserError(f"The split of {workdir} has no part {part!r}: it has {', '.join(parts)}.")
    return directory, parts[part]


def _run_parts(workdir: str) -> tuple[pathlib.Path, dict[str, tuple[Pair, ...]]]:
    config = configuration.read_run(pathlib.Path(workdir))
    index = read_index(run_data_set(workdir, config))
    left_out = split_record.left_out(pathlib.Path(workdir))
    # What trained the run must be what is measured.
    parts = {
        part: tuple(pair for pair in pairs if left_out.isdisjoint((pair.imitation, pair.reference)))
        for part, pairs in prepared.pairs_by_part(config, index).items()
    }
    return index.directory, {part: pairs for part, pairs in parts.items() if pairs}


def _sources(directory: pathlib.Path, pairs: Sequence[Pair]) -> list[Source]:
    return [
        Source(path, str(path), path.stem, directory / REFERENCES_FOLDER / pair.reference)
        for pair in pairs
        for path in [directory / IMITATIONS_FOLDER / pair.imitation]
    ]
