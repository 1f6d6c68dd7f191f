"""The one door to data sets on disk: what a folder holds, whichever layout it has.

A further layout is a file beside vimsketch.py, and a choice here.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from qvae_jax.data import qvim_dev, vimsketch, vimsketch_references
from qvae_jax.data.index import Index


def read_index(dataset_dir: str | os.PathLike) -> Index:
    """What a data set holds; UserError where the folder has no known layout, or is damaged."""
    layout = qvim_dev if qvim_dev.is_in(dataset_dir) else vimsketch
    return layout.read_index(dataset_dir)


def find_references(
    paths: Sequence[Path], dataset_dir: str | os.PathLike | None = None
) -> list[Path | None]:
    """The sound that each of some audio files imitates, None where no data set says so.

    It is looked for in the data set that the file lies in, then in dataset_dir, where a file of
    the same name is that imitation. Where several references would do, none is taken, which is
    said.
    """
    found = vimsketch_references.find_references(paths, dataset_dir)
    return [
        qvim_dev.find_reference(path) if reference is None else reference
        for path, reference in zip(paths, found)
    ]
