"""Adherence: known differences come out as such, and lengths, silence and octaves count as said."""

import numpy as np
import pytest

from qvae_jax.evaluation import adherence
from qvae_jax.evaluation.adherence import Heard, Pooled

RATE_HZ = 22_050
NUM_SAMPLES = 59_049


def hum(semitones: float = 0.0, level_db: float = 0.0, num_samples: int = NUM_SAMPLES):
    """A buzz of 200 Hz, or so many semitones above."""
    phase = 2 * np.pi * 200 * 2 ** (semitones / 12) * np.arange(num_samples) / RATE_HZ
    tone = sum(np.sin(number * phase) / number for number in range(1, 12))
    return (0.1 * 10 ** (level_db / 20) * tone).astype(np.float32)


def curves(pitch, loudness_db=None, pyin=None) -> Heard:
    pitch = np.array(pitch, float)
    levels = np.full(len(pitch), -20.0) if loudness_db is None else np.array(loudness_db)
    return Heard(levels, np.full(len(pitch), 80.0), pitch, pitch if pyin is None else pyin)


def means(sound: Heard, imitation: Heard) -> dict[str, float]:
    found = adherence.differences(sound, imitation)
    return {name: pooled.total / pooled.count for name, pooled in found.items()}


@pytest.fixture(scope="module")
def heard():
    return adherence.heard(hum())


@pytest.mark.parametrize(
    "semitones, level_db, chroma",
    [(0, 0, 0), (0.5, 0, 0.5), (-3, -10, 3), (12, 0, 0), (11, -25, 1)],
)
def test_a_known_difference_is_found_by_both_trackers(heard, semitones, level_db, chroma):
    found = means(adherence.heard(hum(semitones, level_db)), heard)
    for ending in adherence.TRACKERS:
        # A quarter of a semitone is as fine as pYIN is asked to be.
        within = 0.3 if ending else 0.1
        assert found[f"pitch_difference{ending}"] == pytest.approx(abs(semitones), abs=within)
        assert found[f"chroma_difference{ending}"] == pytest.approx(chroma, abs=within)
        assert found[f"voiced_share{ending}"] > 0.97
    if not semitones:  # else A-weighting and harmonics change the level
        assert found["loudness_difference"] == pytest.approx(abs(level_db), abs=0.01)
        assert found["centroid_difference"] == pytest.approx(0, abs=0.01)


def test_the_loudness_curves_correlate_over_the_frames_that_are_compared():
    rising = curves([60] * 300, np.linspace(-60, -10, 300))
    softer = curves([60] * 300, np.linspace(-70, -20, 300).astype(np.float32))
    falling = curves([60] * 300, np.linspace(-10, -60, 300))
    correlation = adherence.loudness_correlation
    assert correlation(softer, rising) == pytest.approx(1)
    assert correlation(falling, rising) == pytest.approx(-1)
    short = Heard(*(curve[:100] for curve in rising))
    assert correlation(rising, short) == pytest.approx(1)
    assert correlation(short, rising) < 0, "it is silent where the imitation is loudest"
    silent = adherence.heard(np.zeros(NUM_SAMPLES, np.float32))
    assert correlation(silent, rising) == correlation(rising, silent) == 0


def test_silence_and_noise_have_no_pitch(heard):
    noise = 0.1 * np.random.default_rng(0).standard_normal(NUM_SAMPLES)
    for samples in (np.zeros(NUM_SAMPLES), 1e-6 * hum(), noise):
        found = means(adherence.heard(samples.astype(np.float32)), heard)
        for ending in adherence.TRACKERS:
            assert found[f"pitch_difference{ending}"] == pytest.approx(12, abs=0.5)
            assert found[f"chroma_difference{ending}"] == pytest.approx(6, abs=0.3)
            assert found[f"voiced_share{ending}"] < 0.05


def test_frames_and_what_they_count_as():
    imitation = curves([60, 60, 60, np.nan, 60, 60], [-10, -20, -49, -30, -51, -80])
    sound = curves([60, 73, np.nan, 60, 90, 90])
    found = adherence.differences(sound, imitation)
    assert found["loudness_difference"] == Pooled(10 + 0 + 29 + 10, 4)
    assert found["pitch_difference"] == Pooled(0 + 13 + 12, 3)
    assert found["chroma_difference"] == Pooled(0 + 1 + 6, 3)
    assert found["voiced_share"] == Pooled(2, 3)


def test_each_tracker_says_what_is_voiced():
    imitation = curves([60, np.nan, 60], pyin=np.array([np.nan, 72, 72]))
    found = adherence.differences(curves([60] * 3), imitation)
    assert found["pitch_difference"] == Pooled(0, 2)
    assert found["pitch_difference_pyin"] == Pooled(24, 2)


@pytest.mark.parametrize(
    "sound_frames, imitation_frames, counted, silent",
    [
        (243, 243, 243, 0),
        (243, 400, 243, 0),
        (400, 400, 400, 0),
        (100, 400, 243, 143),
        (30, 9, 9, 0),
    ],
)
def test_a_sound_is_compared_as_far_as_it_goes(sound_frames, imitation_frames, counted, silent):
    found = adherence.differences(curves([60] * sound_frames), curves([60] * imitation_frames))
    assert found["loudness_difference"] == Pooled(60.0 * silent, counted)
    assert found["pitch_difference"] == Pooled(12.0 * silent, counted)


def test_a_silent_imitation_has_no_frames_that_count():
    silent = adherence.heard(np.zeros(5_000, np.float32))
    assert set(adherence.differences(curves([60] * 21), silent).values()) == {Pooled(0.0, 0)}


def test_a_sound_of_any_length_has_its_frames(heard):
    long = adherence.heard(hum(num_samples=NUM_SAMPLES + 243 * 100))
    assert len(long.pitch) == len(long.pitch_pyin) == 343
    np.testing.assert_allclose(long.loudness_db[:240], heard.loudness_db[:240], atol=1e-3)
    np.testing.assert_allclose(long.pitch[5:235], heard.pitch[5:235], atol=1e-3)
    short = adherence.heard(hum(num_samples=1))
    assert [len(curve) for curve in short] == [1] * 4
