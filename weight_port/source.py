"""A PyTorch checkpoint as arrays under the model's own keys, and what else its file says."""

import argparse
import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import torch

from qvae_jax.system.errors import UserError, first_few
from weight_port import torch_file, weight_sets
from weight_port.weight_sets import Contents, WeightSet

PLAIN_PLACES = ("", "state_dict")  # where weights lie by custom, of which no note is needed


@dataclasses.dataclass(frozen=True)
class Source:
    """A PyTorch checkpoint.

    Attributes:
        path: the file.
        sha256: its digest, in hex.
        kind: EFFICIENTAT or another one, of weight_sets.
        arrays: its tensors by the model's own keys. Floating-point ones are float32, others keep
            their type; they may be strided views.
        converted: the torch types of floating-point tensors that were not float32, by key.
        hyper_parameters: a Lightning checkpoint's; empty where there are none.
        weights: the name of the set of weights, where a file may hold several.
        prefix: what stands before each key in the file.
        written: the keys as the file has them, where they differ, by the model's own.
        outside: keys of the file beside these weights.
        notes: sentences on what was chosen or left out.
    """

    path: pathlib.Path
    sha256: str
    kind: str
    arrays: dict[str, np.ndarray]
    converted: dict[str, str]
    hyper_parameters: Mapping
    weights: str = weight_sets.TOP
    prefix: str = ""
    written: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def in_file(self, key: str) -> str:
        """A key of the model as the file has it, or would have it."""
        return self.written.get(key, self.prefix + key)


def read_source(
    path: pathlib.Path, *, allow_pickle: bool = False, weights: str | None = None
) -> Source:
    """Reads a checkpoint, without running any code in it unless allow_pickle is set.

    weights is the name of one of the file's sets of weights; of what lies outside of it, notes tell.
    Raises UserError, naming the file, where it is absent, damaged, not a checkpoint, of an unknown
    kind, needs more than plain tensors to load, or holds several sets of weights and none is named.
    """
    path = pathlib.Path(path)
    digest = torch_file.sha256_of(path)
    content = torch_file.load(path, allow_pickle=allow_pickle)
    contents = weight_sets.find(path, content)
    chosen = weight_sets.choose(path, contents, weights)
    arrays, converted = {}, {}
    for key, value in chosen.values.items():
        tensor = _as_tensor(path, chosen.written[key], value)
        arrays[key] = _as_array(path, chosen.written[key], tensor)
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            converted[key] = str(tensor.dtype).removeprefix("torch.")
    return Source(
        path,
        digest,
        chosen.kind,
        arrays,
        converted,
        _hyper_parameters(content),
        weights=chosen.name,
        prefix=chosen.prefix,
        written=chosen.written,
        outside=() if weights else chosen.outside,
        notes=(*_notes_on(chosen, named=bool(weights)), *_notes_on_others(contents)),
    )


def _as_tensor(path: pathlib.Path, key: str, value) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach()
    if not isinstance(value, np.ndarray | np.generic):
        raise UserError(
            f"{path} holds a {type(value).__name__} under {key!r} instead of a tensor: give "
            f"{weight_sets.KINDS}, or save this one without that key."
        )
    try:
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    except TypeError as error:
        raise UserError(
            f"{path} holds a NumPy array of {value.dtype} under {key!r}, which no weight is: save "
            "it without that key."
        ) from error


def _as_array(path: pathlib.Path, key: str, tensor: torch.Tensor) -> np.ndarray:
    try:
        return (tensor.to(torch.float32) if tensor.is_floating_point() else tensor).numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantised, nested or without data
        raise UserError(
            f"{path} holds something else than a plain array of numbers under {key!r} "
            f"({torch_file.reason(error)}): save it as a dense tensor."
        ) from error


def _hyper_parameters(content) -> Mapping:
    """A Lightning checkpoint's, or the config that other programs keep beside the weights."""
    content = content if isinstance(content, Mapping) else {}
    stated, config = (as_mapping(content.get(name)) for name in ("hyper_parameters", "config"))
    return stated or ({"config": config} if config else {})


def as_mapping(value) -> Mapping:
    """A dict of settings, also where it is a command line's; an empty one for anything else."""
    if isinstance(value, argparse.Namespace):
        return vars(value)
    return value if isinstance(value, Mapping) else {}


def _notes_on(chosen: WeightSet, *, named: bool) -> list[str]:
    notes = []
    if chosen.place not in PLAIN_PLACES:
        notes.append(f"the weights are those under {chosen.place}")
    if chosen.prefix:
        notes.append(f"the prefix {chosen.prefix} is taken off {len(chosen.written)} keys")
    wrapped = [k for k, old in chosen.written.items() if chosen.prefix + k != old]
    if wrapped:
        old = chosen.written[wrapped[0]]
        notes.append(f"{len(wrapped)} keys are taken as unwrapped: {old} as {wrapped[0]}")
    if named and chosen.outside:
        notes.append(f"left out beside {chosen.name}: {first_few(chosen.outside)}")
    return notes


def _notes_on_others(contents: Contents) -> list[str]:
    return [
        f"left out: {number} matrices under {place}, which may be weights, but lack names or a first "
        "layer"
        for place, number in contents.others.items()
    ]
