"""Archives unpacked into a folder that appears whole or not at all: zip, tar, tar.gz and the like.

Nothing is written that the archive's own list does not allow: every name is checked before the
first file is written, and every file against the size and the CRC-32 that a zip lists. A tar lists
no CRC: there, only what is missing shows.
"""

import contextlib
import dataclasses
import itertools
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from tqdm import tqdm

from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

BLOCK_BYTES = 2**20
OLDEST_7Z = 21  # p7zip, a branch that ended at 16.02, fails on large zips
SEVEN_ZIP_COMMANDS = ("7zz", "7z", "7za")
_UNFINISHED = ".unfinished"  # the file that is being written
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
# What Python's decompressors raise at damaged data.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
)


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in an archive: its name there, its size in bytes, and its CRC-32 where it is listed.

    kind says what it is if no ordinary file; such members are refused.
    """

    name: str
    size: int
    crc32: int | None
    kind: str | None = None


# A member's content, block by block.
Blocks = Iterator[bytes]


class _NotForPython(Exception):
    """Python's zipfile cannot read a zip that need not be damaged."""


def unpack(
    archive: str | os.PathLike, folder: str | os.PathLike, *, needed: Sequence[str] = ()
) -> int:
    """Unpacks an archive, without the one folder around it all if there is one, into a new folder.

    Works in `NAME.part` beside it; a call that was stopped is gone on with, and files of a zip that
    are there already are not written again. What macOS adds (__MACOSX, .DS_Store) is left out. A
    zip that Python cannot read is read with 7-Zip where that is installed.

    Args:
        archive: the file; its kind is told by its contents.
        folder: where to; absent or empty.
        needed: names of folders without which it is another archive than the one meant.

    Returns:
        The number of files.

    Raises:
        UserError: the folder is not empty; the archive is damaged, encrypted, no archive, lacks
            what is needed, or holds a name that leads out of the folder, a link or a device; no
            room on the disk. Nothing stands at `folder` then.
    """
    # What lies behind a link to another disk is meant, and room is on that disk.
    archive, folder = pathlib.Path(archive), pathlib.Path(folder).resolve()
    _require_new(folder)
    try:
        with open(archive, "rb") as file:
            is_zip = file.read(4) in _ZIP_MAGIC or archive.suffix.lower() == ".zip"
    except OSError as error:
        raise UserError(f"The archive {archive} cannot be read ({error.strerror}).") from error
    if not is_zip:
        with _opened_tar(archive) as (members, read):
            return _unpack(archive, members, read, folder, needed)
    try:
        with _opened_zip(archive) as (members, read):
            return _unpack(archive, members, read, folder, needed)
    except _NotForPython as error:
        with _opened_with_7z(archive, why=str(error)) as (members, read):
            return _unpack(archive, members, read, folder, needed)


def _unpack(
    archive: pathlib.Path,
    members: list[Member],
    read: Callable[[Member], Blocks],
    folder: pathlib.Path,
    needed: Sequence[str],
) -> int:
    part = files.part_of(folder)
    by_path = _checked(archive, members, needed)
    missing = {path: m for path, m in by_path.items() if not _is_there(part / path, m)}
    size_missing = sum(member.size for member in missing.values())
    size = sum(member.size for member in by_path.values())
    files.require_free_space(part, size_missing)
    files.make_folder(part)
    finished = size - size_missing
    with progress_bar("unpacking", initial=finished, total=size, unit="B", unit_scale=True) as bar:
        for path, member in missing.items():
            _write(archive, member, _counted(read(member), bar), part / path, part / _UNFINISHED)
    (part / _UNFINISHED).unlink(missing_ok=True)
    _require_no_strays(part, by_path)
    with files.explaining_write_errors(folder):
        if folder.exists():
            folder.rmdir()
        os.replace(part, folder)
    return len(by_path)


def _require_new(folder: pathlib.Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} already exists and is not an empty folder: remove it or name another one."
        )
    if os.path.ismount(folder):
        raise UserError(f"{folder} is a whole disk: name a folder inside it.")


def _checked(
    archive: pathlib.Path, members: list[Member], needed: Sequence[str]
) -> dict[pathlib.PurePosixPath, Member]:
    """Each member by its path below the new folder; UserError where one must not be written."""
    by_path = {}
    for member in members:
        path = _safe_path(archive, member)
        if path in by_path:
            raise UserError(f"The archive {archive} holds {member.name!r} twice: it is damaged.")
        by_path[path] = member
    parents = {parent for path in by_path for parent in path.parents}
    for path in by_path.keys() & parents:
        name = by_path[path].name
        raise UserError(f"The archive {archive} holds {name!r} as a file and as a folder.")
    by_path = {path: member for path, member in by_path.items() if not _is_litter(path)}
    tops = {path.parts[0] for path in by_path}
    if len(tops) == 1 and tops.isdisjoint(needed) and all(len(path.parts) > 1 for path in by_path):
        by_path = {path.relative_to(*tops): member for path, member in by_path.items()}
    held = {path.parts[0] for path in by_path if len(path.parts) > 1}
    missing = [name for name in needed if name not in held]
    if missing or not by_path:
        raise UserError(
            f"The archive {archive} holds no {' and no '.join(missing) or 'files'}: it is another "
            "archive, or only a part of it."
        )
    return by_path


def _safe_path(archive: pathlib.Path, member: Member) -> pathlib.PurePosixPath:
    name = member.name
    path = pathlib.PurePosixPath(name)
    fault = None
    if member.kind is not None:
        fault = f"is {member.kind}"
    elif name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name):
        fault = "is an absolute name"
    elif ".." in path.parts or not path.parts:
        fault = "leads out of the folder"
    elif "\\" in name or "\0" in name:
        fault = "is a name that means different files on different systems"
    elif path.parts[0] == _UNFINISHED:
        fault = "is a name that unpacking needs for itself"
    if fault:
        raise UserError(
            f"The archive {archive} is refused, as its member {name!r} {fault}: get the archive "
            "from its source."
        )
    return path


def _is_litter(path: pathlib.PurePosixPath) -> bool:
    return path.parts[0] == "__MACOSX" or path.name == ".DS_Store"


def _is_there(path: pathlib.Path, member: Member) -> bool:
    if member.crc32 is None or not path.is_file() or path.stat().st_size != member.size:
        return False
    crc32 = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            crc32 = zlib.crc32(block, crc32)
    return crc32 == member.crc32


def _counted(blocks: Blocks, bar: tqdm) -> Blocks:
    for block in blocks:
        yield block
        bar.update(len(block))


def _write(
    archive: pathlib.Path,
    member: Member,
    blocks: Blocks,
    path: pathlib.Path,
    unfinished: pathlib.Path,
) -> None:
    """Writes a member to path, whole or not at all; until then it lies at `unfinished`."""
    size, crc32 = 0, 0
    with files.explaining_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(unfinished, "wb")
    with file:
        while (block := _next_block(archive, member, blocks)) is not None:
            size, crc32 = size + len(block), zlib.crc32(block, crc32)
            with files.explaining_write_errors(path):
                file.write(block)
        with files.explaining_write_errors(path):
            file.flush()
    if size != member.size or member.crc32 not in (None, crc32):
        raise _damaged(archive, member, "its size or CRC is not the listed one")
    with files.explaining_write_errors(path):
        os.replace(unfinished, path)


def _next_block(archive: pathlib.Path, member: Member, blocks: Blocks) -> bytes | None:
    try:
        return next(blocks, None)
    except _DAMAGE as error:
        raise _damaged(archive, member, str(error)) from error


def _damaged(archive: pathlib.Path, member: Member, reason: str) -> UserError:
    return UserError(
        f"The archive {archive} is damaged at {member.name!r} ({reason}): remove it and fetch it "
        "again."
    )


def _require_no_strays(part: pathlib.Path, by_path: dict) -> None:
    """Raises UserError where the folder holds more than the archive, as after another archive."""
    for parent, _, names in os.walk(part):
        for name in names:
            path = pathlib.Path(parent, name).relative_to(part)
            if pathlib.PurePosixPath(path.as_posix()) not in by_path:
                raise UserError(
                    f"{part} holds {str(path)!r}, which the archive does not: remove that folder "
                    "and run this again."
                )


# Each of the following opens an archive, and gives its files in order and what reads one of them.
# They are read in that order, each once at most.


@contextlib.contextmanager
def _opened_zip(
    path: pathlib.Path,
) -> Iterator[tuple[list[Member], Callable[[Member], Blocks]]]:
    try:
        archive = _zip_of_utf8_names(path)
    except (*_DAMAGE, NotImplementedError) as error:
        raise _NotForPython(str(error)) from error
    with archive:
        _restore_upper_bits(archive)
        infos = [info for info in archive.infolist() if not info.is_dir()]
        members = [_zip_member(info) for info in infos]
        infos_by_name = {info.orig_filename: info for info in infos}
        # Before a file is written, so that the choice of program is made at once.
        for info in infos:
            _require_readable(archive, path, info)
        yield members, lambda member: _blocks_of_zip(archive, infos_by_name[member.name])


def _zip_of_utf8_names(path: pathlib.Path) -> zipfile.ZipFile:
    """The zip with names as they were meant: many programs write UTF-8 without saying so."""
    try:
        return zipfile.ZipFile(path, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(path)


def _restore_upper_bits(archive: zipfile.ZipFile) -> None:
    """Mends a zip beyond 4 GiB whose program kept only the lower 32 bits of positions.

    macOS packs such zips. zipfile takes the missing bits for bytes in front of the archive, which
    puts the first member at a multiple of 4 GiB. Members follow each other in the archive as they
    do in its list.
    """
    infos = archive.infolist()
    if not infos or infos[0].header_offset == 0 or infos[0].header_offset % 2**32 != 0:
        return
    end = 0
    for info in infos:
        info.header_offset %= 2**32
        while info.header_offset < end:
            info.header_offset += 2**32
        end = info.header_offset + info.compress_size
        if hasattr(info, "_end_offset"):
            info._end_offset = None  # where the next one begins, by the wrong positions


def _zip_member(info: zipfile.ZipInfo) -> Member:
    return Member(info.orig_filename, info.file_size, info.CRC, _kind(info.external_attr >> 16))


def _require_readable(archive: zipfile.ZipFile, path: pathlib.Path, info: zipfile.ZipInfo) -> None:
    """Opens a member; UserError where it is encrypted, _NotForPython where Python fails at it."""
    if info.flag_bits & 1:
        raise _encrypted(path, info.filename)
    try:
        archive.open(info).close()
    except (*_DAMAGE, NotImplementedError, RuntimeError) as error:
        raise _NotForPython(str(error)) from error


def _blocks_of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Blocks:
    with archive.open(info) as file:
        yield from _blocks(file)


def _blocks(file: IO[bytes]) -> Blocks:
    while block := file.read(BLOCK_BYTES):
        yield block


def _kind(mode: int) -> str | None:
    """What a Unix mode makes of a file, if not an ordinary one; zips may leave it out."""
    file_type = stat.S_IFMT(mode)
    if file_type in (0, stat.S_IFREG):
        return None
    return "a symbolic link" if file_type == stat.S_IFLNK else "a device or pipe"


def _encrypted(path: pathlib.Path, name: str) -> UserError:
    return UserError(f"The archive {path} is encrypted ({name!r}): get one that is not.")


@contextlib.contextmanager
def _opened_tar(
    path: pathlib.Path,
) -> Iterator[tuple[list[Member], Callable[[Member], Blocks]]]:
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(path))
            infos = [info for info in archive.getmembers() if not info.isdir()]
            # tarfile takes a damaged header, or none, for the end; a whole archive has a blank one.
            archive.fileobj.seek(archive.offset)
            ends_well = archive.fileobj.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
            for _ in _blocks(archive.fileobj):
                pass  # at its end, a compressed stream is checked as a whole
        except _DAMAGE as error:
            raise UserError(
                f"The archive {path} is damaged, or neither a zip nor a tar "
                f"({' '.join(str(error).split())}): remove it and fetch it again."
            ) from error
        if not ends_well:
            raise UserError(
                f"The archive {path} is damaged or cut short after {len(infos)} files: remove it "
                "and fetch it again."
            )
        infos_by_name = {info.name: info for info in infos}
        members = [Member(info.name, info.size, None, _tar_kind(info)) for info in infos]
        yield members, lambda member: _blocks(archive.extractfile(infos_by_name[member.name]))


def _tar_kind(info: tarfile.TarInfo) -> str | None:
    if info.isfile():
        return None
    if info.issym():
        return "a symbolic link"
    return "a hard link" if info.islnk() else "a device or pipe"


@contextlib.contextmanager
def _opened_with_7z(
    path: pathlib.Path, why: str
) -> Iterator[tuple[list[Member], Callable[[Member], Blocks]]]:
    """Lets 7-Zip read, and only read: it writes all files to a pipe, one after the other."""
    command = _command_of_7z(path, why)
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
    members = _members_of_7z(path, listed.stdout.decode("utf-8", "surrogateescape"))
    with subprocess.Popen(
        [command, "x", "-so", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            remaining = iter(members)
            yield members, lambda member: _from_stream(process.stdout, remaining, member)
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


def _command_of_7z(path: pathlib.Path, why: str) -> str:
    """The first 7-Zip in PATH that is recent enough; UserError where there is none."""
    found = []
    for command in filter(None, map(shutil.which, SEVEN_ZIP_COMMANDS)):
        banner = subprocess.run(
            [command], stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).stdout.decode("utf-8", "replace")
        version = re.search(r"7-Zip\D*?(?:\[\d+\]|\(\w+\))?\D*?(\d+)\.\d\d", banner)
        if version and int(version[1]) >= OLDEST_7Z and "p7zip" not in banner:
            return command
        found.append(pathlib.Path(command).name)
    too_old = f" ({', '.join(found)} here is older)" if found else ""
    raise UserError(
        f"The archive {path} cannot be read by Python ({why}): if it came whole, install 7-Zip "
        f"{OLDEST_7Z} or newer{too_old} with `apt install 7zip` or from 7-zip.org, and run this "
        "again."
    )


def _members_of_7z(path: pathlib.Path, listing: str) -> list[Member]:
    members = []
    for lines in re.split(r"\r?\n\r?\n", listing.strip()):
        fields = dict(line.partition(" = ")[::2] for line in lines.splitlines())
        name = fields.get("Path", "").replace(os.sep, "/")
        if fields.get("Folder") == "+":
            continue
        if fields.get("Encrypted") == "+":
            raise _encrypted(path, name)
        try:
            size, crc32 = int(fields["Size"]), int(fields["CRC"] or "0", 16)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"The archive {path} lists no size or CRC of {name!r}: unpack it by hand."
            ) from error
        # As ls shows it: l, b, c, p or s first for what is no file; programs may leave it out.
        mode = fields.get("Attributes", "").split()[-1:]
        is_special = bool(mode) and re.match("[lbcps].{9}", mode[0])
        members.append(Member(name, size, crc32, "a link or device" if is_special else None))
    return members
