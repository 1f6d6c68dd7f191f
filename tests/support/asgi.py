"""An application asked without a server: one request, and its whole answer."""

import asyncio
import json
from typing import NamedTuple


class Answered(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """What the body says is wrong."""
        return json.loads(self.body)["error"]


def asked(
    application,
    method: str,
    path: str,
    *,
    headers: dict[str, str],
    query: bytes = b"",
    body: bytes = b"",
) -> Answered:
    """The answer to a request whose body comes whole."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent = []

    async def receive() -> dict:
        if messages:
            return messages.pop()
        return await asyncio.Future()  # the client stays

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [
            (name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    asyncio.run(application(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answered(sent[0]["status"], found, b"".join(one.get("body", b"") for one in sent[1:]))


def form(parts: dict[str, bytes]) -> tuple[str, bytes]:
    """The content type and the body of a form of files."""
    mark = "a-line-between-parts"
    heads = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
        for name in parts
    ]
    written = [head.encode() + content + b"\r\n" for head, content in zip(heads, parts.values())]
    return f"multipart/form-data; boundary={mark}", b"".join(written) + f"--{mark}--\r\n".encode()
