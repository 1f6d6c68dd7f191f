"""One sound of a library as the index needs it: what tells its file, and what the encoder hears.

No JAX here: the processes that read would take seconds to import it.
"""

import os
import pathlib
from collections.abc import Set
from typing import NamedTuple

import numpy as np

from qvae_jax.audio import windows
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.levels import SILENT_PEAK
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

Fingerprint = tuple[int, int]  # a file's size in bytes and its time of change in nanoseconds


class Read(NamedTuple):
    """A file as it was from the beginning of reading to its end.

    samples are what is heard of it, and duration_s that of the whole file; both None where its
    bytes are known.
    """

    fingerprint: Fingerprint
    sha256: str
    samples: np.ndarray | None
    duration_s: float | None


def fingerprint(path: str | os.PathLike) -> Fingerprint:
    """What changes where a file does; UserError where there is none."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path} cannot be looked at ({error.strerror}): restore it.") from error
    return status.st_size, status.st_mtime_ns


def read(path: pathlib.Path, front_end: FrontEnd, known: Set[str] = frozenset()) -> Read:
    """A file, of which no more is decoded than is heard; nothing, where known has its sha256.

    Raises UserError for a file that cannot be read, is silent where it is heard, or changes
    meanwhile.
    """
    before = fingerprint(path)
    sha256 = _sha256(path)
    samples = duration_s = None
    if sha256 not in known:
        heard = {"max_duration_s": front_end.duration_s}
        samples = windows.read_sound(path, front_end.sample_rate_hz, **heard)
        duration_s = windows.duration_s(path)
        if np.ptp(samples) / 2 < SILENT_PEAK:
            raise UserError(f"{path} is silent in its first {front_end.duration_s:g} s.")
    # A change between the digest and this shows here, for the time of change goes on.
    if fingerprint(path) != before:
        raise UserError(f"{path} changed while it was read: search again when it is finished.")
    return Read(before, sha256, samples, duration_s)


def _sha256(path: pathlib.Path) -> str:
    try:
        return files.digest(path)
    except OSError as error:
        raise UserError(
            f"The audio file {path} cannot be read ({error.strerror}): check its permissions."
        ) from error
