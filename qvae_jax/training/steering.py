"""What a training step is told of its targets' curves, drawn on the host.

A renderer that always had the exact curves of its target would follow every tremble of a voice. So
curves go through a median filter, and some are not told (García et al., 2025).
"""

import dataclasses

import numpy as np

from qvae_jax.audio.controls import PITCH
from qvae_jax.audio.curves import smoothed

NUM_TOLD = 3  # loudness, centroid and pitch, the last with its periodicity


@dataclasses.dataclass(frozen=True)
class Variation:
    """How much the curves of training vary.

    Attributes:
        longest_filter_frames: of the median filter, whose length is drawn from the odd numbers up
            to it; 1 is none.
        curve_dropout: how likely one curve is not told.
        all_curves_dropout: how likely none is.
    """

    longest_filter_frames: int = 1
    curve_dropout: float = 0.0
    all_curves_dropout: float = 0.0


def told(
    curves: np.ndarray, variation: Variation, seed: int, step: int, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """The curves of a batch as a step is told them, and which of them it is told.

    Args:
        curves: of the targets, float32 [batch, frames, 4].
        variation: how much they vary.
        seed, step, rows: all that the draws depend on; rows [batch] are places in the whole batch.

    Returns:
        "controls", float32 [batch, frames, 4], and "told", bool [batch, 4].
    """
    varied = [
        _varied(of_one, variation, np.random.default_rng([seed, step, int(row)]))
        for of_one, row in zip(curves, rows, strict=True)
    ]
    controls, are_told = (np.stack(arrays) for arrays in zip(*varied))
    return {"controls": controls, "told": are_told}


def _varied(
    curves: np.ndarray, variation: Variation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The curves [frames, 4] of one example, filtered, and which are told, [4]."""
    # As many are drawn, whatever the settings are, so that one does not move another's draws.
    length = 1 + 2 * int(rng.random() * ((variation.longest_filter_frames + 1) // 2))
    dropped = rng.random(NUM_TOLD) < variation.curve_dropout
    dropped |= rng.random() < variation.all_curves_dropout
    are_told = np.append(~dropped, ~dropped[PITCH])
    return smoothed(curves, length), are_told
