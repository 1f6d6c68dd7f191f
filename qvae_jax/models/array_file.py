"""Arrays in one file of the safetensors form: names, shapes and bytes, and nothing that can run.

The form: eight bytes say how long the header is, a JSON object follows that gives each array's type,
shape and place, and then come the arrays' bytes without gaps, little-endian.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from qvae_jax.system import files
from qvae_jax.system.errors import UserError, first_line

ARRAY_FILE = "model.safetensors"
LENGTH_BYTES = 8  # of the header's length, which the file begins with
LONGEST_HEADER = 2**24  # bytes; the largest model here has 60 kB
# What models have; whole numbers and truth values are no weights.
DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
}
# What else may lie under this name, by its first bytes, and what to do about it.
DISGUISES = {
    b"PK\x03\x04": "a zip archive, as PyTorch writes them: port it with `python -m weight_port`",
    b"\x80": "a pickle, which could run code: port it with `python -m weight_port`",
    b"version https://git-lfs": "a pointer of Git LFS: fetch what it stands for with `git lfs pull`",
}


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Writes arrays of DTYPES under their names, whole or not at all; gives the file's sha256.

    Raises UserError where the file cannot be written.
    """
    content = safetensors.numpy.save({n: np.asarray(a, order="C") for n, a in arrays.items()})
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read(path: pathlib.Path, sha256: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file, by their names.

    Raises UserError for a file that is no such file, whose bytes are not those of sha256 where that
    is given, or whose header names an array twice or disagrees with its bytes in any way.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}): fetch it again.") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{path} is not the file that was written: its sha256 is another one than its folder's "
            "config.json says, so fetch or export the folder again."
        )
    try:
        found = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise _damaged(path, first_line(error)) from error
    return {name: _array(path, name, **entry) for name, entry in found}


def _content(path: pathlib.Path) -> bytes:
    """All bytes; of a file whose header cannot be meant, no more than that header is read."""
    with path.open("rb") as file:
        length = file.read(LENGTH_BYTES)
        beginning = length + file.read(max(map(len, DISGUISES)))
        for first_bytes, what in DISGUISES.items():
            if beginning.startswith(first_bytes) and b"{" not in beginning[8:9]:
                raise UserError(f"{path} is {what}; nothing was read from it.")
        num_bytes = int.from_bytes(length, "little")
        if len(length) < LENGTH_BYTES or num_bytes > LONGEST_HEADER:
            raise _damaged(path, "it does not begin with the length of a header")
        file.seek(LENGTH_BYTES)
        header = file.read(num_bytes)
        _require_header(path, header, num_bytes)
        return length + header + file.read()


def _require_header(path: pathlib.Path, header: bytes, num_bytes: int) -> None:
    """Raises UserError unless it is an object of JSON, whole, that says everything once."""
    if len(header) < num_bytes:
        raise _damaged(path, "its header is cut short")
    try:
        json.loads(header.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, first_line(error)) from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The pairs as a dict; a name that comes twice, of which readers differ, is a ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header says something twice")
    return found


def _array(
    path: pathlib.Path, name: str, dtype: str, shape: list[int], data: bytearray
) -> np.ndarray:
    if dtype not in DTYPES:
        raise _damaged(path, f"{name} is of type {dtype}, and weights are of {', '.join(DTYPES)}")
    return np.ndarray(shape, DTYPES[dtype], data)


def _damaged(path: pathlib.Path, why: str) -> UserError:
    return UserError(
        f"{path} is no whole file of arrays ({why}), so it is damaged or something else: fetch or "
        "export it again."
    )
