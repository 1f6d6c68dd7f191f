"""aiSFX's front-end: what Essentia computes with the settings of its package."""

import jax
import numpy as np
import pytest

import golden_rules
from qvae_jax.audio import mel
from qvae_jax.audio.aisfx_logmel import (
    LARGEST,
    NUM_FRAMES,
    NUM_MELS,
    NUM_SAMPLES,
    SAMPLE_RATE_HZ,
    aisfx_log_mel,
)

EVERY = 8  # of the golden frames
OF_THE_PACKAGE = 118_098  # samples that it was given, of which the first block of frames was kept


@pytest.fixture(scope="module")
def compute():
    return jax.jit(aisfx_log_mel)


def test_frames_are_those_of_the_package(compute):
    """Computed once by aisfx 0.1.2 with Essentia 2.1b6, in float32."""
    golden = golden_rules.load("aisfx_released")["logmel"]
    signals = golden_rules.signals(2, OF_THE_PACKAGE, SAMPLE_RATE_HZ, 9)[:, :NUM_SAMPLES]
    ours = np.asarray(compute(signals))
    assert ours.shape == (2, NUM_FRAMES, NUM_MELS)
    np.testing.assert_allclose(ours[:, ::EVERY], golden, atol=1e-5)


def test_silence_is_zero_and_a_tone_lies_in_its_band(compute):
    time = np.arange(NUM_SAMPLES) / SAMPLE_RATE_HZ
    tone = np.sin(2 * np.pi * 1000 * time)
    found = np.asarray(compute(np.stack([0 * tone, tone]).astype(np.float32)))
    assert not found[0].any()
    bands = mel.unit_sum_mel_bank(NUM_MELS, 2048, SAMPLE_RATE_HZ, 0.0, SAMPLE_RATE_HZ / 2)
    expected = bands[round(1000 * 2048 / SAMPLE_RATE_HZ)].argmax()
    assert (found[1].argmax(axis=1) == expected).all()
    # The window's sum is half its length, and a sine of amplitude 1 has half of that in its bin.
    peak = np.log10(1e4 * (2048 / 4) ** 2) / LARGEST
    assert peak - 0.1 < found[1, 50].max() < peak
