"""aiSFX's log-mel front-end: what its network hears of a sound."""

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.audio import mel, stft
from qvae_jax.audio.mel_energies import mel_energies

SAMPLE_RATE_HZ = 44_100
WINDOW_LENGTH, HOP_LENGTH = 2048, 1024  # samples
NUM_MELS, LOW_HZ, HIGH_HZ = 96, 0.0, 22_050.0
NUM_FRAMES = 100
NUM_SAMPLES = NUM_FRAMES * HOP_LENGTH  # 2.3 s, the last that any of the frames covers
GAIN = 1e4  # of energies before the logarithm
LARGEST = 9.457798957824707  # the largest logarithm of the sounds that it learnt from


def aisfx_log_mel(waveforms: jax.Array) -> jax.Array:
    """Log-mels of waveforms at 44,100 Hz: [batch, 102400] -> [batch, 100 frames, 96 mels].

    Frames of 2048 samples under a symmetric Hann window, centred on every 1024th sample, with zeros
    before the first; power; HTK's mel scale from 0 to 22,050 Hz, each band's weights adding up to 1;
    then log10(10⁴·p + 1), by the largest value of the sounds it learnt from, so mostly 0 to 1. It is
    what Essentia computes with the settings of aiSFX (Ma and Lerch, 2022).
    """
    padded = jnp.pad(waveforms, [(0, 0), (WINDOW_LENGTH // 2, 0)])
    window = stft.hann_window(WINDOW_LENGTH, periodic=False)
    frames = stft.frame(padded, WINDOW_LENGTH, HOP_LENGTH, window)
    energies = mel_energies(stft.power(jnp.fft.rfft(frames)), _bank())
    return jnp.log10(GAIN * energies + 1.0) / LARGEST


def _bank() -> np.ndarray:
    return mel.unit_sum_mel_bank(NUM_MELS, WINDOW_LENGTH, SAMPLE_RATE_HZ, LOW_HZ, HIGH_HZ)
