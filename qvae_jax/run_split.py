"""The pairs of a run's data split, for the modes that hear or measure what it learnt."""

import pathlib

from qvae_jax import configuration, prepare
from qvae_jax.data.vimsketch import IMITATIONS_FOLDER, REFERENCES_FOLDER, Pair, read_index
from qvae_jax.errors import UserError
from qvae_jax.generation.inputs import Source, run_data_set


def run_sources(workdir: str, part: str) -> list[Source]:
    """The imitations of one part of a run's split, in its order, each with its reference."""
    directory, pairs = run_pairs(workdir, part)
    return [
        Source(path, str(path), path.stem, directory / REFERENCES_FOLDER / pair.reference)
        for pair in pairs
        for path in [directory / IMITATIONS_FOLDER / pair.imitation]
    ]


def run_pairs(workdir: str, part: str) -> tuple[pathlib.Path, tuple[Pair, ...]]:
    """A run's data set, and the pairs of one part of its split; UserError where there are none."""
    config = configuration.read_run(pathlib.Path(workdir))
    index = read_index(run_data_set(workdir, config))
    parts = prepare.pairs_by_part(config, index)  # what trained the run must be what is measured
    if not parts.get(part):
        raise UserError(f"The split of {workdir} has no part {part!r}: it has {', '.join(parts)}.")
    return index.directory, parts[part]
