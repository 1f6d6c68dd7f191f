"""The sets of weights in a file: where they lie, under which prefix, and which one is meant.

Training programs wrap a model's state dict in dicts of their own, put prefixes before its keys, and
keep averaged copies beside it.
"""

import dataclasses
import pathlib
import shlex
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from qvae_jax.system.errors import UserError

EFFICIENTAT = "EfficientAT state dict"
QVIM = "QVIM Lightning checkpoint"
QBV = "QBV state dict"
QVAE = "QVAE Lightning checkpoint"
SAMPLECNN = "SampleCNN state dict"
AISFX = "aiSFX checkpoint"

FIRST = "features.0.0.weight"  # the first key of an encoder by itself
# The first keys of the other models, by which a set of weights is found: each with the model's kind,
# and how a key begins that it has beside.
FIRST_KEYS = {
    f"encoder.backbone.{FIRST}": (QVAE, ("encoder.mu_head.", "encoder.vae_head.", "decoder.")),
    f"imitation_encoder.{FIRST}": (QVIM, ("reference_encoder.",)),
    f"reference_encoder.{FIRST}": (QVIM, ("imitation_encoder.",)),
    f"im.{FIRST}": (QBV, ("ref.", "rec.")),
    f"ref.{FIRST}": (QBV, ("im.",)),
    f"rec.{FIRST}": (QBV, ("im.",)),
    "conv1.0.weight": (SAMPLECNN, ("conv10.", "conv11.")),
    "embedding_net.conv_block1.conv1.weight": (AISFX, ("embedding_net.conv_block4.",)),
}
# How the keys of each kind begin; a training program may keep others of its own beside them.
BEGINNINGS = {
    EFFICIENTAT: ("features", "classifier"),
    QVIM: ("imitation_encoder", "reference_encoder", "tau"),
    QBV: ("im", "ref", "rec"),
    QVAE: ("encoder", "decoder", "loss_fn"),
    SAMPLECNN: (*(f"conv{number}" for number in range(1, 12)), "fc"),
    AISFX: ("embedding_net", "fc"),
}
# Names that torch and its companions put between those of a model when they wrap a module.
WRAPPERS = frozenset(
    (
        "module",
        "_orig_mod",
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
        "_forward_module",
    )
)
KINDS = "an EfficientAT, QVIM, QBV, QVAE, SampleCNN or aiSFX checkpoint"  # as messages say it
TOP = "."  # the name of weights that lie in the file itself, under no prefix


@dataclasses.dataclass(frozen=True)
class WeightSet:
    """One set of weights.

    Attributes:
        place: the keys of the dicts that lead to it, with dots between; empty in the file itself.
        kind: one of BEGINNINGS.
        prefix: what stands before each of its keys in the file; ends in a dot, or is empty.
        values: its values by the model's own keys.
        written: the keys of the file, by the model's own.
        outside: keys beside it in its dict, of no set and none that such a model has.
    """

    place: str
    kind: str
    prefix: str
    values: dict[str, object]
    written: dict[str, str]
    outside: tuple[str, ...]

    @property
    def name(self) -> str:
        """What --weights calls it: its place and its prefix, or TOP where it has neither."""
        return _joined(self.place, self.prefix.removesuffix(".")) or TOP


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        sets: the sets of weights.
        others: how many matrices lie in a dict or list that holds no such set, by its place.
        some_keys: of tensors that have names, the first few.
    """

    sets: tuple[WeightSet, ...]
    others: dict[str, int]
    some_keys: tuple[str, ...]


def find(path: pathlib.Path, content) -> Contents:
    """All sets of weights in the content of a file. Raises UserError where keys are ambiguous."""
    sets, others, some_keys = [], {}, []
    for place, value in _containers(content):
        found = []
        if isinstance(value, Mapping):
            found = _in_mapping(path, place, value)
            if len(some_keys) < 3:
                some_keys += [_joined(place, k) for k, v in value.items() if _is_tensor(k, v)]
        sets += found
        if not found and (number := _num_matrices(value)) > 1:
            others[place] = number
    return Contents(tuple(sets), others, tuple(some_keys[:3]))


def choose(path: pathlib.Path, contents: Contents, name: str | None) -> WeightSet:
    """The set of this name, or the only one; UserError naming them all where that is open.

    The keys that lead to a set do for a name where no other set lies below them.
    """
    if not contents.sets:
        raise UserError(_nothing_found(path, contents))
    if name is None:
        fitting = contents.sets
    else:
        exact = [found for found in contents.sets if found.name == name]
        below = [found for found in contents.sets if found.name.startswith(f"{name}.")]
        fitting = exact or below
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(shlex.quote(found.name) for found in contents.sets)
    if name is None:
        raise UserError(
            f"{path} holds {len(fitting)} sets of weights ({names}), of which one may be an "
            "average of another: choose one by --weights=NAME."
        )
    wrong = f"more than one set of weights below {name}" if fitting else f"no weights named {name}"
    raise UserError(f"{path} has {wrong}: give --weights one of {names}.")


def _nothing_found(path: pathlib.Path, contents: Contents) -> str:
    advice = f"give {KINDS}."
    if not contents.some_keys:
        return f"{path} holds no state dict: {advice}"
    return (
        f"{path} is of an unknown kind: it holds {', '.join(contents.some_keys)} and so on, but no "
        f"{FIRST} under any prefix, nor what else it can be told by; {advice}"
    )


# --- Going through a file


def _containers(content) -> Iterator[tuple[str, Mapping | Sequence]]:
    """(place, value) of each dict and list in a file, the outer ones first.

    A module, as --allow_pickle loads it, counts as its state dict.
    """
    waiting, seen = deque([("", content)]), set()
    while waiting:
        place, value = waiting.popleft()
        if isinstance(value, torch.nn.Module):
            value = value.state_dict()
        if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        yield place, value
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        waiting.extend((_joined(place, key), entry) for key, entry in entries)


def _joined(place: str, key) -> str:
    return ".".join(filter(None, (place, str(key))))


def _is_tensor(key, value) -> bool:
    return isinstance(key, str) and isinstance(value, torch.Tensor | np.ndarray)


def _num_matrices(container: Mapping | Sequence) -> int:
    """How many tensors in it may be weights, which an optimizer's state does not call its own."""
    values = container
    if isinstance(container, Mapping):
        values = [value for key, value in container.items() if str(key).endswith("weight")]
    return sum(
        isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1
        for value in values
    )


# --- Within one dict


def _in_mapping(path: pathlib.Path, place: str, mapping: Mapping) -> list[WeightSet]:
    """The sets of weights in one dict, each under a prefix of its own."""
    keys = [key for key in mapping if isinstance(key, str)]
    own_keys = {key: _without_wrappers(key) for key in keys}
    kinds = dict(filter(None, (_prefix_and_kind(key, own_keys) for key in keys)))
    # The losses of a QVAE may hold a network that listens.
    kinds = {prefix: kind for prefix, kind in kinds.items() if "loss_fn" not in prefix.split(".")}
    if not kinds:
        return []
    nameless = [key for key in mapping if not isinstance(key, str)]
    if nameless:
        raise UserError(
            f"{path} holds the key {nameless[0]!r} among its weights, a "
            f"{type(nameless[0]).__name__} and no name: save the state dict without it."
        )
    owners = {key: _owner(key, kinds) for key in keys}
    return [
        _weight_set(path, place, mapping, prefix, kind, owners) for prefix, kind in kinds.items()
    ]


def _weight_set(
    path: pathlib.Path,
    place: str,
    mapping: Mapping,
    prefix: str,
    kind: str,
    owners: dict[str, str | None],
) -> WeightSet:
    keys = [key for key, owner in owners.items() if owner == prefix]
    _check_wrappers(path, keys)
    written = {_without_wrappers(key.removeprefix(prefix)): key for key in keys}
    values = {own: mapping[key] for own, key in written.items()}
    outside = tuple(key for key, owner in owners.items() if owner is None)
    return WeightSet(place, kind, prefix, values, written, outside)


def _check_wrappers(path: pathlib.Path, keys: list[str]) -> None:
    """Raises UserError unless all keys of each wrapped module have its wrapper's name."""
    wrapped = {}
    for key in keys:
        parts = key.split(".")
        for i, part in enumerate(parts):
            if part in WRAPPERS:
                wrapped.setdefault("".join(f"{before}." for before in parts[:i]), (part, key))
    for start, (wrapper, example) in wrapped.items():
        inside = f"{start}{wrapper}."
        others = [key for key in keys if key.startswith(start) and not key.startswith(inside)]
        if others:
            raise UserError(
                f"{path} holds {example} and {others[0]}, so that one part of a module is wrapped "
                f"({wrapper}) and another is not: save the model's state dict anew."
            )


def _without_wrappers(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def _prefix_and_kind(first: str, own_keys: dict[str, str]) -> tuple[str, str] | None:
    """The prefix of the model whose first key this is, as written, and its kind; None for others."""
    own = own_keys[first]
    for key, (kind, others) in FIRST_KEYS.items():
        if not f".{own}".endswith(f".{key}"):
            continue
        prefix = own.removesuffix(key)
        beside = tuple(prefix + other for other in others)
        if any(other.startswith(beside) for other in own_keys.values()):
            return _as_written(first, prefix), kind
    if f".{own}".endswith(f".{FIRST}"):
        return _as_written(first, own.removesuffix(FIRST)), EFFICIENTAT
    return None


def _as_written(key: str, prefix: str) -> str:
    """The start of a key that is this prefix once wrappers are taken out, with its wrappers."""
    wanted, parts = prefix.count("."), key.split(".")
    taken = 0
    while wanted or parts[taken] in WRAPPERS:
        wanted -= parts[taken] not in WRAPPERS
        taken += 1
    return "".join(f"{part}." for part in parts[:taken])


def _owner(key: str, kinds: dict[str, str]) -> str | None:
    """The longest prefix after which the key is one of such a model; None where there is none."""
    fitting = [
        prefix
        for prefix, kind in kinds.items()
        if key.startswith(prefix)
        and _without_wrappers(key.removeprefix(prefix)).split(".")[0] in BEGINNINGS[kind]
    ]
    return max(fitting, key=len, default=None)
