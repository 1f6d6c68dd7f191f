"""EfficientAT's log-mel front-end: what the encoder sees of a sound."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from qvae_jax import platforms
from qvae_jax.audio import mel, stft

PRE_EMPHASIS = 0.97


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """Parameters of the log-mel front-end; by default those of the published mn*_as models."""

    sample_rate_hz: int = 32_000
    duration_s: float = 10.0
    n_fft: int = 1024
    window_length: int = 800  # samples, 25 ms
    hop_length: int = 320  # samples, 10 ms
    num_mels: int = 128
    low_hz: float = 0.0
    high_hz: float = 15_000.0

    @property
    def num_samples(self) -> int:
        """Length of the waveform the front-end expects, in samples."""
        return round(self.duration_s * self.sample_rate_hz)

    @property
    def num_frames(self) -> int:
        """Frames it gives: pre-emphasis takes one sample, the centred STFT adds one frame."""
        return 1 + (self.num_samples - 1) // self.hop_length


def log_mel(waveform: jax.Array, front_end: FrontEnd = FrontEnd()) -> jax.Array:
    """Log-mel spectrogram of waveforms in [-1, 1]: [batch, samples] -> [batch, mels, frames].

    Pre-emphasis, STFT with a symmetric Hann window, power, Kaldi mel bank, ln(p + 1e-5), then
    (x + 4.5) / 5. Silence maps to about -1.40. Source: EfficientAT (Schmid et al., 2023),
    after PaSST's front-end.
    """
    return platforms.each_sample(functools.partial(_log_mel, front_end=front_end), waveform)


def _log_mel(waveform: jax.Array, front_end: FrontEnd) -> jax.Array:
    emphasised = waveform[..., 1:] - PRE_EMPHASIS * waveform[..., :-1]
    half = front_end.n_fft // 2
    padded = jnp.pad(emphasised, [(0, 0), (half, half)], mode="reflect")
    # The window sits in the middle of the FFT's frame. Where a frame lies in the FFT's buffer
    # changes phases only, so the zeros around the window need never be framed.
    margin = (front_end.n_fft - front_end.window_length) // 2
    frames = stft.frame(
        padded[..., margin : padded.shape[-1] - margin],
        front_end.window_length,
        front_end.hop_length,
    )
    window = stft.hann_window(front_end.window_length, periodic=False)
    spectrum = jnp.fft.rfft(frames * window, n=front_end.n_fft)
    bank = mel.kaldi_mel_bank(
        front_end.num_mels,
        front_end.n_fft,
        front_end.sample_rate_hz,
        front_end.low_hz,
        front_end.high_hz,
    )
    energies = jnp.matmul(stft.power(spectrum), bank, precision=jax.lax.Precision.HIGHEST)
    return (jnp.log(jnp.swapaxes(energies, -1, -2) + 1e-5) + 4.5) / 5.0
