"""Reading a PyTorch file safely, and telling what kind of checkpoint it is."""

import argparse
import dataclasses
import hashlib
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping

import numpy as np
import torch

from qvae_jax.system.errors import UserError

EFFICIENTAT = "EfficientAT state dict"
QVIM = "QVIM Lightning checkpoint"
QVAE = "QVAE Lightning checkpoint"


@dataclasses.dataclass(frozen=True)
class Source:
    """A PyTorch checkpoint.

    Attributes:
        path: the file.
        sha256: its digest, in hex.
        kind: EFFICIENTAT, QVIM or QVAE.
        arrays: its tensors by key. Floating-point ones are float32, others keep their type; they
            may be strided views.
        converted: the torch types of floating-point tensors that were not float32, by key.
        hyper_parameters: a Lightning checkpoint's; empty where there are none.
    """

    path: pathlib.Path
    sha256: str
    kind: str
    arrays: dict[str, np.ndarray]
    converted: dict[str, str]
    hyper_parameters: Mapping


def read_source(path: pathlib.Path, *, allow_pickle: bool = False) -> Source:
    """Reads a checkpoint, without running any code in it unless allow_pickle is set.

    Raises UserError, naming the file, where it is absent, damaged, not a checkpoint, of an unknown
    kind, or needs more than plain tensors to load.
    """
    path = pathlib.Path(path)
    digest = sha256_of(path)
    content = _load(path, allow_pickle)
    state_dict = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise UserError(
            f"{path} holds no state dict: give an EfficientAT, QVIM or QVAE checkpoint."
        )
    arrays = {key: _as_array(path, key, value) for key, value in state_dict.items()}
    parameters = content.get("hyper_parameters", {})
    return Source(
        path,
        digest,
        _kind(path, arrays),
        arrays,
        _converted(state_dict),
        parameters if isinstance(parameters, Mapping) else {},
    )


def sha256_of(path: pathlib.Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises UserError where it is absent or unreadable."""
    try:
        if path.is_file():
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        state = "not a file" if path.exists() else "absent"
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): check its name, its permissions and its "
            "disk."
        ) from error
    raise UserError(
        f"{path} is {state}: give a PyTorch checkpoint (.pt, .ckpt) or a published name such as "
        "mn10_as."
    )


def _load(path: pathlib.Path, allow_pickle: bool):
    try:
        _check_zip(path)
        return _unpickle(path, allow_pickle)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path} needs {error.name}, which is not installed: install it; or, where you have "
            "it, load the file with torch and save only its state_dict and hyper_parameters."
        ) from error
    except Exception as error:  # a damaged file may raise anything
        refused = _refused(path, error)
        if refused:
            raise UserError(
                f"{path} asks for {', '.join(refused)}: that is more than tensors and plain values "
                "and could run code from the file, so it is refused; if you trust the file, give "
                "--allow_pickle."
            ) from error
        raise UserError(
            f"{path} cannot be read as a PyTorch checkpoint ({_reason(error)}): it is truncated, "
            "damaged or of another format; fetch it again or give another file."
        ) from error


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


def _refused(path: pathlib.Path, error: Exception) -> list[str]:
    """The names of what torch's unpickler refused as no tensor; empty for any other error."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if not isinstance(error, pickle.UnpicklingError) or not named:
        return []
    try:  # torch stops at the first one; this lists all of them, if the file is a zip
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # which a file of an older format, or a damaged one, may raise
        return [named[1]]


def _unpickle(path: pathlib.Path, allow_pickle: bool):
    # A QVIM checkpoint may hold its command line, as a Namespace, which runs no code.
    allowed = torch.serialization.safe_globals([argparse.Namespace])
    with warnings.catch_warnings(), allowed:
        # torch warns about a file's format before it raises an error that says the same.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=not allow_pickle)


def _reason(error: Exception) -> str:
    """The first sentence of an error, without the advice that torch puts before it."""
    text = str(error).split("WeightsUnpickler error:")[-1].strip() or type(error).__name__
    return re.split(r"(?<=\w)\.\s|\n", text)[0][:160].rstrip(".")


def _as_array(path: pathlib.Path, key: str, value) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        raise UserError(
            f"{path} holds a {type(value).__name__} under {key!r} instead of a tensor: give an "
            "EfficientAT, QVIM or QVAE checkpoint."
        )
    try:
        value = value.detach()
        return (value.to(torch.float32) if value.is_floating_point() else value).numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantised, nested or without data
        raise UserError(
            f"{path} holds something else than a plain array of numbers under {key!r} "
            f"({_reason(error)}): save it as a dense tensor."
        ) from error


def _converted(state_dict: dict[str, torch.Tensor]) -> dict[str, str]:
    return {
        key: str(value.dtype).removeprefix("torch.")
        for key, value in state_dict.items()
        if value.is_floating_point() and value.dtype != torch.float32
    }


def _kind(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> str:
    signs = {
        QVAE: "encoder.backbone.features.0.0.weight",
        QVIM: "imitation_encoder.features.0.0.weight",
        EFFICIENTAT: "features.0.0.weight",
    }
    for kind, key in signs.items():
        if key in arrays:
            return kind
    found = f"it holds {', '.join(list(arrays)[:3])} and so on" if arrays else "it is empty"
    raise UserError(
        f"{path} is of an unknown kind: {found}, but not {' or '.join(signs.values())}. Give an "
        "EfficientAT, QVIM or QVAE checkpoint."
    )
