"""How sounds are heard: as other modes hear them, or trimmed and at one peak."""

import numpy as np
import pytest

from qvae_jax.audio.files import write_wav
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data.prepared import input_audio, target_audio
from qvae_jax.evaluation.hearing import Hearing, as_trimmed

RATE_HZ = 16_000
FRONT_END = FrontEnd(duration_s=1.0)


def between_silences(before_s: float, sound_s: float, after_s: float) -> np.ndarray:
    """A tone between a hiss that lies 60 dB below it."""
    count = round((before_s + sound_s + after_s) * RATE_HZ)
    time_s = np.arange(count) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * 500 * time_s)
    hiss = 2e-4 * np.random.default_rng(0).standard_normal(count)
    return np.where((time_s >= before_s) & (time_s < before_s + sound_s), tone, hiss)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds") / "late.wav"
    write_wav(path, between_silences(3.0, 2.0, 0.5), RATE_HZ)
    return path


def test_sounds_are_heard_as_they_are(path):
    hearing = Hearing(FRONT_END)
    np.testing.assert_array_equal(hearing.target(path), target_audio(path))
    np.testing.assert_array_equal(hearing.model_input(path), input_audio(path, FRONT_END))
    assert len(hearing.imitation(path)) == 22_050
    samples = np.ones(3)
    assert hearing.output(samples) is samples


def test_trimmed_is_the_sound_itself_at_one_peak(path):
    hearing = Hearing(FRONT_END, trimmed=True)
    target = hearing.target(path)
    assert target.shape == (59_049,) and target.dtype == np.float32
    assert np.abs(target).max() == pytest.approx(0.7, rel=0.02)
    audible = np.flatnonzero(np.abs(target) > 0.01) / 22_050
    assert audible[0] < 0.1 and audible[-1] == pytest.approx(2.0, abs=0.1)
    heard = hearing.model_input(path)
    assert len(heard) == FRONT_END.num_samples and np.abs(heard[-1000:]).max() > 0.5
    imitation = hearing.imitation(path)
    assert len(imitation) == 22_050 and np.abs(imitation[-1000:]).max() > 0.5
    output = hearing.output(np.pad(np.full(4_096, 0.1), 20_000))
    assert len(output) < 10_000 and output.max() == pytest.approx(0.7)


@pytest.mark.parametrize("samples", [np.zeros(100), np.full(5_000, 1e-5), np.zeros(0)])
def test_silence_stays_as_it_is(samples):
    assert as_trimmed(samples) is samples
