"""A folder to share on the Hugging Face Hub: weights, what they belong to, and a model card."""

import dataclasses
import pathlib

from qvae_jax.exporting import model_card
from qvae_jax.generation.model import Model
from qvae_jax.models import stored
from qvae_jax.runs import RunFolder
from qvae_jax.system import files

CARD = "README.md"


def write(
    model: Model,
    directory: pathlib.Path,
    run: RunFolder | None = None,
    licence: str | None = None,
) -> None:
    """Writes model.safetensors, config.json and README.md into a new folder, all or nothing.

    run is the one that the model comes from, if any; licence is a name that the Hub has, by default
    "unknown". Raises UserError where model_card does, and where the folder cannot be written.
    """
    card = model_card.written(model, run, licence)
    description = {"kind": "qvae", "model": dataclasses.asdict(model.config)}
    with files.new_folder(directory) as folder:
        stored.save_shared(folder, description, model.variables)
        # Bytes of a file's name that are not UTF-8 become question marks.
        (folder / CARD).write_bytes(card.encode("utf-8", "replace"))
