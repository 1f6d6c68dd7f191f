"""Who may ask, and what a browser may do with the answer."""

import ipaddress
import re
import secrets
import socket
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
GUARDED = "/api/"  # what lies below is for those who have the token; the page itself is no secret
# The page asks for nothing but itself, runs no script but its own, and stands in no other page.
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?", re.ASCII)


def new_token() -> str:
    """A token that nobody guesses, of characters that an address may hold."""
    return secrets.token_urlsafe(24)


def names_of(host: str) -> Sequence[str]:
    """The names by which a server at this address may be called, as Host headers have them.

    Another page's server can make a name of its own point here (DNS rebinding), and its page would
    then be of the same origin; it cannot do so with these.
    """
    own = f"[{host}]" if ":" in host else host
    names = {own.lower(), *LOOPBACK_NAMES}
    if not is_loopback(host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return sorted(names)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Lets through to an application what comes under a known name, from its own page or from none.

    And for addresses below GUARDED, with the token, as `Authorization: Bearer TOKEN`. Everything
    else gets a line and 403 or 401. addresses: whether any IP address will do as a name, which no
    page's server can be given.
    """

    def __init__(
        self, app: ASGIApp, *, names: Sequence[str], token: str, addresses: bool = False
    ) -> None:
        self._app, self._names, self._addresses = app, frozenset(names), addresses
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        answer = self._app if refusal is None else refusal
        await answer(scope, receive, _with_headers(send))

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "").lower()
        if not self._is_known(host):
            return _refused(
                403, f"This server is not called {host[:60]!r}: use the address it printed."
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return _refused(403, "Only this server's own page may use it.")
        given = headers.get("authorization", "").encode()
        if path.startswith(GUARDED) and not secrets.compare_digest(given, self._expected):
            return _refused(
                401, "The token is missing or is another start's: use the address printed."
            )
        return None

    def _is_known(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        return found[1] in self._names or self._addresses and _is_address(found[1])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _refused(status: int, message: str) -> JSONResponse:
    headers = {"connection": "close"}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": message}, status, headers)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
