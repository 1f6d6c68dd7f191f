"""Bodies as they come in: no more than fits, and not too slowly."""

import asyncio
import contextlib
from collections.abc import Iterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from qvae_jax.live_page.facts import MOST_BYTES
from qvae_jax.serving.orders import FILES, IMITATION

MOST_BYTES_AT_ONCE = 512 * 2**20  # of all that are kept
LONGEST_PAUSE_S = 10.0  # before a body's first byte; later bytes may be as late as at LEAST_RATE
LEAST_RATE = 100_000  # bytes a second
RETRY_AFTER_S = 2
MULTIPART = "multipart/form-data"


class Bodies:
    """The room that all bodies which are being read or wait to be used have together."""

    def __init__(self, most_bytes: int = MOST_BYTES_AT_ONCE) -> None:
        self._left = most_bytes

    @contextlib.contextmanager
    def bounded(self, request: Request) -> Iterator[Request]:
        """The request with a body that raises HTTPException where it is too long or too slow.

        Its room is given back when the block ends.
        """
        taken = 0
        started_s = asyncio.get_running_loop().time()
        _check_announced(request)

        async def receive() -> Message:
            nonlocal taken
            deadline_s = started_s + LONGEST_PAUSE_S + taken / LEAST_RATE
            try:
                async with asyncio.timeout_at(deadline_s):
                    message = await request.receive()
            except TimeoutError:
                raise _refused(408, "The body came too slowly: send it again.") from None
            size = len(message.get("body", b""))
            if taken + size > MOST_BYTES:
                raise _too_long()
            if size > self._left:
                raise busy()
            taken, self._left = taken + size, self._left - size
            return message

        try:
            yield Request(request.scope, receive)
        finally:
            self._left += taken


async def sent_with(request: Request) -> dict[str, bytes]:
    """What a body holds, by the names in FILES: a form's parts, or one audio file, the imitation."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != MULTIPART:
        return {IMITATION: await request.body()}
    form = request.form(max_files=len(FILES), max_fields=len(FILES), max_part_size=MOST_BYTES)
    async with form as parts:
        found = {}
        for name, part in parts.multi_items():
            if name not in FILES or name in found:
                names = ", ".join(FILES)
                raise _refused(400, f"A form holds {names}, once each, and nothing else.")
            found[name] = part.encode() if isinstance(part, str) else await part.read()
        return found


def busy() -> HTTPException:
    """What is said where too much waits."""
    message = f"Too many sounds are waiting: try again in {RETRY_AFTER_S} s."
    return HTTPException(503, message, {"retry-after": str(RETRY_AFTER_S)})


def _check_announced(request: Request) -> None:
    """Refuses at once a body that says itself that it is too long."""
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced) > MOST_BYTES:
        raise _too_long()


def _too_long() -> HTTPException:
    return _refused(413, f"The body is too long: send {MOST_BYTES // 2**20} MiB at most.")


def _refused(status: int, message: str) -> HTTPException:
    # What is still under way of the body is not read to its end.
    return HTTPException(status, message, {"connection": "close"})
