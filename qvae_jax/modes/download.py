"""`--mode=download`: VimSketch from Zenodo, or from an archive named by hand, into its folder."""

import pathlib
import urllib.parse

import ml_collections

from qvae_jax.data.vimsketch import IMITATIONS_FOLDER, REFERENCES_FOLDER, Index, read_index
from qvae_jax.system import archives, fetch, files
from qvae_jax.system.errors import UserError

# Zenodo's description of the record: each file's address, size and md5.
RECORD_URL = "https://zenodo.org/api/records/2596911"
RECORD_PAGE = "https://zenodo.org/records/2596911"
ARCHIVE = "Vim_Sketch_Dataset.zip"
# Zip makes 16-bit recordings smaller by a third at most; the exact size is known once it is there.
UNPACKED_PER_PACKED = 1.5


def run(config: ml_collections.ConfigDict, source: str | None = None) -> Index:
    """Downloads and unpacks the data set into data.dataset_dir, and says what is there then.

    A call that was stopped is gone on with by the next. Where the folder holds the data set
    already, nothing is done. The archive stays beside the folder.

    Args:
        config: of which data.dataset_dir is used.
        source: the address of another archive (zip or tar), or the path of one; None: Zenodo's.

    Raises:
        UserError: see fetch_file, unpack and read_index; or the folder holds something else.
    """
    if not config.data.dataset_dir:
        raise UserError(
            "data.dataset_dir is empty: name the folder to download into with "
            "--config.data.dataset_dir=FOLDER, or use --config=configs/vimsketch.py."
        )
    folder = pathlib.Path(config.data.dataset_dir)
    if folder.is_dir() and any(folder.iterdir()):
        index = _index_of_what_is_there(folder)
    else:
        archive = _archive(source, folder)
        print(f"unpacking {archive} into {folder}", flush=True)
        archives.unpack(archive, folder, needed=(REFERENCES_FOLDER, IMITATIONS_FOLDER))
        index = read_index(folder)
        print(f"{archive} may be removed.")
    print(
        f"{folder} holds {len(index.references)} references and {len(index.imitations)} imitations "
        f"({len(index.unpaired_imitations)} without a reference): {len(index.pairs)} pairs.\n"
        "Next, with the same --config: python3 main.py --mode=doctor, then --mode=prepare."
    )
    return index


def _index_of_what_is_there(folder: pathlib.Path) -> Index:
    try:
        return read_index(folder)
    except UserError as error:
        raise UserError(
            f"{str(error).removesuffix('.')}; to have it downloaded anew, remove {folder} first."
        ) from error


def _archive(source: str | None, folder: pathlib.Path) -> pathlib.Path:
    """The path of the whole archive, fetched if need be."""
    if source is not None and "://" not in source:
        if not pathlib.Path(source).is_file():
            raise UserError(f"--source: {source!r} is neither a file nor an address (https://…).")
        return pathlib.Path(source)
    # Beside the data set, but on its disk where its name is a link.
    beside = folder.resolve().parent
    if source is not None:
        name = pathlib.PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(source).path)).name
        path = beside / (name or ARCHIVE)
        print(f"fetching {source} to {path}; no checksum of it is known here", flush=True)
        fetch.fetch_file(source, path)
        return path
    url, size, checksum = _published_archive()
    path = beside / ARCHIVE
    if not path.exists():
        part = files.part_of(path)
        num_bytes_here = part.stat().st_size if part.exists() else 0
        files.require_free_space(folder, int(size * (1 + UNPACKED_PER_PACKED)) - num_bytes_here)
        print(f"fetching {url} ({size / 1e9:.2f} GB) to {path}", flush=True)
    fetch.fetch_file(url, path, size=size, checksum=checksum)
    return path


def _published_archive() -> tuple[str, int, str]:
    """Address, size in bytes and checksum of the archive, as the record states them today."""
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
