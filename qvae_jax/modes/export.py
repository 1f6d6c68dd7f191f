"""`--mode=export`: a model as one graph, as a page without a server, or as a folder to share."""

import pathlib
import shlex
from collections.abc import Callable, Mapping

from qvae_jax.exporting import hub, onnx, reading, stablehlo, web
from qvae_jax.generation.model import load_model
from qvae_jax.modes.requests import ExportRequest
from qvae_jax.system.errors import UserError

# What writes a model in a format into a folder that is not there yet, whole or not at all; it takes
# the model, the folder, and those of OWN_FLAGS that are given.
Writer = Callable[..., None]
WRITERS: Mapping[str, Writer] = {
    stablehlo.FORMAT: stablehlo.write,
    onnx.FORMAT: onnx.write,
    web.FORMAT: web.write,
    hub.FORMAT: hub.write,
}
OWN_FLAGS = {"licence": hub.FORMAT, "onnxruntime_web": web.FORMAT}  # each of one format alone


def export(request: ExportRequest) -> None:
    """Writes the model in the format asked for into a new folder, and says what is there.

    Raises UserError for a model that cannot be loaded, a format that there is not or that cannot hold
    the model, a flag of another format, and a folder that is there already.
    """
    if request.format not in WRITERS:
        raise UserError(f"--format is {request.format!r}: set it to one of {', '.join(WRITERS)}.")
    own = _own_flags(request)
    model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
    WRITERS[request.format](model, pathlib.Path(request.output_dir), **own)
    if request.format in reading.OPENERS:
        print(f"graphs and their description written to {request.output_dir}")
        print(f"qvae_jax.load({request.output_dir!r}) reads them back")
    if request.format == web.FORMAT:
        folder = shlex.quote(request.output_dir)
        print(f"python3 -m http.server --directory={folder} serves it; open http://localhost:8000/")


def _own_flags(request: ExportRequest) -> dict[str, str]:
    """What is given of flags that only one format takes; UserError where it is another one."""
    given = {name: getattr(request, name) for name in OWN_FLAGS}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if OWN_FLAGS[name] != request.format:
            raise UserError(
                f"--{name} is for --format={OWN_FLAGS[name]}, and --format is {request.format!r}: "
                "leave one of them out."
            )
    return given
