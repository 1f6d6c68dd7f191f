"""Archives unpacked into a folder that appears whole or not at all: zip, tar, tar.gz and the like.

Nothing is written that the archive's own list does not allow. Every name is checked before the
first file is written, and every file against the size and the CRC-32 that a zip lists. A tar lists
no CRC, so there only missing data shows.
"""

import os
import pathlib
import re
import zlib
from collections.abc import Sequence

from tqdm import tqdm

from qvae_jax.system import archive_formats, files, seven_zip
from qvae_jax.system.archive_formats import BLOCK_BYTES, Archive, Blocks, Member
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

_UNFINISHED = ".unfinished"  # the file that is being written


def unpack(
    archive: str | os.PathLike, folder: str | os.PathLike, *, needed: Sequence[str] = ()
) -> int:
    """Unpacks an archive into a new folder, without the archive's top folder if it has only one.

    Works in `NAME.part` beside it. After a call that was stopped the next one carries on, and files
    of a zip that are there already are not written again. What macOS adds (__MACOSX, .DS_Store) is
    left out. A zip that Python cannot read is read with 7-Zip where that is installed.

    Args:
        archive: the file; its kind is told by its contents.
        folder: where to; absent or empty.
        needed: names of folders that the archive must hold, or it is not the one meant.

    Returns:
        The number of files.

    Raises:
        UserError: the folder is not empty; the archive is damaged, encrypted, no archive, lacks
            what is needed, or holds a name that leads out of the folder, a link or a device; no
            room on the disk. Nothing stands at `folder` then.
    """
    # A folder that is a link to another disk is unpacked on that disk, which needs the room.
    archive, folder = pathlib.Path(archive), pathlib.Path(folder).resolve()
    _require_new(folder)
    try:
        with archive_formats.opened(archive) as opened:
            return _unpack(archive, opened, folder, needed)
    except archive_formats.NotForPython as error:
        with seven_zip.opened(archive, why=str(error)) as opened:
            return _unpack(archive, opened, folder, needed)


def _unpack(
    archive: pathlib.Path, opened: Archive, folder: pathlib.Path, needed: Sequence[str]
) -> int:
    part = files.part_of(folder)
    by_path = _checked(archive, opened.members, needed)
    missing = {path: m for path, m in by_path.items() if not _is_there(part / path, m)}
    size_missing = sum(member.size for member in missing.values())
    size = sum(member.size for member in by_path.values())
    files.require_free_space(part, size_missing)
    files.make_folder(part)
    finished = size - size_missing
    with progress_bar("unpacking", initial=finished, total=size, unit="B", unit_scale=True) as bar:
        for path, member in missing.items():
            blocks = _counted(opened.read(member), bar)
            _write(archive, member, blocks, part / path, part / _UNFINISHED)
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
    """Each member by its path in the new folder; UserError where one must not be written."""
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
        fault = "has an absolute name"
    elif ".." in path.parts or not path.parts:
        fault = "leads out of the folder"
    elif "\\" in name or "\0" in name:
        fault = "has a name that means different files on different systems"
    elif path.parts[0] == _UNFINISHED:
        fault = "has a name that unpacking needs for itself"
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
    """Writes a member to `path`, whole or not at all; meanwhile it lies at `unfinished`."""
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
    except archive_formats.DAMAGE as error:
        raise _damaged(archive, member, str(error)) from error


def _damaged(archive: pathlib.Path, member: Member, reason: str) -> UserError:
    return UserError(
        f"The archive {archive} is damaged at {member.name!r} ({reason}): remove it and fetch it "
        "again."
    )


def _require_no_strays(part: pathlib.Path, by_path: dict) -> None:
    """Raises UserError where the folder holds files that are not in the archive."""
    for parent, _, names in os.walk(part):
        for name in names:
            path = pathlib.Path(parent, name).relative_to(part)
            if pathlib.PurePosixPath(path.as_posix()) not in by_path:
                raise UserError(
                    f"{part} holds {str(path)!r}, which the archive does not: remove that folder "
                    "and run this again."
                )
