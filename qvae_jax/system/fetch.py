"""Files from the network that arrive whole or not at all, and go on where they broke off.

Beside the file lies `NAME.part` until all of it is there, and `NAME.part.json`, which says of which
version of the file the part is. The next call goes on from there.
"""

import contextlib
import email.message
import hashlib
import http.client
import json
import os
import pathlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator

from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

TIMEOUT_S = 30.0  # without a single byte
PAUSES_S = (2.0, 4.0, 8.0, 16.0, 32.0)  # before each new attempt; a minute in all, as limits last
BLOCK_BYTES = 2**16  # what a reset connection loses at most
# Statuses of servers that are overloaded or being restarted; any other answer is final.
_PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"\s*bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", re.IGNORECASE)
_HEADERS = {"User-Agent": "qvae_jax", "Accept-Encoding": "identity"}


def fetch_file(
    url: str,
    path: str | os.PathLike,
    *,
    size: int | None = None,
    checksum: str | None = None,
    timeout_s: float = TIMEOUT_S,
    pauses_s: Iterable[float] = PAUSES_S,
) -> None:
    """Downloads `url` to `path`, unless it is there already; shows how far it is.

    A connection that breaks is taken up again where it broke, in this call and, where all attempts
    fail, in the next one: with the server's ETag or time of change as a guard, or with `checksum`,
    which shows at the end whether the parts belong together. With neither of them, or where the
    server does not serve parts, it starts from the beginning.

    Args:
        url: of http or https.
        path: where to; missing folders are made.
        size: of the file in bytes, where it is known beforehand.
        checksum: "md5:HEX" or "sha256:HEX", where it is known beforehand.
        timeout_s: the longest silence of the server.
        pauses_s: before each new attempt in a row that brings nothing new.

    Raises:
        UserError: what is at `path` already, or has come, is of another size or checksum; the
            server cannot be reached, refuses, or answers with something else; no room on the disk.
    """
    path = pathlib.Path(path)
    if path.exists():
        check_file(path, size=size, checksum=checksum, mend="remove it and run this again")
        return
    if not url.lower().startswith(("http://", "https://")):
        raise UserError(f"{url!r} is not an address: it must begin with http:// or https://.")
    files.make_folder(path.parent)
    part = files.part_of(path)
    by_hand = f"fetch it by other means and put it at {path}"
    pauses, furthest = iter(pauses_s), _size(part)
    while True:
        try:
            _fetch_rest(url, part, size=size, checksum=checksum, timeout_s=timeout_s)
            break
        except (OSError, http.client.HTTPException) as error:
            if _is_final(error):
                raise UserError(
                    f"{url} cannot be downloaded ({_said(error)}): {by_hand}."
                ) from error
            if _size(part) > furthest:
                pauses, furthest = iter(pauses_s), _size(part)
            pause_s = next(pauses, None)
            if pause_s is None:
                kept = f" to go on from byte {_size(part)}" if _size(part) else ""
                raise UserError(
                    f"{url} cannot be downloaded ({_said(error)}): run this again{kept}, or "
                    f"{by_hand}."
                ) from error
            _wait(url, error, pause_s)
    try:
        mend = f"run this again, or {by_hand}"
        check_file(part, size=size, checksum=checksum, where=f"the download of {url}", mend=mend)
    except UserError:
        _forget(part)  # what is damaged is of no use to the next call
        raise
    with files.explaining_write_errors(path):
        os.replace(part, path)
    _forget(part)


def read_json(url: str, *, timeout_s: float = TIMEOUT_S, pauses_s: Iterable[float] = PAUSES_S[:3]):
    """The value of the JSON at an address; UserError where it cannot be had or is no JSON."""
    for pause_s in (*pauses_s, None):
        try:
            with _opened(url, {"Accept": "application/json"}, timeout_s) as response:
                return json.load(response)
        except ValueError as error:
            raise UserError(f"{url} does not answer with JSON ({error}).") from error
        except (OSError, http.client.HTTPException) as error:
            if pause_s is None or _is_final(error):
                raise UserError(f"{url} cannot be read ({_said(error)}).") from error
            _wait(url, error, pause_s)


def check_file(
    path: pathlib.Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    where: str | None = None,
    mend: str,
) -> None:
    """Raises UserError where a file is not of this size or checksum ("md5:HEX" or "sha256:HEX").

    where names the file in the message, mend says what to do about it.
    """
    where = str(path) if where is None else where
    found_size = _size(path)
    if size is not None and found_size != size:
        raise UserError(
            f"{where} has {found_size} bytes instead of {size}: it is damaged or another file; "
            f"{mend}."
        )
    if checksum is None:
        return
    algorithm, _, digest = checksum.partition(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != digest.lower():
        raise UserError(
            f"{where} has {algorithm} {found} instead of the published {digest}: it is damaged; "
            f"{mend}."
        )


def _fetch_rest(
    url: str, part: pathlib.Path, *, size: int | None, checksum: str | None, timeout_s: float
) -> None:
    """Adds to the part what it lacks; OSError or HTTPException where the connection fails."""
    known = _read_version(part, url)
    total = size if size is not None else known.get("size")
    guard = known.get("etag") or known.get("last_modified")
    offset = _size(part) if guard or checksum else 0
    if total is not None and offset > total:
        offset = 0
    if offset and offset == total:
        return
    headers = {}
    if offset:
        headers = {"Range": f"bytes={offset}-"} | ({"If-Range": guard} if guard else {})
    try:
        with _opened(url, headers, timeout_s) as response:
            if response.status == 206:
                total = _checked_total(url, part, response.headers, offset, total, known)
            else:
                offset, total = 0, _announced_total(url, response, total)
                _write_version(part, url, response.headers, total)
            _write_blocks(response, part, offset, total)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:
            raise
        # The part is as long as the file, or longer: it is another version's, or whole.
        if error.headers.get("Content-Range", "").strip() != f"bytes */{offset}":
            _forget(part)
            raise ConnectionError("the file became shorter on the server") from error


def _announced_total(url: str, response: http.client.HTTPResponse, expected: int | None):
    """The size in bytes that the server announces, or the expected one where it announces none."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise UserError(
            f"{url} is sent as {encoding}, which was not asked for: fetch it with a browser."
        )
    if None not in (response.length, expected) and response.length != expected:
        raise UserError(
            f"{url} announces {response.length} bytes instead of {expected}: it is another file, "
            "or the page of a proxy; look at it in a browser."
        )
    return expected if response.length is None else response.length


def _checked_total(
    url: str,
    part: pathlib.Path,
    headers: email.message.Message,
    offset: int,
    expected: int | None,
    known: dict,
) -> int:
    """The file's size by the header of a part, which must be the part that was asked for."""
    if known.get("etag") and headers.get("ETag") not in (None, known["etag"]):
        _forget(part)
        raise ConnectionError("the file changed on the server")
    content_range = headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(content_range)
    first, last, total = match.groups() if match else (None, None, None)
    if total == "*" and expected is not None:
        total = expected
    if not match or total == "*" or (int(first), int(last) + 1) != (offset, int(total)):
        raise UserError(
            f"{url} answers with the part {content_range!r} where bytes {offset} to the end were "
            f"asked for: remove {part} to start from the beginning."
        )
    if expected is not None and int(total) != expected:
        raise UserError(
            f"{url} is now of {total} bytes instead of {expected}: remove {part} to start from the "
            "beginning."
        )
    return int(total)


def _write_blocks(
    response: http.client.HTTPResponse, part: pathlib.Path, offset: int, total: int | None
) -> None:
    """Writes the part from `offset` on; ConnectionError where it ends before `total` bytes."""
    if total is not None:
        files.require_free_space(part, total - offset)
    with files.explaining_write_errors(part):
        file = open(part, "r+b" if offset else "wb")
    name = part.name.removesuffix(".part")
    bar = progress_bar(name, initial=offset, total=total, unit="B", unit_scale=True)
    with file, bar:
        file.seek(offset)
        while block := response.read(BLOCK_BYTES):
            with files.explaining_write_errors(part):
                file.write(block)
            bar.update(len(block))
        with files.explaining_write_errors(part):
            file.flush()
        received = file.tell()
    if total is not None and received != total:
        raise ConnectionError(f"the connection broke off after {received} of {total} bytes")


@contextlib.contextmanager
def _opened(url: str, headers: dict, timeout_s: float) -> Iterator[http.client.HTTPResponse]:
    try:
        request = urllib.request.Request(url, headers=_HEADERS | headers)
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except ValueError as error:
        raise UserError(f"{url!r} is not a usable address ({error}): check it.") from error
    with response:
        yield response


def _wait(url: str, error: Exception, pause_s: float) -> None:
    print(f"{url}: {_said(error)}; trying again in {pause_s:g} s", flush=True)
    time.sleep(pause_s)


def _said(error: Exception) -> str:
    """What an error says, on one line; servers that speak no HTTP send anything."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    said = getattr(error, "strerror", None) or str(error)
    printable = "".join(letter if letter.isprintable() else " " for letter in said)
    return printable.strip() or type(error).__name__


def _is_final(error: Exception) -> bool:
    """Whether another attempt would end in the same way."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in _PASSING_STATUSES
    return isinstance(error, http.client.InvalidURL)


def _read_version(part: pathlib.Path, url: str) -> dict:
    """What the server said of the file that the part is of; empty where that is not known."""
    try:
        version = files.read_json(_version_path(part))
    except UserError:
        return {}
    return version if isinstance(version, dict) and version.get("url") == url else {}


def _write_version(
    part: pathlib.Path, url: str, headers: email.message.Message, total: int | None
) -> None:
    _forget(part)  # never the old part with the new version's marks, should we be killed between
    etag = headers.get("ETag")
    version = {
        "url": url,
        "size": total,
        "etag": None if etag is None or etag.startswith("W/") else etag,  # weak ones guard no bytes
        "last_modified": headers.get("Last-Modified"),
    }
    files.write_json(_version_path(part), version)


def _version_path(part: pathlib.Path) -> pathlib.Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: pathlib.Path) -> None:
    part.unlink(missing_ok=True)
    _version_path(part).unlink(missing_ok=True)


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0
