"""A recording as the curves that steer: the whole of it, from where it can be heard."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from qvae_jax.audio import controls
from qvae_jax.audio.controls import HOP_LENGTH, LOUDNESS, SAMPLE_RATE_HZ
from qvae_jax.audio.files import fit_length
from qvae_jax.generation.steering import LONGEST_FRAMES, bucket
from qvae_jax.models.steered import AUDIBLE_DB

LONGEST_SAMPLES = LONGEST_FRAMES * HOP_LENGTH


class Voice(NamedTuple):
    """Curves [frames, 4] of a recording without its leading silence, and how long that was."""

    curves: np.ndarray
    silence_s: float


def voice_of(samples: np.ndarray) -> Voice:
    """What steers of a recording [samples] at 22,050 Hz: up to its first 60 s.

    Its leading silence, which is left out, is what comes before the first frame within 40 dB of the
    loudest. Of a silent recording all stays.
    """
    curves = curves_of(samples)
    loudness_db = curves[:, LOUDNESS]
    first = int(np.argmax(loudness_db >= loudness_db.max() - AUDIBLE_DB))
    return Voice(curves[first:], first * HOP_LENGTH / SAMPLE_RATE_HZ)


def curves_of(samples: np.ndarray) -> np.ndarray:
    """Control curves [frames, 4] of a sound at 22,050 Hz, of up to its first 60 s.

    It is filled up to the next of steering.BUCKETS, so that few programs are compiled.
    """
    samples = samples[:LONGEST_SAMPLES]
    num_frames = controls.num_frames(len(samples))
    filled = fit_length(samples, bucket(num_frames) * HOP_LENGTH)
    return np.asarray(_program()(filled, np.int32(len(samples))))[:num_frames]


@functools.cache
def _program():
    return jax.jit(controls.controls)
