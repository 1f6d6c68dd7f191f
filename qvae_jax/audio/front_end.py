"""The parameters of EfficientAT's log-mel front-end, which logmel.py and host_logmel.py compute."""

import dataclasses

import numpy as np

from qvae_jax.audio import mel

PRE_EMPHASIS = 0.97
ENERGY_FLOOR = 1e-5
SHIFT, SCALE = 4.5, 5.0  # (x + 4.5) / 5 of the logarithms


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
        """Frames of its log-mel: pre-emphasis drops a sample, the centred STFT adds a frame."""
        return 1 + (self.num_samples - 1) // self.hop_length

    def first_silent_frame(self, num_samples: int) -> int:
        """The frame from which on none hears anything of a sound of num_samples, zeros behind it.

        It may lie behind the last one.
        """
        return -(-(num_samples + self.n_fft // 2) // self.hop_length)

    def mel_bank(self) -> np.ndarray:
        """Kaldi's mel bank, float32 [n_fft // 2 + 1, num_mels]."""
        return mel.kaldi_mel_bank(
            self.num_mels, self.n_fft, self.sample_rate_hz, self.low_hz, self.high_hz
        )
