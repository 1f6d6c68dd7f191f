"""EfficientAT's log-mel front-end: what the encoder sees of a sound."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.audio import stft
from qvae_jax.audio.front_end import ENERGY_FLOOR, PRE_EMPHASIS, SCALE, SHIFT, FrontEnd
from qvae_jax.audio.mel_energies import mel_energies
from qvae_jax.system import platforms
from qvae_jax.system.each_sample import each_sample


def log_mel(
    waveform: jax.Array, front_end: FrontEnd = FrontEnd(), bank: jax.Array | None = None
) -> jax.Array:
    """Log-mel spectrogram of waveforms in [-1, 1]: [batch, samples] -> [batch, mels, frames].

    bank [n_fft // 2 + 1, mels] takes the place of the front-end's own. Pre-emphasis, STFT with a symmetric Hann window, power, Kaldi mel bank, ln(p + 1e-5), then
    (x + 4.5) / 5. Silence maps to about -1.40. Source: EfficientAT (Schmid et al., 2023),
    after PaSST's front-end.
    """
    return _of_batch(functools.partial(_log_mel, front_end=front_end, bank=bank), waveform)


@platforms.with_cpu_form(each_sample, where=platforms.samples_apart)
def _of_batch(function: Callable[[jax.Array], jax.Array], batch: jax.Array) -> jax.Array:
    return function(batch)


def _log_mel(waveform: jax.Array, front_end: FrontEnd, bank: jax.Array | None) -> jax.Array:
    emphasised = waveform[..., 1:] - PRE_EMPHASIS * waveform[..., :-1]
    half = front_end.n_fft // 2
    padded = jnp.pad(emphasised, [(0, 0), (half, half)], mode="reflect")
    # The window sits in the middle of the FFT's buffer, with zeros around it. Where in the buffer
    # it sits changes phases only, so it goes to the start, and all its zeros after it.
    margin = (front_end.n_fft - front_end.window_length) // 2
    window = stft.hann_window(front_end.window_length, periodic=False)
    frames = stft.frame(
        padded[..., margin : padded.shape[-1] - margin],
        front_end.window_length,
        front_end.hop_length,
        np.pad(window, (0, front_end.n_fft - front_end.window_length)),
    )
    power = stft.power(jnp.fft.rfft(frames))
    if bank is None:
        energies = mel_energies(power, front_end.mel_bank())
    else:
        energies = jnp.matmul(power, bank.astype(power.dtype), precision=jax.lax.Precision.HIGHEST)
    return (jnp.log(jnp.swapaxes(energies, -1, -2) + ENERGY_FLOOR) + SHIFT) / SCALE
