"""Control curves after they are measured: smoothed, stretched in time, moved in pitch.

Curves are those of audio.controls, float32 [frames, 4].
"""

import numpy as np
import scipy.ndimage

from qvae_jax.audio.controls import CENTROID, PERIODICITY, PITCH


def smoothed(curves: np.ndarray, num_frames: int) -> np.ndarray:
    """Curves through a median filter of num_frames, an odd number; 1 changes nothing.

    A median takes tremble away and keeps steps, which a moving average would smear: an attack stays
    as steep as it is. Periodicity is not smoothed: it says where the pitch is one.
    """
    size = (num_frames, 1)
    filtered = scipy.ndimage.median_filter(curves[:, :PERIODICITY], size=size, mode="nearest")
    return np.concatenate([filtered, curves[:, PERIODICITY:]], axis=1)


def stretched(curves: np.ndarray, num_frames: int) -> np.ndarray:
    """Curves in num_frames, on lines between the middles of the frames; held at both ends."""
    if num_frames == len(curves):
        return curves
    places = (np.arange(num_frames) + 0.5) * len(curves) / num_frames - 0.5
    frames = np.arange(len(curves))
    columns = [np.interp(places, frames, column) for column in curves.T]
    return np.stack(columns, axis=1).astype(np.float32)


def transposed(curves: np.ndarray, semitones: float) -> np.ndarray:
    """Curves whose centroid and pitch lie so many semitones higher."""
    moved = np.array(curves, np.float32)
    moved[:, [CENTROID, PITCH]] += semitones
    return moved
