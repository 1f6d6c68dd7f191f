"""`--mode=export`: a model as one graph, as a page without a server, or as a folder to share."""

import pathlib
from collections.abc import Callable, Mapping

from qvae_jax.exporting import onnx, stablehlo
from qvae_jax.generation.model import Model, load_model
from qvae_jax.modes.requests import ExportRequest
from qvae_jax.system.errors import UserError

# What writes a model in a format into a folder that is not there yet, whole or not at all.
Writer = Callable[[Model, pathlib.Path], None]
WRITERS: Mapping[str, Writer] = {stablehlo.FORMAT: stablehlo.write, onnx.FORMAT: onnx.write}


def export(request: ExportRequest) -> None:
    """Writes the model in the format asked for into a new folder, and says what is there.

    Raises UserError for a model that cannot be loaded, a format that there is not or that cannot hold
    the model, and a folder that is there already.
    """
    if request.format not in WRITERS:
        raise UserError(f"--format is {request.format!r}: set it to one of {', '.join(WRITERS)}.")
    model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
    WRITERS[request.format](model, pathlib.Path(request.output_dir))
