"""`--mode=serve`: a page to hum into, which plays the sound at once."""

import contextlib

from qvae_jax.modes.requests import ServeRequest
from qvae_jax.system.command import is_checkout
from qvae_jax.system.errors import UserError

try:
    import multipart  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    what = "'.[serve]'" if is_checkout() else "'qvae_jax[serve]'"
    raise UserError(
        f"--mode=serve needs {error.name}, which is not installed: python3 -m pip install {what}"
    ) from error

from qvae_jax.generation.model import load_model
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
            running.serve(model, own, request.host, _announce)
        print("stopped")


def _announce(address: str, token: str) -> None:
    print(f"open {address}#token={token}", flush=True)
