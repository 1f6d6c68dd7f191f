"""A log-mel made of a file, by processes that only read.

No JAX here: each of those processes would take seconds to import it.
"""

import os

import numpy as np

from qvae_jax.audio.files import read_audio
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.host_logmel import host_log_mel

LOGMEL_DTYPE = np.float16  # half the space; errors of at most 0.001 in values up to ±4


def load_logmel(path: str | os.PathLike, front_end: FrontEnd) -> np.ndarray:
    """The log-mel of a file's first front_end.duration_s seconds: float16 [mels, frames].

    A shorter file is padded with silence. Raises UserError as read_audio does.
    """
    waveform = read_audio(path, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    return host_log_mel(waveform, front_end).astype(LOGMEL_DTYPE)
