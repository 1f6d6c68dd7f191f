"""Zips that Python cannot read, read with the 7-Zip program where it is installed."""

import contextlib
import itertools
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import IO

from qvae_jax.system.archive_formats import BLOCK_BYTES, Archive, Blocks, Member, encrypted
from qvae_jax.system.errors import UserError

OLDEST_VERSION = 21  # p7zip, a branch that ended at 16.02, fails on large zips
COMMANDS = ("7zz", "7z", "7za")


@contextlib.contextmanager
def opened(path: str | os.PathLike, why: str) -> Iterator[Archive]:
    """Opens a zip. 7-Zip only reads it: all files come through a pipe, one after the other.

    Args:
        path: the zip.
        why: the reason that Python cannot read it, for messages.

    Raises:
        UserError: no 7-Zip recent enough is in PATH; the zip is damaged, encrypted or none, or
            lacks a size or CRC.
    """
    command = _command(path, why)
    options = ["-sccUTF-8", "-bd", "-p", "--", os.path.abspath(path)]
    listed = subprocess.run(
        [command, "l", "-slt", "-ba", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    # With an error it still lists what it could find.
    if listed.returncode != 0:
        said = " ".join(listed.stderr.decode("utf-8", "replace").split())
        raise UserError(
            f"The archive {path} is damaged or no zip (Python: {why}; "
            f"{pathlib.Path(command).name}: {said}): remove it and fetch it again."
        )
    members = _members(path, listed.stdout.decode("utf-8", "surrogateescape"))
    with subprocess.Popen(
        [command, "x", "-so", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            remaining = iter(members)
            yield Archive(members, lambda member: _from_stream(process.stdout, remaining, member))
        finally:
            process.kill()


def _from_stream(stream: IO[bytes], remaining: Iterator[Member], member: Member) -> Blocks:
    for passed in itertools.takewhile(lambda other: other is not member, remaining):
        for _ in _next_bytes(stream, passed.size):
            pass
    yield from _next_bytes(stream, member.size)


def _next_bytes(stream: IO[bytes], size: int) -> Blocks:
    while size and (block := stream.read(min(size, BLOCK_BYTES))):
        size -= len(block)
        yield block


def _command(path: str | os.PathLike, why: str) -> str:
    """The first 7-Zip in PATH that is recent enough; UserError where there is none."""
    found = []
    for command in filter(None, map(shutil.which, COMMANDS)):
        banner = subprocess.run(
            [command], stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).stdout.decode("utf-8", "replace")
        version = re.search(r"7-Zip\D*?(?:\[\d+\]|\(\w+\))?\D*?(\d+)\.\d\d", banner)
        if version and int(version[1]) >= OLDEST_VERSION and "p7zip" not in banner:
            return command
        found.append(pathlib.Path(command).name)
    too_old = f" ({', '.join(found)} here is older)" if found else ""
    raise UserError(
        f"The archive {path} cannot be read by Python ({why}): if it came whole, install 7-Zip "
        f"{OLDEST_VERSION} or newer{too_old} with `apt install 7zip` or from 7-zip.org, and run "
        "this again."
    )


def _members(path: str | os.PathLike, listing: str) -> list[Member]:
    members = []
    for lines in re.split(r"\r?\n\r?\n", listing.strip()):
        fields = dict(line.partition(" = ")[::2] for line in lines.splitlines())
        name = fields.get("Path", "").replace(os.sep, "/")
        if fields.get("Folder") == "+":
            continue
        if fields.get("Encrypted") == "+":
            raise encrypted(path, name)
        try:
            size, crc32 = int(fields["Size"]), int(fields["CRC"] or "0", 16)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"The archive {path} lists no size or CRC of {name!r}: unpack it by hand."
            ) from error
        # As ls shows modes: l, b, c, p or s comes first where it is no file. May be left out.
        mode = fields.get("Attributes", "").split()[-1:]
        is_special = bool(mode) and re.match("[lbcps].{9}", mode[0])
        members.append(Member(name, size, crc32, "a link or device" if is_special else None))
    return members
