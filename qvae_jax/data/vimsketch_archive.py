"""VimSketch's archive: its record on Zenodo, which archive to take, and unpacking it."""

import os
import pathlib
import urllib.parse

from qvae_jax.data import vimsketch
from qvae_jax.system import archives, fetch, files
from qvae_jax.system.errors import UserError
from qvae_jax.system.paths import local_path

# Zenodo's description of the record: each file's address, size and md5.
RECORD_URL = "https://zenodo.org/api/records/2596911"
RECORD_PAGE = "https://zenodo.org/records/2596911"
ARCHIVE = "Vim_Sketch_Dataset.zip"
# Zip makes 16-bit recordings smaller by a third at most. The exact size is in the archive itself.
UNPACKED_PER_PACKED = 1.5


def fetch_archive(folder: str | os.PathLike, source: str | None = None) -> pathlib.Path:
    """The path of the whole archive, which is downloaded beside the data set if need be.

    Args:
        folder: where the data set will be; an archive that was downloaded stays beside it.
        source: the address of another archive (zip or tar), or the path of one; None: Zenodo's.

    Raises:
        UserError: see fetch.fetch_file; source is neither an address nor a file; the record on
            Zenodo cannot be read; or the disk has no room for the archive and what is in it.
    """
    if source is not None and "://" not in source:
        archive = pathlib.Path(local_path(source))
        if not archive.is_file():
            raise UserError(f"--source: {source!r} is neither a file nor an address (https://…).")
        return archive
    # Where the folder is a link to another disk, the archive belongs on that disk too.
    folder = pathlib.Path(folder).resolve()
    if source is not None:
        return _fetched_from(source, folder)
    return _fetched_from_zenodo(folder)


def unpack_archive(archive: pathlib.Path, folder: str | os.PathLike) -> None:
    """Unpacks an archive into the data set's folder; UserError as archives.unpack raises it."""
    archives.unpack(archive, folder, needed=tuple(vimsketch.LISTS))


def published_archive() -> tuple[str, int, str]:
    """Address, size in bytes and checksum of the archive, as the record on Zenodo gives them.

    Raises UserError where the record cannot be read or does not give all three; the message says
    how to get the archive by hand.
    """
    by_hand = f"fetch {ARCHIVE} from {RECORD_PAGE} with a browser and give it with --source=FILE"
    try:
        record = fetch.read_json(RECORD_URL)
        entries = {entry["key"]: entry for entry in record["files"]}
        entry = entries[ARCHIVE]
        url, size, checksum = entry["links"]["self"], entry["size"], entry["checksum"]
        if type(size) is not int or not checksum.startswith(("md5:", "sha256:")):
            raise ValueError
        return url, size, checksum
    except UserError as error:
        raise UserError(f"{str(error).removesuffix('.')}: {by_hand}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"The record {RECORD_URL} does not state address, size and checksum of {ARCHIVE} where "
            f"they used to be: {by_hand}."
        ) from error


def _fetched_from(url: str, folder: pathlib.Path) -> pathlib.Path:
    name = pathlib.PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    path = folder.parent / (name or ARCHIVE)
    print(f"fetching {url} to {path}; no checksum of it is known here", flush=True)
    fetch.fetch_file(url, path)
    return path


def _fetched_from_zenodo(folder: pathlib.Path) -> pathlib.Path:
    url, size, checksum = published_archive()
    path = folder.parent / ARCHIVE
    if not path.exists():
        part = files.part_of(path)
        num_bytes_here = part.stat().st_size if part.exists() else 0
        files.require_free_space(folder, int(size * (1 + UNPACKED_PER_PACKED)) - num_bytes_here)
        print(f"fetching {url} ({size / 1e9:.2f} GB) to {path}", flush=True)
    fetch.fetch_file(url, path, size=size, checksum=checksum)
    return path
