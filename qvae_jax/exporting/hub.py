"""A folder to share on the Hugging Face Hub: weights, what they belong to, and a model card."""

import dataclasses
import pathlib
import shlex

from qvae_jax.exporting import model_card
from qvae_jax.generation.model import Model
from qvae_jax.models import stored
from qvae_jax.runs import open_run
from qvae_jax.system import files

FORMAT = "hub"
CARD = "README.md"


def write(model: Model, directory: pathlib.Path, licence: str | None = None) -> None:
    """Writes model.safetensors, config.json and README.md into a new folder, all or nothing.

    Says what is there, and the command that uploads it. licence is a name that the Hub has, by
    default "unknown". Raises UserError where model_card does, and where the folder cannot be written.
    """
    workdir = model.source.get("workdir")
    card = model_card.written(model, None if workdir is None else open_run(workdir), licence)
    description = {"kind": "qvae", "model": dataclasses.asdict(model.config)}
    with files.new_folder(directory) as folder:
        stored.save_shared(folder, description, model.variables)
        # Bytes of a file's name that are not UTF-8 become question marks.
        (folder / CARD).write_bytes(card.encode("utf-8", "replace"))
    print(f"weights and model card written to {directory}; read the card, and share them with")
    print(f"hf upload OWNER/NAME {shlex.quote(str(directory))}")
