"""Zip and tar archives opened with Python's own modules: their files, and what reads each one."""

import contextlib
import dataclasses
import lzma
import os
import pathlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from qvae_jax.system.errors import UserError, counted

BLOCK_BYTES = 2**20
# What Python's decompressors raise at damaged data.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
)
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in an archive: its name there, its size in bytes, and its CRC-32 where it is listed.

    kind says what it is where it is no ordinary file; such members are refused.
    """

    name: str
    size: int
    crc32: int | None
    kind: str | None = None


# A member's content, block by block.
Blocks = Iterator[bytes]


@dataclasses.dataclass(frozen=True)
class Archive:
    """An open archive: its files in order, and what reads one of them.

    Files are read in that order, each once at most.
    """

    members: list[Member]
    read: Callable[[Member], Blocks]


class NotForPython(Exception):
    """Python's zipfile cannot read a zip, which need not be damaged for that."""


def opened(path: str | os.PathLike) -> contextlib.AbstractContextManager[Archive]:
    """Opens an archive; what is not a zip, by its contents or its name, is taken as a tar.

    Raises:
        NotForPython: on entering, a zip that Python cannot read.
        UserError: the file cannot be read; on entering, it is damaged, encrypted or no archive.
    """
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) in _ZIP_MAGIC or path.suffix.lower() == ".zip"
    except OSError as error:
        raise UserError(f"The archive {path} cannot be read ({error.strerror}).") from error
    return _opened_zip(path) if is_zip else _opened_tar(path)


def encrypted(path: pathlib.Path, name: str) -> UserError:
    """The error for an archive whose member of that name is encrypted."""
    return UserError(f"The archive {path} is encrypted ({name!r}): get one that is not.")


@contextlib.contextmanager
def _opened_zip(path: pathlib.Path) -> Iterator[Archive]:
    try:
        archive = _zip_of_utf8_names(path)
    except (*DAMAGE, NotImplementedError) as error:
        raise NotForPython(str(error)) from error
    with archive:
        _restore_upper_bits(archive)
        infos = [info for info in archive.infolist() if not info.is_dir()]
        members = [_zip_member(info) for info in infos]
        infos_by_name = {info.orig_filename: info for info in infos}
        # All of them now, so that 7-Zip is chosen before the first file is written.
        for info in infos:
            _require_readable(archive, path, info)
        yield Archive(members, lambda m: _blocks_of_zip(archive, infos_by_name[m.name]))


def _zip_of_utf8_names(path: pathlib.Path) -> zipfile.ZipFile:
    """The zip, its names read as UTF-8 where they can be: many programs write that unmarked."""
    try:
        return zipfile.ZipFile(path, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(path)


def _restore_upper_bits(archive: zipfile.ZipFile) -> None:
    """Mends the positions in a zip of more than 4 GiB that holds only their lower 32 bits.

    macOS packs such zips. zipfile takes the missing bits for bytes in front of the archive, which
    puts the first member at a multiple of 4 GiB. The members' order in the list is that in the
    archive, so each begins at the first fitting position after the one before.
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
            info._end_offset = None  # worked out from the wrong positions


def _zip_member(info: zipfile.ZipInfo) -> Member:
    return Member(info.orig_filename, info.file_size, info.CRC, _kind(info.external_attr >> 16))


def _require_readable(archive: zipfile.ZipFile, path: pathlib.Path, info: zipfile.ZipInfo) -> None:
    """Raises UserError where a member is encrypted, NotForPython where Python cannot open it."""
    if info.flag_bits & 1:
        raise encrypted(path, info.filename)
    try:
        archive.open(info).close()
    except (*DAMAGE, NotImplementedError, RuntimeError) as error:
        raise NotForPython(str(error)) from error


def _blocks_of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Blocks:
    with archive.open(info) as file:
        yield from _blocks(file)


def _blocks(file: IO[bytes]) -> Blocks:
    while block := file.read(BLOCK_BYTES):
        yield block


def _kind(mode: int) -> str | None:
    """What a file is by its Unix mode, None for an ordinary one; zips may leave the mode out."""
    file_type = stat.S_IFMT(mode)
    if file_type in (0, stat.S_IFREG):
        return None
    return "a symbolic link" if file_type == stat.S_IFLNK else "a device or pipe"


@contextlib.contextmanager
def _opened_tar(path: pathlib.Path) -> Iterator[Archive]:
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(path))
            infos = [info for info in archive.getmembers() if not info.isdir()]
            # tarfile takes a damaged or missing header for the end; the real end is a blank one.
            archive.fileobj.seek(archive.offset)
            ends_well = archive.fileobj.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
            for _ in _blocks(archive.fileobj):
                pass  # a compressed stream is checked when its end is read
        except DAMAGE as error:
            raise UserError(
                f"The archive {path} is damaged, or neither a zip nor a tar "
                f"({' '.join(str(error).split())}): remove it and fetch it again."
            ) from error
        if not ends_well:
            raise UserError(
                f"The archive {path} is damaged or cut short after "
                f"{counted(len(infos), 'file')}: remove it and fetch it again."
            )
        infos_by_name = {info.name: info for info in infos}
        members = [Member(info.name, info.size, None, _tar_kind(info)) for info in infos]
        yield Archive(members, lambda m: _blocks(archive.extractfile(infos_by_name[m.name])))


def _tar_kind(info: tarfile.TarInfo) -> str | None:
    if info.isfile():
        return None
    if info.issym():
        return "a symbolic link"
    return "a hard link" if info.islnk() else "a device or pipe"
