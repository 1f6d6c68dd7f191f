"""The published EfficientAT checkpoints: names, addresses, digests, and their download."""

import os
import pathlib
import shutil
import urllib.error
import urllib.request

from tqdm import tqdm

from qvae_jax import files
from qvae_jax.errors import UserError
from weight_port.source import sha256_of

RELEASE = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"
# Name: (file, sha256 where it is known).
PUBLISHED = {
    "mn01_as": ("mn01_as_mAP_298.pt", None),
    "mn02_as": ("mn02_as_mAP_378.pt", None),
    "mn04_as": (
        "mn04_as_mAP_432.pt",
        "899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
    ),
    "mn05_as": ("mn05_as_mAP_443.pt", None),
    "mn10_as": (
        "mn10_as_mAP_471.pt",
        "0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e",
    ),
    "mn20_as": ("mn20_as_mAP_478.pt", None),
    "mn30_as": ("mn30_as_mAP_482.pt", None),
    "mn40_as": ("mn40_as_mAP_484.pt", None),
}


def cache_folder() -> pathlib.Path:
    """Where downloads are kept: $XDG_CACHE_HOME/qvae_jax, or ~/.cache/qvae_jax."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "qvae_jax"


def fetch(name: str) -> pathlib.Path:
    """The file of a published checkpoint, downloaded unless the cache holds it already.

    Raises UserError where it cannot be downloaded or has another digest than the published one.
    """
    file_name, digest = PUBLISHED[name]
    path = cache_folder() / file_name
    if not path.exists():
        _download(f"{RELEASE}/{file_name}", path)
    found = sha256_of(path)
    if digest is not None and found != digest:
        raise UserError(
            f"{path} has sha256 {found} instead of the published {digest}: it is damaged; remove "
            "it and run this again."
        )
    if digest is None:
        print(f"No digest of {name} is known here. sha256 of {path}: {found}")
    return path


def _download(url: str, path: pathlib.Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=30) as response, files.replacing(path) as temporary:
            size = int(response.headers.get("Content-Length", 0)) or None
            with tqdm.wrapattr(response, "read", total=size, desc=path.name) as stream:
                with open(temporary, "wb") as file:
                    shutil.copyfileobj(stream, file)
            if size is not None and temporary.stat().st_size != size:
                raise UserError(f"the download of {url} broke off: run the same command again.")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise UserError(
            f"{url} cannot be downloaded ({error}): fetch it by other means and give the file, or "
            f"put it at {path}."
        ) from error
