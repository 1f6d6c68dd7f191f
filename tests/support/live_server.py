"""The live page of the smallest steered model, served by a process of its own."""

import contextlib
import dataclasses
import http.client
import pathlib
import re
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator

import compiling
import waiting

REPOSITORY = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass
class Live:
    """A server that runs.

    Attributes:
        process: its process.
        printed: the file that holds what it printed so far.
        address: what it said to open, with its token.
    """

    process: subprocess.Popen
    printed: pathlib.Path
    address: str

    @property
    def port(self) -> int:
        return urllib.parse.urlsplit(self.address).port

    @property
    def token(self) -> str:
        return self.address.partition("#token=")[2]

    @property
    def authorised(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def asked(
        self, method: str, path: str, body: bytes | None = None, headers: dict | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and body of an answer, to who has the token unless headers differ."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=waiting.HANG_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, self.authorised if headers is None else headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()

    def interrupt(self) -> int:
        """Ends it as Ctrl-C does; gives its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(waiting.HANG_S)


def started(*flags: str, printed: pathlib.Path) -> subprocess.Popen:
    """A process of --mode=serve, which prints into a file."""
    with printed.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "main.py", "--mode=serve", *flags],
            cwd=REPOSITORY,
            env=compiling.environment() | {"PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def running(model: pathlib.Path, folder: pathlib.Path, *flags: str) -> Iterator[Live]:
    """A server of a ported model's folder at any free port; what it prints goes into folder."""
    printed = folder / "printed"
    process = started(f"--checkpoint={model}", "--port=0", *flags, printed=printed)
    try:
        waiting.until(lambda: "#token=" in printed.read_text(), process)
        address = re.search(r"http://\S+", printed.read_text())[0]
        yield Live(process, printed, address)
    finally:
        process.kill()
        process.wait()
