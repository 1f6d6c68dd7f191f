"""The log-mel front-end in NumPy, for processes that prepare files: JAX takes seconds to start."""

import functools

import numpy as np
import scipy.fft

from qvae_jax.audio import mel
from qvae_jax.audio.front_end import ENERGY_FLOOR, PRE_EMPHASIS, SCALE, SHIFT, FrontEnd

BLOCK_FRAMES = 64  # transformed at once; with all their spectra they fit into a core's cache
BAND_MELS = 16  # multiplied at once, each by the few bins that they cover


def host_log_mel(waveform: np.ndarray, front_end: FrontEnd = FrontEnd()) -> np.ndarray:
    """logmel.log_mel of one sound as if padded with zeros: [samples] -> [mels, num_frames].

    float32, the same as log_mel's up to rounding. Beyond the sound's end all frames are silence and
    alike, so one of them is computed and repeated. The result does not depend on the number of
    threads.
    """
    frames = _frames(waveform, front_end)
    energies = np.empty((len(frames), front_end.num_mels), np.float32)
    window = np.hanning(front_end.window_length).astype(np.float32)
    for first in range(0, len(frames), BLOCK_FRAMES):
        block = slice(first, first + BLOCK_FRAMES)
        # Where a frame lies in the FFT's buffer changes phases only.
        spectrum = scipy.fft.rfft(frames[block] * window, front_end.n_fft)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        for mels, bins, bank in _bands(front_end):
            energies[block, mels] = power[:, bins] @ bank
    logmel = (np.log(energies.T + np.float32(ENERGY_FLOOR)) + np.float32(SHIFT)) / np.float32(SCALE)
    return np.pad(logmel, [(0, 0), (0, front_end.num_frames - len(frames))], mode="edge")


def num_framed(num_samples: int, front_end: FrontEnd) -> int:
    """How many samples of a padded sound are framed: to its end, or until a frame is all silence.

    They are enough for that frame to hold only silence, the reflection at the edge included.
    """
    return min(front_end.num_samples, num_samples + front_end.n_fft + front_end.hop_length)


def _frames(waveform: np.ndarray, front_end: FrontEnd) -> np.ndarray:
    """A view of the frames that hold sound, and of one after them: [frames, window_length]."""
    framed = np.zeros(num_framed(len(waveform), front_end), np.float32)
    kept = waveform[: len(framed)]
    framed[: len(kept)] = kept
    emphasised = framed[1:] - np.float32(PRE_EMPHASIS) * framed[:-1]
    half = front_end.n_fft // 2
    margin = (front_end.n_fft - front_end.window_length) // 2
    padded = np.pad(emphasised, half, mode="reflect")[margin:]
    # The last window of the FFT's length, of which the margin is cut off.
    padded = padded[: len(padded) - margin]
    views = np.lib.stride_tricks.sliding_window_view(padded, front_end.window_length)
    return views[:: front_end.hop_length]


@functools.cache
def _bands(front_end: FrontEnd) -> list[tuple[slice, slice, np.ndarray]]:
    """The mel bank in parts, see mel.bands.

    A product this small is never shared among threads, whose number could change its last bit.
    """
    return mel.bands(front_end.mel_bank(), BAND_MELS)
