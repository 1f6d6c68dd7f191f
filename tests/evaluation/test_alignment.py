"""The mel distance along the best alignment: against a plain search, and what it forgives."""

import librosa
import numpy as np
import pytest

from qvae_jax.evaluation.alignment import aligned_mel_db
from qvae_jax.evaluation.metrics import Sound

RATE_HZ = 22_050
NUM_SAMPLES = RATE_HZ


def syllables(*onsets_s: float, hz: float = 900.0) -> np.ndarray:
    """A decaying tone at each onset."""
    time_s = np.arange(NUM_SAMPLES) / RATE_HZ
    return sum(
        0.5 * np.sin(2 * np.pi * hz * time_s) * np.exp(-12 * np.abs(time_s - at)) * (time_s > at)
        for at in onsets_s
    )


def expected(first: np.ndarray, second: np.ndarray) -> float:
    """The same by dynamic programming over all cells of the band."""
    levels = [
        librosa.power_to_db(
            librosa.feature.melspectrogram(y=x, sr=RATE_HZ, n_fft=1024, hop_length=256, n_mels=80),
            ref=1.0,
            amin=1e-8,
            top_db=None,
        ).T
        for x in (first, second)
    ]
    count = len(levels[0])
    total = np.full((count + 1, count + 1), np.inf)
    total[0, 0] = 0
    for i in range(count):
        for j in range(count):
            if abs(i - j) < round(0.25 * count):
                cost = np.abs(levels[0][i] - levels[1][j]).mean()
                steps = total[i, j] + 2 * cost, total[i, j + 1] + cost, total[i + 1, j] + cost
                total[i + 1, j + 1] = min(steps)
    return total[-1, -1] / (2 * count)


PAIRS = {
    "later": (syllables(0.2, 0.5), syllables(0.3, 0.7)),
    "other": (syllables(0.2, 0.5), syllables(0.2, 0.5, hz=3_000)),
    "silent": (np.zeros(NUM_SAMPLES), syllables(0.2)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_the_cheapest_path_within_the_band(name):
    first, second = PAIRS[name]
    found = aligned_mel_db(first, second, RATE_HZ)
    assert found == pytest.approx(expected(first, second), rel=1e-6)
    assert aligned_mel_db(second, first, RATE_HZ) == pytest.approx(found, rel=1e-6)
    assert aligned_mel_db(Sound(first), Sound(second), RATE_HZ) == found
    assert aligned_mel_db(first, first, RATE_HZ) == 0


def test_a_right_sound_at_its_own_pace_is_near_and_a_wrong_one_is_not():
    sound = syllables(0.2, 0.5)
    at_its_own_pace = aligned_mel_db(syllables(0.28, 0.66), sound, RATE_HZ)
    wrong = aligned_mel_db(syllables(0.2, 0.5, hz=3_000), sound, RATE_HZ)
    too_late = aligned_mel_db(syllables(0.7), syllables(0.1), RATE_HZ)
    assert at_its_own_pace < 2 < 4 < wrong
    assert too_late > 4, "no sound may wait for longer than a quarter of the whole"
