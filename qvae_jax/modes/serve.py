"""`--mode=serve`: a page to hum into, which plays the sound at once."""

import contextlib

from qvae_jax.modes.requests import ServeRequest
from qvae_jax.system.command import install
from qvae_jax.system.errors import UserError

try:
    import python_multipart  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    raise UserError(
        f"--mode=serve needs {error.name}, which is not installed: {install('serve')}"
    ) from error

from qvae_jax.generation.model import Model, load_model
from qvae_jax.generation.neighbours import encoders_of, library_of
from qvae_jax.retrieval.finding import Library
from qvae_jax.serving import running, security


def serve(request: ServeRequest) -> None:
    """Serves the page of a model until Ctrl-C.

    Raises UserError for a model that cannot be loaded, and for a host or a port that cannot be had.
    """
    with running.bound(request.host, request.port) as own:
        model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
        if not security.is_loopback(request.host):
            print(
                f"warning: --host={request.host} lets other machines in; sounds and the token pass "
                "unencrypted, and browsers there give no microphone to a page without https"
            )
        with contextlib.suppress(KeyboardInterrupt):  # which is how it ends
            library = None if request.library is None else _library(request.library, model)
            running.serve(model, own, request.host, _announce, library)
        print("stopped")


def _library(folder: str, model: Model) -> Library:
    """A folder of sounds, indexed by the model's own encoder; see --mode=search."""
    if not model.is_steered:
        raise UserError(
            f"--library lends its timbres to a model of type 'steered', and this one's decoder is "
            f"{model.config.decoder_type!r}: leave it out, or use such a model."
        )
    return library_of(folder, *encoders_of(model))


def _announce(address: str, token: str) -> None:
    print(f"open {address}#token={token}", flush=True)
