"""What processes that read make of a file: a log-mel. No JAX here, which would take seconds."""

import os

import numpy as np

from qvae_jax.audio.files import read_audio
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.host_logmel import host_log_mel

LOGMEL_DTYPE = np.float16  # 11 bits of values around ±2: errors of 0.001, in half the space


def load_logmel(path: str | os.PathLike, front_end: FrontEnd) -> np.ndarray:
    """The log-mel of a file's first front_end.duration_s: float16 [mels, frames].

    Raises UserError as read_audio does.
    """
    waveform = read_audio(path, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    return host_log_mel(waveform, front_end).astype(LOGMEL_DTYPE)
