"""A log-mel made of a file, by processes that only read.

No JAX here: each of those processes would take seconds to import it.
"""

import numpy as np

from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.host_logmel import host_log_mel
from qvae_jax.audio.windows import Sound, read_sound

LOGMEL_DTYPE = np.float16  # half the space; errors of at most 0.001 in values up to ±4


def load_logmel(sound: Sound, front_end: FrontEnd) -> np.ndarray:
    """The log-mel of a sound's first front_end.duration_s seconds: float16 [mels, frames].

    A shorter one is padded with silence. Raises UserError as read_audio does.
    """
    waveform = read_sound(sound, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    return host_log_mel(waveform, front_end).astype(LOGMEL_DTYPE)
