"""Curves as they are given to a steered model: checked, and filled up to few lengths."""

import numpy as np
import numpy.typing as npt

from qvae_jax.audio import controls
from qvae_jax.audio.controls import HOP_LENGTH, SAMPLE_RATE_HZ
from qvae_jax.generation.steer_request import LONGEST_S
from qvae_jax.models.frame_decoder import NUM_FRAMES
from qvae_jax.system.errors import UserError

LONGEST_FRAMES = LONGEST_S * SAMPLE_RATE_HZ // HOP_LENGTH
# A program is compiled for each of these numbers of frames, a sound and twice as much each time.
BUCKETS = (*(NUM_FRAMES * 2**i for i in range(5)), LONGEST_FRAMES)


def checked(curves: npt.ArrayLike) -> np.ndarray:
    """The curves of one sound, float32 [frames, 4]; UserError where they are none.

    Values beyond what a sound can have are drawn to its ends by the renderer's own range.
    """
    array = np.asarray(curves)
    if array.ndim != 2 or array.shape[1] != len(controls.NAMES) or array.dtype.kind not in "fiu":
        raise UserError(
            f"Curves are numbers [frames, {len(controls.NAMES)}] ({', '.join(controls.NAMES)}), but "
            f"these have the shape {list(array.shape)} and the type {array.dtype}."
        )
    if not 1 <= len(array) <= LONGEST_FRAMES:
        raise UserError(
            f"There are curves of {len(array)} frames: give from 1 to {LONGEST_FRAMES}, which are "
            f"{LONGEST_S} s."
        )
    if not np.isfinite(array).all():
        frame, number = np.argwhere(~np.isfinite(array))[0]
        raise UserError(
            f"The {controls.NAMES[number]} of frame {frame + 1} is not finite: mend the curves."
        )
    return array.astype(np.float32)


def bucket(num_frames: int) -> int:
    """The least of BUCKETS that so many frames fit into."""
    return next(size for size in BUCKETS if size >= num_frames)


def filled_up(curves: np.ndarray, num_frames: int) -> np.ndarray:
    """Curves [frames, 4] that stay as they end up to num_frames."""
    return np.pad(curves, [(0, num_frames - len(curves)), (0, 0)], mode="edge")
