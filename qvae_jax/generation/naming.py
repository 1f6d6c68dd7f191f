"""What the files of generated sounds are called, and that none of them overwrites an input."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax.generation.inputs import Source
from qvae_jax.generation.requests import LatentRequest, Posterior, latents_of
from qvae_jax.system.errors import UserError

# Bytes of an input's name that its outputs keep: a file system allows 255 in all.
LONGEST_STEM = 200


def stems(found: Sequence[Source]) -> list[str]:
    """NN_STEM for each input, so that two inputs of one stem do not meet."""
    digits = max(2, len(str(len(found))))
    return [f"{i:0{digits}d}_{_short(source.stem)}" for i, source in enumerate(found, start=1)]


def heard_name(stem: str) -> str:
    """The file of what is heard of an input."""
    return f"{stem}_input.wav"


def reference_name(stem: str) -> str:
    """The file of the sound that an input imitates."""
    return f"{stem}_reference.wav"


def sound_names(stems: Sequence[str], request: LatentRequest, format: str) -> list[str]:
    """The file of each sound, in the order of latents_of."""
    # The labels of latents depend on the request alone, so any latents will do.
    zero = Posterior(np.zeros(1, np.float32), np.zeros(1, np.float32))
    one_dimension = dataclasses.replace(
        request, walk_dimension=None if request.walk_dimension is None else 0
    )
    found = []
    for latent, _ in latents_of(one_dimension, (zero for _ in stems), 1):
        parts = [] if latent.place is None else [stems[latent.place - 1]]
        found.append("_".join([*parts, *filter(None, [latent.label]), "generated"]))
    return [f"{name}.{format}" for name in found]


def require_inputs_kept(
    found: Sequence[Source], stems: Sequence[str], names: Sequence[str], output_dir: pathlib.Path
) -> None:
    """Raises UserError where a file that belongs to these stems and names would replace an input."""
    inputs = {source.path.resolve() for source in found}
    outputs = [*names, *map(heard_name, stems), *map(reference_name, stems)]
    for name in outputs:
        target = (output_dir / name).resolve()
        if target in inputs:
            raise UserError(
                f"{target} is an input and would be overwritten: name another --output_dir."
            )


def _short(stem: str) -> str:
    """A stem, cut where the outputs' names would grow too long."""
    return os.fsencode(stem)[:LONGEST_STEM].decode("utf-8", "ignore")
