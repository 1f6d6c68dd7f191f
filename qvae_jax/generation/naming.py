"""What the files of generated sounds are called, and that none of them overwrites an input."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax.generation.inputs import Source
from qvae_jax.generation.requests import Before, LatentRequest, Posterior, latents_of
from qvae_jax.system.errors import UserError

# Bytes of an input's name that its outputs keep: a file system allows 255 in all.
LONGEST_STEM = 200


def stems(found: Sequence[Source], num_before: int = 0) -> list[str]:
    """NN_STEM for each input, so that two inputs of one stem do not meet; after num_before others."""
    last = num_before + len(found)
    digits = max(2, len(str(last)))
    return [
        f"{i:0{digits}d}_{_short(source.stem)}" for i, source in enumerate(found, num_before + 1)
    ]


def heard_name(stem: str) -> str:
    """The file of what is heard of an input."""
    return f"{stem}_input.wav"


def reference_name(stem: str) -> str:
    """The file of the sound that an input imitates."""
    return f"{stem}_reference.wav"


def nearest_name(stem: str, rank: int) -> str:
    """The file of a library's sound of this rank among those nearest to an input."""
    return f"{stem}_nearest{rank:02d}.wav"


def curves_name(sound_name: str) -> str:
    """The file of the curves that a generated sound was rendered with."""
    return f"{_without_ending(sound_name)}_curves.csv"


def picture_name(sound_name: str) -> str:
    """The file of the picture of these curves."""
    return f"{_without_ending(sound_name)}_curves.png"


def sound_names(
    stems: Sequence[str], request: LatentRequest, format: str, before: Before = Before()
) -> list[str]:
    """The file of each sound, in the order of latents_of."""
    # The labels of latents depend on the request alone, so any latents will do.
    zero = Posterior(np.zeros(1, np.float32), np.zeros(1, np.float32))
    one_dimension = dataclasses.replace(
        request, walk_dimension=None if request.walk_dimension is None else 0
    )
    found = []
    for latent, _ in latents_of(one_dimension, (zero for _ in stems), 1, before):
        parts = [] if latent.place is None else [stems[latent.place - before.inputs - 1]]
        found.append("_".join([*parts, *filter(None, [latent.label]), "generated"]))
    return [f"{name}.{format}" for name in found]


def steered_names(names: Sequence[str]) -> list[str]:
    """What is written beside these sounds where a steered model made them."""
    return [of(name) for name in names for of in (curves_name, picture_name)]


def nearest_names(stems: Sequence[str], count: int) -> list[str]:
    """What is written of a library beside these inputs, where it has as many sounds."""
    return [nearest_name(stem, rank) for stem in stems for rank in range(1, count + 1)]


def file_names(found: Sequence[Source], stems: Sequence[str], names: Sequence[str]) -> list[str]:
    """All that will be written of these inputs and sounds, but for curves."""
    references = [
        reference_name(stem)
        for source, stem in zip(found, stems, strict=True)
        if source.reference is not None
    ]
    return [*names, *map(heard_name, stems), *references]


def require_inputs_kept(
    inputs: Sequence[pathlib.Path],
    stems: Sequence[str],
    names: Sequence[str],
    output_dir: pathlib.Path,
    removed: Sequence[str] = (),
    num_nearest: int = 0,
) -> None:
    """Raises UserError where an input would be replaced or removed.

    Replaced by a file that belongs to these stems and names; removed, those of output_dir that
    removed names. num_nearest is how many sounds of a library are put beside each input.
    """
    inputs = {path.resolve() for path in inputs}
    of_sounds = [*names, *steered_names(names)]
    outputs = [*of_sounds, *map(heard_name, stems), *map(reference_name, stems)]
    outputs += nearest_names(stems, num_nearest)
    for name in (*outputs, *removed):
        target = (output_dir / name).resolve()
        if target in inputs:
            raise UserError(
                f"{target} is an input and would be overwritten: name another --output_dir."
            )


def _without_ending(sound_name: str) -> str:
    return sound_name.rpartition("_generated.")[0]


def _short(stem: str) -> str:
    """A stem, cut where the outputs' names would grow too long."""
    return os.fsencode(stem)[:LONGEST_STEM].decode("utf-8", "ignore")
