"""Files and folders that appear whole or not at all."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator

from qvae_jax.system.errors import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary path beside `path` to write a file to, renamed to `path` when the block succeeds.

    If the block raises, the temporary file is removed, and an earlier file at `path` stays.
    Raises UserError naming `path` where it cannot be written.
    """
    path = pathlib.Path(path)
    make_folder(path.parent)
    # Not named after the file: a long name would pass the file system's limit.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with explaining_write_errors(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary folder beside `path`, renamed to `path` when the block succeeds.

    Raises UserError, and touches nothing, unless `path` is absent or an empty folder; and where it
    cannot be written.
    """
    path = pathlib.Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            f"{path} already exists and is not an empty folder: remove it or name another one."
        )
    make_folder(path.parent)
    with explaining_write_errors(path):
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        with explaining_write_errors(path):
            yield temporary
            temporary.chmod(0o755)  # mkdtemp keeps other users out; a finished folder need not
            if path.exists():
                path.rmdir()
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path: str | os.PathLike) -> None:
    """Makes a folder and its parents; UserError where it cannot be made or written to."""
    path = pathlib.Path(path)
    if os.path.lexists(path) and not path.is_dir():
        if path.is_symlink():
            raise UserError(
                f"{path} is a link to a folder that does not exist: make that folder or name another "
                "place."
            )
        raise UserError(f"{path} is a file where a folder belongs: name another place.")
    with explaining_write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise UserError(f"{path} is not writable: change its permissions or name another folder.")


@contextlib.contextmanager
def explaining_write_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turns an OSError of the block into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path} cannot be written ({reason}): free some space, change its permissions or name "
            "another place."
        ) from error


def part_of(path: str | os.PathLike) -> pathlib.Path:
    """`NAME.part`: where a file or folder lies, under a visible name, until it is whole.

    For work so long that, if it is stopped, the next call should carry on with it.
    """
    path = pathlib.Path(path)
    return path.with_name(f"{path.name}.part")


def require_free_space(path: str | os.PathLike, num_bytes: int) -> None:
    """Raises UserError unless the disk that `path` will be on has num_bytes free."""
    path = pathlib.Path(path)
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise UserError(
            f"{folder} has {free / 1e9:.2f} GB free where {num_bytes / 1e9:.2f} GB are needed for "
            f"{path.name}: free some space, or name another place."
        )


def digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """The digest of a file's bytes, in hexadecimal digits, by an algorithm that hashlib has."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def write_json(path: str | os.PathLike, value) -> None:
    """Writes a value as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        # File names that are not UTF-8 reach us as lone surrogates, which survive escaped.
        temporary.write_text(text, "utf-8", errors="backslashreplace")


def read_json(path: str | os.PathLike):
    """The value in a JSON file; UserError where it cannot be read or is not JSON."""
    try:
        # Some editors put a mark of byte order first.
        return json.loads(pathlib.Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON ({error}): it may be damaged.") from error


def json_or_none(path: str | os.PathLike):
    """The value in a JSON file; None where there is none that can be read."""
    try:
        return read_json(path)
    except UserError:
        return None
