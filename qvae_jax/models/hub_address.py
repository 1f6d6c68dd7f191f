"""Models that are named by where they lie on the Hugging Face Hub: hf://OWNER/NAME[@REVISION]."""

import pathlib
import re

from qvae_jax.system.command import install
from qvae_jax.system.errors import UserError, first_line

FORM = re.compile(r"hf:/{1,2}(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?/?", re.ASCII)
# What of a repository is fetched, and nothing else that may lie there: a model's folder, or a pair
# of encoders'.
FILES = tuple(
    f"{folder}{name}"
    for folder in ("", "imitation/", "reference/")
    for name in ("config.json", "model.safetensors")
)
# Why a repository cannot be had, by the names of huggingface_hub's errors, which say it at length.
REASONS = {
    "GatedRepoError": "its owner has to let you in first; ask on its page, then `hf auth login`",
    "RevisionNotFoundError": "it has no such revision",
    "RepositoryNotFoundError": "there is none of that name, or it is private: then `hf auth login`",
    "LocalEntryNotFoundError": "it was not fetched earlier, and the Hub cannot be reached",
}


def is_address(path) -> bool:
    """Whether a path is the address of a model on the Hub."""
    return str(path).startswith("hf:/")  # where it has become a path, one of its slashes is gone


def checked(address: str) -> str:
    """The address; UserError where it is not of the form."""
    if not FORM.fullmatch(address):
        raise UserError(
            f"{address!r} is no address on the Hugging Face Hub: write hf://OWNER/NAME, or "
            "hf://OWNER/NAME@REVISION."
        )
    return address


def local_folder(path) -> pathlib.Path:
    """The folder of a model: of an address that of its files, fetched where they are not yet here.

    Fetched files stay in huggingface_hub's own cache. Raises UserError where huggingface_hub is not
    installed, and where there is no such repository or it holds no model of ours.
    """
    if not is_address(path):
        return pathlib.Path(path)
    address = checked(str(path))
    found = FORM.fullmatch(address)
    folder = pathlib.Path(_fetched(address, found["repository"], found["revision"]))
    if not any((folder / name).is_file() for name in FILES):
        raise UserError(f"{address} holds no {' or '.join(FILES[:2])}, so it is no model to load.")
    return folder


def _fetched(address: str, repository: str, revision: str | None) -> str:
    try:
        # Imported here, because nothing else needs it.
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise UserError(
            f"{address} needs {error.name}, which is not installed: {install('hub')}"
        ) from error
    try:
        return huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=list(FILES)
        )
    except Exception as error:  # of the Hub, the network, the disk, each of their own kinds
        known = (REASONS.get(kind.__name__) for kind in type(error).__mro__)
        reason = next(filter(None, known), first_line(error).rstrip("."))
        raise UserError(f"{address} cannot be fetched: {reason}.") from error
