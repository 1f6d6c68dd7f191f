"""The published EfficientAT checkpoints: names, addresses, digests, and their download."""

import http.client
import os
import pathlib
import urllib.request
from collections.abc import Iterator

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
BLOCK_SIZE = 2**20  # bytes


def cache_folder() -> pathlib.Path:
    """Where downloads are kept: $XDG_CACHE_HOME/qvae_jax, or ~/.cache/qvae_jax."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "qvae_jax"


def fetch(name: str) -> pathlib.Path:
    """The file of a published checkpoint, downloaded unless the cache holds it already.

    A download enters the cache whole and with the published digest, or not at all. Raises
    UserError where it cannot be downloaded, or has another digest than the published one.
    """
    file_name, digest = PUBLISHED[name]
    path = cache_folder() / file_name
    if path.is_file():
        _check_digest(path, digest, where=str(path), mend="remove it and run this again")
    else:
        _download(f"{RELEASE}/{file_name}", path, digest)
    if digest is None:
        print(f"No digest of {name} is known here; {path} is taken as it is.")
    return path


def _download(url: str, path: pathlib.Path, digest: str | None) -> None:
    by_hand = f"fetch it by other means and give the file, or put it at {path}"
    with files.replacing(path) as temporary:
        with open(temporary, "wb") as file:
            file.writelines(_blocks(url, by_hand))
        _check_digest(
            temporary, digest, where=f"the download of {url}", mend=f"run this again, or {by_hand}"
        )


def _blocks(url: str, by_hand: str) -> Iterator[bytes]:
    """What an address gives, block by block; UserError unless it gives all it announces."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            announced, received = response.length, 0
            name = url.rsplit("/", 1)[-1]
            with tqdm(total=announced, desc=name, unit="B", unit_scale=True, disable=None) as bar:
                while block := response.read(BLOCK_SIZE):
                    yield block
                    received += len(block)
                    bar.update(len(block))
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{url} cannot be downloaded ({error}): {by_hand}.") from error
    if announced is not None and received != announced:
        raise UserError(
            f"the download of {url} broke off after {received} of {announced} bytes: run this "
            f"again, or {by_hand}."
        )


def _check_digest(path: pathlib.Path, digest: str | None, *, where: str, mend: str) -> None:
    found = sha256_of(path)
    if digest is not None and found != digest:
        raise UserError(
            f"{where} has sha256 {found} instead of the published {digest}: it is damaged; {mend}."
        )
