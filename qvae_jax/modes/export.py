"""`--mode=export`: a model as one graph, as a page without a server, or as a folder to share."""

import pathlib
import shlex
from collections.abc import Callable, Mapping

from qvae_jax.exporting import onnx, stablehlo, web
from qvae_jax.generation.model import load_model
from qvae_jax.modes.requests import ExportRequest
from qvae_jax.system.errors import UserError

# What writes a model in a format into a folder that is not there yet, whole or not at all.
Writer = Callable[..., None]
WRITERS: Mapping[str, Writer] = {
    stablehlo.FORMAT: stablehlo.write,
    onnx.FORMAT: onnx.write,
    web.FORMAT: web.write,
}


def export(request: ExportRequest) -> None:
    """Writes the model in the format asked for into a new folder, and says what is there.

    Raises UserError for a model that cannot be loaded, a format that there is not or that cannot hold
    the model, and a folder that is there already.
    """
    if request.format not in WRITERS:
        raise UserError(f"--format is {request.format!r}: set it to one of {', '.join(WRITERS)}.")
    options = {}
    if request.format == web.FORMAT:
        options["package_file"] = request.onnxruntime_web
    elif request.onnxruntime_web is not None:
        raise UserError("--onnxruntime_web is for --format=web: leave it out.")
    model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
    WRITERS[request.format](model, pathlib.Path(request.output_dir), **options)
    if request.format == web.FORMAT:
        folder = shlex.quote(request.output_dir)
        print(f"python3 -m http.server --directory={folder} serves it; open http://localhost:8000/")
