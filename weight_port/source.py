"""Reading a PyTorch file safely, and telling what kind of checkpoint it is."""

import dataclasses
import hashlib
import pathlib
import pickle
import zipfile

import numpy as np
import torch

from qvae_jax.errors import UserError

EFFICIENTAT = "EfficientAT state dict"
QVIM = "QVIM Lightning checkpoint"
QVAE = "QVAE Lightning checkpoint"


@dataclasses.dataclass(frozen=True)
class Source:
    """A PyTorch checkpoint: its tensors as NumPy arrays by key, and where it comes from."""

    path: pathlib.Path
    sha256: str
    kind: str
    arrays: dict[str, np.ndarray]
    hyper_parameters: dict


def read_source(path: pathlib.Path) -> Source:
    """Reads a checkpoint without running any code in it.

    Raises UserError, naming the file, where it is absent, damaged, not a checkpoint, of a kind
    that is not known here, or needs more than plain tensors to load.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(
            f"{path} is not a file: give a PyTorch checkpoint (.pt, .ckpt) or a published name "
            "such as mn10_as."
        )
    content = _load(path)
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state_dict, dict) or not all(isinstance(k, str) for k in state_dict):
        raise UserError(f"{path} holds no state dict: it is not a checkpoint this tool can port.")
    arrays = {key: _as_array(path, key, value) for key, value in state_dict.items()}
    parameters = content.get("hyper_parameters", {})
    return Source(
        path,
        sha256_of(path),
        _kind(path, arrays),
        arrays,
        parameters if isinstance(parameters, dict) else {},
    )


def sha256_of(path: pathlib.Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: pathlib.Path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} needs more than plain tensors to load ({_reason(error)}); loading it could "
            "run code from the file, so it is refused: save its state dict alone and port that."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"{path} cannot be read as a PyTorch checkpoint ({_reason(error)}): it is truncated, "
            "damaged or of another format; fetch it again."
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    unsupported = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
    text = (unsupported or lines or [type(error).__name__])[0]
    return text[:160].rstrip(".")


def _as_array(path: pathlib.Path, key: str, value) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        raise UserError(
            f"{path} holds a {type(value).__name__} under {key!r} where a tensor belongs: it is "
            "not a checkpoint this tool can port."
        )
    if value.is_floating_point():
        value = value.to(torch.float32)
    return value.detach().contiguous().numpy()


def _kind(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> str:
    signs = {
        QVAE: "encoder.backbone.features.0.0.weight",
        QVIM: "imitation_encoder.features.0.0.weight",
        EFFICIENTAT: "features.0.0.weight",
    }
    for kind, key in signs.items():
        if key in arrays:
            return kind
    first = ", ".join(list(arrays)[:3]) or "nothing"
    raise UserError(
        f"{path} is of an unknown kind: it holds {first} …, but none of {', '.join(signs.values())}, "
        "which an EfficientAT, QVIM or QVAE checkpoint has."
    )
