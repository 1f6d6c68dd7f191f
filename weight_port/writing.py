"""What was ported, written into model folders: whole or not at all."""

import pathlib
import tempfile
from collections.abc import Iterable, Mapping

import numpy as np

from qvae_jax.models import stored
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, first_line
from weight_port.port import Port


def write(ported: Mapping[str, Port], output_dir: pathlib.Path) -> None:
    """Writes what port_all gives, whole or not at all; UserError where it cannot be written."""
    with files.explaining_write_errors(output_dir):
        _try_disk(output_dir, [one.variables for one in ported.values()])
    try:
        stored.save_models(
            output_dir, {name: (one.description, one.variables) for name, one in ported.items()}
        )
    except UserError:
        raise
    except Exception as error:  # TensorStore reports a full disk as ValueError
        raise UserError(
            f"{output_dir} cannot be written ({first_line(error)}): free some space or name "
            "another place."
        ) from error


def _try_disk(output_dir: pathlib.Path, models: Iterable[Variables]) -> None:
    """Raises OSError where the disk has no room for the checkpoint.

    Found out beforehand, because Orbax's threads print tracebacks of their own when the disk fills
    up, even after the save has failed.
    """
    path = output_dir.absolute()
    folder = next(folder for folder in (*path.parents, path) if folder.exists())
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2**20))  # for Orbax's own files
        for arrays in models:
            for array in (arrays.params | arrays.batch_stats).values():
                np.save(file, array)
