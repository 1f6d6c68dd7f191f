"""`--mode=download`: VimSketch from Zenodo, or from an archive named by hand, into its folder."""

import pathlib

import ml_collections

from qvae_jax.data import vimsketch_archive
from qvae_jax.data.index import Index
from qvae_jax.data.vimsketch import read_index
from qvae_jax.modes.requests import DownloadRequest
from qvae_jax.system.command import command
from qvae_jax.system.errors import UserError, counted


def download(config: ml_collections.ConfigDict, request: DownloadRequest) -> Index:
    """Downloads and unpacks the data set into data.dataset_dir, and says what is there then.

    After a call that was stopped, the next one carries on. Where the folder holds the data set
    already, nothing is done. The archive stays beside the folder.

    Args:
        config: data.dataset_dir is used.
        request: the archive to take.

    Raises:
        UserError: see fetch_archive, archives.unpack and read_index; or the folder holds something
            else.
    """
    if not config.data.dataset_dir:
        raise UserError(
            "data.dataset_dir is empty: name the folder to download into with "
            "--config.data.dataset_dir=FOLDER, or use --config=vimsketch."
        )
    folder = pathlib.Path(config.data.dataset_dir)
    if folder.is_dir() and any(folder.iterdir()):
        index = _index_of_what_is_there(folder)
    else:
        archive = vimsketch_archive.fetch_archive(folder, request.source)
        print(f"unpacking {archive} into {folder}", flush=True)
        vimsketch_archive.unpack_archive(archive, folder)
        index = read_index(folder)
        print(f"{archive} may be removed.")
    print(
        f"{folder} holds {counted(len(index.references), 'reference')} and "
        f"{counted(len(index.imitations), 'imitation')}: {counted(len(index.pairs), 'pair')}.",
        *index.notes(),
        f"Next, with the same --config: {command()} --mode=doctor, then --mode=prepare.",
        sep="\n",
    )
    return index


def _index_of_what_is_there(folder: pathlib.Path) -> Index:
    try:
        return read_index(folder)
    except UserError as error:
        raise UserError(
            f"{str(error).removesuffix('.')}; to download it again, remove {folder} first."
        ) from error
