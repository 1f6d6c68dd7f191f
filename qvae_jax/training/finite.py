"""Where a number is not finite, a run ends before it learns from it or saves it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from qvae_jax.models.variables import Arrays
from qvae_jax.system.errors import UserError
from qvae_jax.training.checkpoints import RunCheckpoints


def require_finite(
    values: Mapping[str, float], names: Sequence[str], what: str, step: int, kept: RunCheckpoints
) -> None:
    """Raises UserError naming the first of these values that is not finite."""
    for name in names:
        if not math.isfinite(values[name]):
            raise UserError(
                f"{what} is not finite at step {step}, first in {name!r} ({values[name]}); "
                f"{_kept(kept)}: lower optimizer.learning_rate and run again."
            )


def require_finite_state(tree: Mapping[str, Arrays], step: int, kept: RunCheckpoints) -> None:
    """Raises UserError naming the first array of a checkpoint to be that is not finite."""
    for part in (part for part in tree if part != "progress"):
        for name, array in tree[part].items():
            if not np.isfinite(array).all():
                raise UserError(
                    f"{name} ({part}) is not finite after step {step}; {_kept(kept)}: lower "
                    "optimizer.learning_rate and run again."
                )


def _kept(kept: RunCheckpoints) -> str:
    latest = kept.latest_step
    return "no checkpoint was saved yet" if latest is None else f"step {latest} is kept"
