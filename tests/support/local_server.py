"""A web server on this machine that behaves well or badly, for tests of downloads."""

import contextlib
import http.server
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import waiting


class Server(http.server.ThreadingHTTPServer):
    """Serves `contents` by path, each request in the way the next of `behaviours` names.

    Behaviours: good; cut and reset (half of what was asked for, with an orderly end and without);
    hang; no_ranges; unannounced (no length); chunked; wrong_range; wrong_total; endless_416;
    garbage; a status such as 404. After the last one, good. `etag` marks the version.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents: dict[str, bytes] = {}
        self.behaviours: list[str | int] = []
        self.etag: str | None = '"first"'
        self.requests: list[dict[str, str]] = []
        self.before_reset: Callable[[], object] = lambda: None

    def url(self, path: str = "/file.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def patient(self, urlopen: Callable) -> Callable:
        """urlopen whose timeout is for requests that will hang; other answers may take their time."""

        def opened(request, *, timeout: float):
            hangs = self.behaviours[:1] == ["hang"]
            return urlopen(request, timeout=timeout if hangs else waiting.HANG_S)

        return opened

    def ranges(self) -> list[str | None]:
        """The Range header of each request so far."""
        return [headers.get("Range") for headers in self.requests]

    def handle_error(self, request, client_address):
        """Keeps quiet about clients that hang up."""


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server that runs while the block does."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        behaviour = server.behaviours.pop(0) if server.behaviours else "good"
        if isinstance(behaviour, int):
            self.send_error(behaviour)
        elif behaviour == "garbage":
            self.wfile.write(b"\x00\x01 no HTTP at all\r\n\r\n")
        elif behaviour == "hang":
            self.rfile.read(1)  # until the client gives up
        elif self.path not in server.contents:
            self.send_error(404)
        else:
            self._serve(server.contents[self.path], behaviour)

    def _serve(self, content: bytes, behaviour: str) -> None:
        start = self._asked_start(behaviour)
        body = content[start:]
        if start and start >= len(content) or behaviour == "endless_416":
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        if start:
            total = len(content) + 7 if behaviour == "wrong_total" else len(content)
            first = start - 1 if behaviour == "wrong_range" else start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if self.server.etag is not None:
            self.send_header("ETag", self.server.etag)
        if behaviour == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in _halves(body))
            body += b"0\r\n\r\n"
        elif behaviour == "gzip":
            self.send_header("Content-Encoding", "gzip")
        elif behaviour != "unannounced":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if behaviour in ("cut", "reset") else body)
        if behaviour == "reset":
            # Closing with a zero linger time sends a reset instead of an orderly end.
            self.wfile.flush()
            self.server.before_reset()
            time.sleep(0.05)  # or the reset would overtake what was sent
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.connection.close()

    def _asked_start(self, behaviour: str) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        guard = self.headers.get("If-Range")
        if not asked or behaviour == "no_ranges" or guard not in (None, self.server.etag):
            return 0
        return int(asked[1])

    def log_message(self, *_):
        """Keeps quiet: the tests look at stderr."""


def _halves(body: bytes) -> tuple[bytes, bytes]:
    return body[: len(body) // 2], body[len(body) // 2 :]
