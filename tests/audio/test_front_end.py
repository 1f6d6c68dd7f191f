"""The parameters of EfficientAT's front-end, and the sizes that follow from them."""

import numpy as np
import pytest

from qvae_jax.audio.front_end import FrontEnd


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
