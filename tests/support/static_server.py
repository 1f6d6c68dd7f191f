"""A web server of a folder on this machine, such as `python3 -m http.server`."""

import contextlib
import functools
import http.server
import pathlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[str]:
    """The address of a server that runs while the block does."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Keeps quiet: the tests look at stderr."""
