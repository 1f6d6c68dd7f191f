"""The parameters of EfficientAT's front-end, and the sizes that follow from them."""

import numpy as np
import pytest

from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.logmel import log_mel


@pytest.mark.parametrize(
    ("changes", "num_samples", "num_frames"),
    [
        ({}, 320_000, 1000),
        ({"hop_length": 160}, 320_000, 2000),
        ({"hop_length": 800}, 320_000, 400),
        ({"duration_s": 4.0}, 128_000, 400),
        ({"duration_s": 1.0, "sample_rate_hz": 22_050}, 22_050, 69),
        ({"duration_s": 0.1, "hop_length": 3201}, 3_200, 1),
    ],
)
def test_sizes_in_samples_and_frames(changes, num_samples, num_frames):
    front_end = FrontEnd(**changes)
    assert (front_end.num_samples, front_end.num_frames) == (num_samples, num_frames)


@pytest.mark.parametrize("num_mels", [40, 128, 256])
def test_the_mel_bank_covers_the_bins_up_to_its_highest_frequency(num_mels):
    front_end = FrontEnd(num_mels=num_mels)
    bank = front_end.mel_bank()
    assert bank.shape == (513, num_mels) and bank.dtype == np.float32 and bank.min() >= 0
    bins_hz = np.arange(513) * front_end.sample_rate_hz / front_end.n_fft
    assert not bank[bins_hz >= front_end.high_hz].any()
    assert np.count_nonzero(bank.sum(0)) > 0.75 * num_mels  # narrow low bands may hold no bin


@pytest.mark.parametrize("num_samples", [0, 1, 5_000, 12_345, 15_850, 16_000])
@pytest.mark.parametrize(
    "changes", [{}, {"hop_length": 160, "n_fft": 512, "window_length": 512}, {"hop_length": 900}]
)
def test_frames_behind_a_sound_are_all_the_same(num_samples, changes):
    front_end = FrontEnd(duration_s=0.5, **changes)
    sound = np.zeros((2, front_end.num_samples), np.float32)
    sound[0, :num_samples] = np.random.default_rng(0).uniform(-1, 1, num_samples)
    heard, silence = np.asarray(log_mel(sound, front_end))
    first = front_end.first_silent_frame(num_samples)
    assert first * front_end.hop_length < num_samples + front_end.n_fft / 2 + front_end.hop_length
    np.testing.assert_array_equal(heard[:, first:], silence[:, first:])
    assert np.ptp(silence, axis=1).max() == 0
