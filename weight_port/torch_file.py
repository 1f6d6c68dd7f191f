"""Reading a PyTorch file without running any code in it, and saying what is wrong with it."""

import argparse
import contextlib
import io
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import torch

from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from weight_port import other_formats

# Besides tensors, what training programs keep beside the weights and what runs no code: numbers and
# arrays of NumPy (a best score, a step), paths, and a command line. Of NumPy's types only plain
# ones: arrays of objects or of records are for --allow_pickle.
NUMPY_TYPES = (np.dtype, *(type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDSU"))
NUMPY_MAKERS = [
    (getattr(np._core.multiarray, name), f"numpy.{core}.multiarray.{name}")
    for core in ("core", "_core")  # as NumPy 1 and NumPy 2 write them
    for name in ("scalar", "_reconstruct")
]
# Pure ones, which exist on every system, in place of those of the system that wrote the file.
PATHS = [
    (getattr(pathlib, f"Pure{system}Path"), f"{module}.{pure}{system}Path")
    for module in ("pathlib", "pathlib._local")  # as Python up to 3.12 and 3.13 write them
    for system in ("Posix", "Windows")
    for pure in ("", "Pure")
]
PLAIN_VALUES = [argparse.Namespace, np.ndarray, *NUMPY_TYPES, *NUMPY_MAKERS, *PATHS]


def sha256_of(path: pathlib.Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises UserError where it is absent or unreadable."""
    try:
        if path.is_file():
            return files.digest(path)
        state = _state(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): check its name, its permissions and its "
            "disk."
        ) from error
    raise UserError(
        f"{path} is {state}: give a PyTorch checkpoint (.pt, .ckpt) or a published name such as "
        "mn10_as."
    )


def load(path: pathlib.Path, *, allow_pickle: bool):
    """What a PyTorch file holds, its tensors on the CPU.

    Raises UserError, naming the file and what to do, where it is damaged, of another format, or
    needs more than tensors and plain values; with allow_pickle, only where that is not at hand. Of
    a Python package (.whl) it is the only checkpoint in it that is read.
    """
    try:
        _check_zip(path)
        with _opened(path) as file:
            return _unpickle(file, allow_pickle)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path} needs {error.name}, which is not installed: install it; or, where you have "
            "it, load the file with torch and save only its state_dict and hyper_parameters."
        ) from error
    except Exception as error:  # a damaged file may raise anything
        raise UserError(f"{path} {_explained(path, error)}") from error


def reason(error: Exception) -> str:
    """The first sentence of an error, without the advice that torch puts before it."""
    text = str(error).split("WeightsUnpickler error:")[-1].strip() or type(error).__name__
    return re.split(r"(?<=\w)\.\s|\n", text)[0][:160].rstrip(".")


def _state(path: pathlib.Path) -> str:
    if path.is_dir():
        return f"not a file but a folder{other_formats.in_folder(path)}"
    if path.exists():
        return "not a file"
    return "a link to a file that is absent" if path.is_symlink() else "absent"


def _check_zip(path: pathlib.Path) -> None:
    """Compares the checksums of a zip, torch's format since 1.6, because torch.load does not.

    Older formats have none.
    """
    with open(path, "rb") as file:
        start = file.read(4)
    if not start:
        raise EOFError("it is empty")
    if start != b"PK\x03\x04":
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} in it does not match its bytes")


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[pathlib.Path | BinaryIO]:
    """What torch reads: the file, or the checkpoint in it where it is a package that holds one."""
    packed = other_formats.checkpoints_in(path) if path.suffix == ".whl" else []
    if len(packed) != 1:
        yield path
        return
    with zipfile.ZipFile(path) as archive:
        yield io.BytesIO(archive.read(packed[0]))


def _unpickle(file: pathlib.Path | BinaryIO, allow_pickle: bool):
    with warnings.catch_warnings(), torch.serialization.safe_globals(PLAIN_VALUES):
        # torch warns about a file's format before it raises an error that says the same.
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=not allow_pickle)


def _explained(path: pathlib.Path, error: Exception) -> str:
    """What follows a file's name in the message on an error that reading it raised."""
    refused = _refused(path, error)
    if refused:
        return (
            f"asks for {', '.join(refused)}: that is more than tensors and plain values and could "
            "run code from the file, so it is refused; if you trust the file, give --allow_pickle, "
            "or save the model's state_dict() alone."
        )
    absent = re.search(r"get attribute '([\w.]+)' (?:on|from) <module '([\w.]+)'", str(error))
    if isinstance(error, AttributeError) and absent:
        return (
            f"cannot be read as a PyTorch checkpoint: it needs {absent[2]}.{absent[1]}, which is not "
            "here; where it is, load it with torch and save only its state_dict and "
            "hyper_parameters."
        )
    known = other_formats.of_file(path)
    if known is not None:
        return f"cannot be read as a PyTorch checkpoint: it is {known}."
    return (
        f"cannot be read as a PyTorch checkpoint ({reason(error)}): it is truncated, damaged or of "
        "another format; fetch it again or give another file."
    )


def _refused(path: pathlib.Path, error: Exception) -> list[str]:
    """The names of what torch's unpickler refused as no tensor; empty for any other error."""
    named = re.search(r"(?:GLOBAL |but got <class ')([\w.]+)", str(error))
    if not isinstance(error, pickle.UnpicklingError) or not named:
        return []
    try:  # torch stops at the first one; this lists all of them, if the file is a zip
        with torch.serialization.safe_globals(PLAIN_VALUES):
            return torch.serialization.get_unsafe_globals_in_checkpoint(path) or [named[1]]
    except Exception:  # which a file of an older format, or a damaged one, may raise
        return [named[1]]
