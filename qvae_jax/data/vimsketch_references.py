"""Which sound a file imitates, as its name and VimSketch's layout say, whatever else lies there."""

import functools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from qvae_jax.audio import listing
from qvae_jax.data import names
from qvae_jax.data.vimsketch import IMITATIONS_FOLDER, REFERENCES_FOLDER
from qvae_jax.system.errors import UserError


def find_references(
    paths: Sequence[Path], dataset_dir: str | os.PathLike | None = None
) -> list[Path | None]:
    """The sound that each of some audio files imitates, None where no data set says so.

    It is looked for in the data set that the file lies in, then in dataset_dir, where a file of
    the same name is that imitation. Neither has to be a whole data set. Where several references
    would do, none is taken, which is said.
    """
    references_in, imitations_in = map(functools.cache, (_references_by_key, _imitations))

    def places(path: Path) -> Iterator[tuple[Path, str]]:
        # A data set may consist of links, and a link may lead into one.
        for place in (path.parent.resolve() / path.name, path.resolve()):
            if place.parent.name == IMITATIONS_FOLDER:
                yield place.parent.parent, place.name
        if dataset_dir is not None:
            # Of another name it would only share its key with imitations there, as any file may.
            if names.matching_name(path.name) in imitations_in(Path(dataset_dir)):
                yield Path(dataset_dir), path.name

    def candidates(path: Path) -> list[Path]:
        found = (
            references_in(folder).get(names.pairing_key(name)) for folder, name in places(path)
        )
        return next(filter(None, found), [])

    return [_only(path, candidates(path)) for path in paths]


def _references_by_key(directory: Path) -> dict[str, list[Path]]:
    """The references that lie there."""
    found = defaultdict(list)
    for name in _sounds_in(directory / REFERENCES_FOLDER):
        if key := names.pairing_key(name):
            found[key].append(directory / REFERENCES_FOLDER / name)
    return found


def _imitations(directory: Path) -> set[str]:
    """What of the names of the imitations that lie there counts."""
    return set(map(names.matching_name, _sounds_in(directory / IMITATIONS_FOLDER)))


def _sounds_in(folder: Path) -> list[str]:
    try:
        return listing.entries(folder).get(listing.SOUNDS, [])
    except UserError:  # a data set that is gone, or not for this user, says nothing
        return []


def _only(path: Path, references: Sequence[Path]) -> Path | None:
    if len(references) > 1:
        print(
            f"{path} may imitate {names.quoted(*(each.name for each in references))}: none of them is "
            "taken for its reference"
        )
    return references[0] if len(references) == 1 else None
