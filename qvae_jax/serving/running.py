"""The server's life: a port, the programs it needs, requests, and an end within two seconds."""

import atexit
import contextlib
import errno
import os
import pathlib
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

import uvicorn

from qvae_jax.generation.model import Model
from qvae_jax.retrieval.finding import Library
from qvae_jax.serving import security
from qvae_jax.serving.application import application
from qvae_jax.serving.connections import Connection
from qvae_jax.serving.making import Maker
from qvae_jax.serving.model_thread import ModelThread
from qvae_jax.serving.security import Guard
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

COMPILED_FIRST_S = 2.5  # programs for longer sounds are compiled once the page is there
NUM_PORTS_TRIED = 100
GRACE_S = 1  # that answers under way have when the server is stopped


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at this address that takes no connections yet; UserError where it is taken."""
    if not 0 <= port <= 65_535:
        raise UserError(f"--port is {port}: set it from 0 (any free one) to 65535.")
    try:
        own = _bound(host, port)
    except OSError as error:
        raise UserError(_why_not(host, port, error)) from error
    with own:
        yield own


def serve(
    model: Model,
    own: socket.socket,
    host: str,
    announce: Callable[[str, str], None],
    library: Library | None = None,
) -> None:
    """Serves a model, and a library beside it, until SIGINT or SIGTERM.

    These do at the end what they do elsewhere. own is as bound gives it. announce is told the
    server's address, and its token, once the port is open.
    """
    token = security.new_token()
    with contextlib.ExitStack() as stack:
        with files.explaining_write_errors("the folder for temporary files (TMPDIR)"):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        maker, thread = Maker(model, pathlib.Path(folder), library), ModelThread()
        steps = maker.warm_up()
        compiling = threading.Thread(target=list, args=(steps,), daemon=True)
        stack.push(_stopping(thread, compiling))
        _compile_first(steps, maker.num_programs, thread)
        guarded = Guard(
            application(maker, thread),
            names=security.names_of(host),
            token=token,
            addresses=not security.is_loopback(host),
        )

        def opened() -> None:
            compiling.start()
            announce(_address(own, host), token)

        _run(guarded, own, opened)


def _compile_first(steps: Iterator[float], num_steps: int, thread: ModelThread) -> None:
    """Compiles what sounds of COMPILED_FIRST_S need, in the thread, so that a signal is heard here."""
    with progress_bar("compiling", total=num_steps, unit="program") as bar:
        for _ in range(num_steps):
            reached_s = thread.submit(next, steps).result()
            bar.update()
            if reached_s >= COMPILED_FIRST_S:
                break


class _Server(uvicorn.Server):
    """uvicorn's, which tells when it is open."""

    def __init__(self, config: uvicorn.Config, opened: Callable[[], None]) -> None:
        super().__init__(config)
        self._opened = opened

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._opened()


def _run(guarded: Guard, own: socket.socket, opened: Callable[[], None]) -> None:
    config = uvicorn.Config(
        guarded,
        http=Connection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",  # what goes wrong, application.py says
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    try:
        _Server(config, opened).run([own])
    except OSError as error:  # another program opened the port while this one compiled
        raise UserError(_why_not(*own.getsockname()[:2], error)) from error


def _stopping(thread: ModelThread, compiling: threading.Thread) -> Callable[..., None]:
    """The end of both threads; where one computes still, Python ends without waiting for it."""

    def stop(kind: type | None, error: BaseException | None, trace: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would break this off
        if thread.stop(within_s=0.2) and not compiling.is_alive():
            return
        of_signal = 0 if isinstance(error, KeyboardInterrupt | None) else 1
        status = error.code if isinstance(error, SystemExit) else of_signal
        # Registered last, it is called first: JAX would wait for what is being computed.
        atexit.register(_leave, status)

    return stop


def _leave(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


# --- Addresses


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    own = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(address)
    except BaseException:
        own.close()
        raise
    return own


def _why_not(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"--host is {host!r}, which is no address of this machine ({error.strerror}): set another."
    free = _next_free(host, port)
    instead = "another --port" if free is None else f"--port={free}"
    return f"Port {port} cannot be opened ({error.strerror}): use {instead}."


def _next_free(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + NUM_PORTS_TRIED, 65_535) + 1):
        with contextlib.suppress(OSError), _bound(host, candidate):
            return candidate
    return None


def _address(own: socket.socket, host: str) -> str:
    """What a browser on this machine, or for an address of all its networks on another, is given."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{own.getsockname()[1]}/"
