"""Our arrays filled from a checkpoint's: each key known, each shape right, each number finite."""

import re
import shlex

import numpy as np

from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError
from weight_port import names
from weight_port.source import Source

# Tensors that hold nothing learnt: BatchNorm's counters, the losses' windows and mel banks, and how
# many models torch's AveragedModel has averaged.
LEFTOVERS = re.compile(r"^loss_fn\.|\.num_batches_tracked$|^n_averaged$")
# And the temperature of QVIM's contrastive loss, which no encoder reads.
QVIM_LEFTOVERS = re.compile(rf"{LEFTOVERS.pattern}|^tau$")
# And the classifiers of aiSFX, one for each library that it learnt from.
AISFX_LEFTOVERS = re.compile(rf"{LEFTOVERS.pattern}|^fc\.\d+\.\d+\.(weight|bias)$")

WEIGHT_NORM = re.compile(r"\.weight_[gvu]$|\.weight_orig$|\.parametrizations\.")
PART = re.compile(r"-\d+-of-\d+\b")  # in the name of a file
RUNNING = re.compile(r"\.running_(mean|var)$")


def fill(
    source: Source, table: dict[str, str], expected: Variables, transposed: dict[str, bool]
) -> Variables:
    """The expected arrays, taken from the source by a table of {torch key: our name}.

    transposed is as names.transposed_keys gives it. Raises UserError, by the keys of the file, where
    a shape is another or numbers are none that a weight can have.
    """
    ours = expected.params | expected.batch_stats
    unfilled = set(ours) - set(table.values())
    if unfilled:
        raise AssertionError(f"the table of names leaves {sorted(unfilled)} unfilled")
    filled = {
        name: names.to_our_axes(
            source.arrays[key], transposed=key in transposed, reverse=transposed.get(key, False)
        )
        for key, name in table.items()
    }
    _check_shapes(source, table, filled, ours)
    _check_numbers(source, table)
    return Variables(
        {name: filled[name] for name in expected.params},
        {name: filled[name] for name in expected.batch_stats},
    )


def check_keys(source: Source, wanted: dict[str, str], leftovers: re.Pattern) -> None:
    """Raises UserError unless the source has every wanted key, and no others but leftovers."""
    missing = [key for key in wanted if key not in source.arrays]
    unknown = [key for key in source.arrays if key not in wanted and not leftovers.search(key)]
    outside = [key for key in source.outside if not leftovers.search(key)]
    found = {
        "missing": [source.in_file(key) for key in missing],
        "unknown": [*(source.in_file(key) for key in unknown), *outside],
    }
    if missing or unknown or outside:
        listed = "; ".join(f"{what} {_listed(keys)}" for what, keys in found.items() if keys)
        only_outside = not missing and not unknown
        advice = _to_leave_out(source) if only_outside else _advice(source, missing, unknown)
        raise UserError(f"{source.path} does not fit its kind, {source.kind}: {listed}. {advice}")


def matrix(source: Source, key: str) -> np.ndarray:
    """A weight of two or more dimensions, none of them zero; UserError where there is none."""
    if key not in source.arrays:
        unknown = [found for found in source.arrays if found.startswith(key)]
        raise UserError(
            f"{source.path} does not fit its kind, {source.kind}: missing {source.in_file(key)}. "
            f"{_advice(source, [key], unknown)}"
        )
    array = source.arrays[key]
    if array.ndim < 2 or 0 in array.shape:
        raise UserError(
            f"{source.path} does not fit: {source.in_file(key)} has shape {array.shape}, but is a "
            f"matrix in every {source.kind}. It is damaged: fetch it again."
        )
    return array


def _to_leave_out(source: Source) -> str:
    return (
        f"If the model does without, --weights={shlex.quote(source.weights)} leaves what is "
        "unknown out."
    )


def _advice(source: Source, missing: list[str], unknown: list[str]) -> str:
    if PART.search(source.path.name):
        return "It is one part of several: load each with torch, join their dicts and save that."
    if any(WEIGHT_NORM.search(key) for key in unknown):
        return (
            "Its weights are kept in parts, by weight or spectral norm: take the norm off with "
            "torch.nn.utils.parametrize.remove_parametrizations (or remove_weight_norm) and save "
            "it again."
        )
    if missing and not unknown and all(RUNNING.search(key) for key in missing):
        return (
            "It holds parameters without BatchNorm's running statistics, as an average of parameters "
            "does: save it joined with those of the model's whole state_dict()."
        )
    if missing and any(key.endswith(".0.bias") for key in unknown):
        return (
            "Its BatchNorm was merged into the convolutions: give the checkpoint from before that."
        )
    return "It is damaged, renamed or of another model: fetch it again or give another one."


def _check_shapes(source: Source, table: dict[str, str], filled: dict, ours: dict) -> None:
    wrong = [
        f"{source.in_file(key)} has shape {source.arrays[key].shape}, which becomes "
        f"{filled[name].shape}, but {name} is {ours[name].shape}"
        for key, name in table.items()
        if filled[name].shape != ours[name].shape
    ]
    if wrong:
        raise UserError(
            f"{source.path} does not fit: {_listed(wrong, '; ')}. It is damaged or of another "
            "model: fetch it again or give another one."
        )


def _check_numbers(source: Source, table: dict[str, str]) -> None:
    other = [key for key in table if source.arrays[key].dtype != np.float32]
    if other:
        found = source.arrays[other[0]].dtype
        raise UserError(
            f"{source.path} holds {found} numbers instead of floating-point ones in "
            f"{_listed([source.in_file(key) for key in other])}: it is damaged or of another model."
        )
    broken = [source.in_file(key) for key in table if not np.isfinite(source.arrays[key]).all()]
    if broken:
        raise UserError(
            f"{source.path} holds numbers that are NaN, infinite or too large for float32 in "
            f"{_listed(broken)}: it is damaged or its training diverged; use another checkpoint."
        )
    variances = [key for key in table if key.endswith(".running_var")]
    negative = [source.in_file(key) for key in variances if (source.arrays[key] < 0).any()]
    if negative:
        raise UserError(
            f"{source.path} holds negative variances in {_listed(negative)}: it is damaged; fetch "
            "it again or give another one."
        )


def _listed(items: list[str], separator: str = ", ") -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return separator.join(items[:3]) + more
