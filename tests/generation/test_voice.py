"""What steers of a recording: all of it but its leading silence, alike however it is padded."""

import numpy as np
import pytest

from qvae_jax.audio import controls
from qvae_jax.audio.controls import HOP_LENGTH, LOUDNESS
from qvae_jax.generation import voice
from qvae_jax.generation.steering import BUCKETS, LONGEST_FRAMES

HUM = (0.3 * np.sin(2 * np.pi * 220 * np.arange(22_050) / 22_050)).astype(np.float32)


@pytest.mark.parametrize("num_silent", [0, 50 * HOP_LENGTH, 12_345])
def test_leading_silence_is_left_out_and_told(num_silent):
    silent = np.zeros(num_silent, np.float32)
    found = voice.voice_of(np.concatenate([silent, HUM]))
    # The 46 ms of which a frame's loudness is reach beyond it.
    assert found.silence_s == pytest.approx(num_silent / 22_050, abs=0.03)
    assert len(found.curves) * HOP_LENGTH / 22_050 == pytest.approx(1, abs=0.04)
    assert found.curves[5:-5, LOUDNESS].min() > -25


def test_noise_far_below_the_voice_is_silence():
    noise = np.random.default_rng(0).standard_normal(11_025).astype(np.float32)
    found = voice.voice_of(np.concatenate([noise * 3e-4, HUM]))
    assert found.silence_s == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("samples", [np.zeros(5_000, np.float32), np.zeros(1, np.float32)])
def test_all_of_a_silent_recording_stays(samples):
    found = voice.voice_of(samples)
    assert found.silence_s == 0
    assert len(found.curves) == controls.num_frames(len(samples))
    np.testing.assert_allclose(found.curves[:, LOUDNESS], -80, atol=1e-3)


@pytest.mark.parametrize("num_samples", [1, 5_000, 59_049, 59_050, 1_000_000, 2_000_000])
def test_recordings_are_filled_up_to_few_lengths(monkeypatch, num_samples):
    """That this changes nothing, the controls promise."""
    told = []

    def program(filled, count):
        told.append((len(filled), count))
        return np.zeros((len(filled) // HOP_LENGTH, 4))

    monkeypatch.setattr(voice, "_program", lambda: program)
    found = voice.curves_of(np.zeros(num_samples, np.float32))
    [(length, count)] = told
    assert length in [size * HOP_LENGTH for size in BUCKETS]
    assert count == min(num_samples, voice.LONGEST_SAMPLES)
    assert len(found) == controls.num_frames(count)


def test_no_more_than_a_minute_steers():
    assert LONGEST_FRAMES * HOP_LENGTH <= 60 * 22_050 < (LONGEST_FRAMES + 1) * HOP_LENGTH
