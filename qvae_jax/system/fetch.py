"""Files from the network that arrive whole or not at all, and carry on after a break.

Until all of a file is there, it lies beside its place as `NAME.part`; `NAME.part.json` says which
version of the file that is a part of. The next call carries on from there.
"""

import contextlib
import email.message
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

TIMEOUT_S = 30.0  # of silence, without a single byte
# Before each new attempt: a minute in all, as long as rate limits tend to last.
PAUSES_S = (2.0, 4.0, 8.0, 16.0, 32.0)
BLOCK_BYTES = 2**16  # what a reset connection loses at most
# From servers that are overloaded or restarting; any other status is final.
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
    """Downloads `url` to `path`, unless the file is there already, and shows the progress.

    When a connection breaks, the download carries on from that byte: in this call or, where all
    attempts fail, in the next one. The server's ETag or time of change guards against another
    version in between, or `checksum` shows at the end whether the parts belong together. With
    neither, or where the server does not serve parts, it starts from the beginning.

    Args:
        url: an address of http or https.
        path: where to; missing folders are made.
        size: the file's size in bytes, if it is known beforehand.
        checksum: "md5:HEX" or "sha256:HEX", if it is known beforehand.
        timeout_s: how long the server may be silent.
        pauses_s: the pause before each new attempt; an attempt that brought something new starts
            the row again.

    Raises:
        UserError: the file at `path`, or the one that came, has another size or checksum; the
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
        _forget(part)  # a damaged part is of no use to the next call
        raise
    with files.explaining_write_errors(path):
        os.replace(part, path)
    _forget(part)


def read_json(url: str, *, timeout_s: float = TIMEOUT_S, pauses_s: Iterable[float] = PAUSES_S[:3]):
    """The value of the JSON at an address; UserError where it cannot be read or is not JSON."""
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
    """Raises UserError unless a file has this size and checksum.

    Args:
        path: the file.
        size: in bytes; None: any.
        checksum: "md5:HEX" or "sha256:HEX"; None: any.
        where: what the message calls the file; None: its path.
        mend: what the message says to do.
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
    found = files.digest(path, algorithm)
    if found != digest.lower():
        raise UserError(
            f"{where} has {algorithm} {found} instead of the published {digest}: it is damaged; "
            f"{mend}."
        )


def _fetch_rest(
    url: str, part: pathlib.Path, *, size: int | None, checksum: str | None, timeout_s: float
) -> None:
    """Adds what the part lacks; raises OSError or HTTPException where the connection fails."""
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
        # The part is as long as the file, so it is whole, or longer: it is of another version.
        if error.headers.get("Content-Range", "").strip() != f"bytes */{offset}":
            _forget(part)
            raise ConnectionError("the file became shorter on the server") from error


def _announced_total(url: str, response: http.client.HTTPResponse, expected: int | None):
    """The size in bytes that the server announces, or else the expected one."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise UserError(
            f"{url} arrives encoded as {encoding}, which nobody asked for: fetch it with a browser."
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
    """The file's size, from the headers of a part, which must be the part that was asked for."""
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
            f"{url} now has {total} bytes instead of {expected}: remove {part} to start from the "
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
    """What an error says, on one line: servers that do not speak HTTP may send anything."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    said = getattr(error, "strerror", None) or str(error)
    printable = "".join(letter if letter.isprintable() else " " for letter in said)
    return printable.strip() or type(error).__name__


def _is_final(error: Exception) -> bool:
    """Whether another attempt would fail in the same way."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in _PASSING_STATUSES
    return isinstance(error, http.client.InvalidURL)


def _read_version(part: pathlib.Path, url: str) -> dict:
    """What the server said about the file that the part belongs to; empty where that is unknown."""
    try:
        version = files.read_json(_version_path(part))
    except UserError:
        return {}
    return version if isinstance(version, dict) and version.get("url") == url else {}


def _write_version(
    part: pathlib.Path, url: str, headers: email.message.Message, total: int | None
) -> None:
    _forget(part)  # first: if we are killed here, no old part must carry the new version's marks
    etag = headers.get("ETag")
    version = {
        "url": url,
        "size": total,
        "etag": None
        if etag is None or etag.startswith("W/")
        else etag,  # weak ones say nothing of bytes
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
