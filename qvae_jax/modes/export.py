"""`--mode=export`: a model as one graph, as a page without a server, or as a folder to share."""

import pathlib
import shlex
from collections.abc import Callable, Mapping

from qvae_jax.exporting import hub
from qvae_jax.generation.model import Model, load_model
from qvae_jax.modes.requests import ExportRequest
from qvae_jax.runs import open_run
from qvae_jax.system.errors import UserError

# What writes a model in a format into the request's folder, that is not there yet, whole or not at
# all.
Writer = Callable[[Model, ExportRequest], None]


def _hub(model: Model, request: ExportRequest) -> None:
    folder = pathlib.Path(request.output_dir)
    run = None if request.workdir is None else open_run(request.workdir)
    hub.write(model, folder, run, request.licence)
    print(f"weights and model card written to {folder}; read the card, and share them with")
    print(f"hf upload OWNER/NAME {shlex.quote(str(folder))}")


WRITERS: Mapping[str, Writer] = {"hub": _hub}


def export(request: ExportRequest) -> None:
    """Writes the model in the format asked for into a new folder, and says what is there.

    Raises UserError for a model that cannot be loaded, a format that there is not or that cannot hold
    the model, and a folder that is there already.
    """
    if request.licence is not None and request.format != "hub":
        raise UserError(
            f"--licence is for --format=hub, and --format is {request.format!r}: leave one of them out."
        )
    if request.format not in WRITERS:
        raise UserError(f"--format is {request.format!r}: set it to one of {', '.join(WRITERS)}.")
    model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
    WRITERS[request.format](model, request)
