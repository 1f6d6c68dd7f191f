"""Pitch and tempo on the host, and the one change that a clip gets: by (seed, step, side, row)."""

import numpy as np
import pytest

from qvae_jax.training import host_augmentations
from qvae_jax.training.varied_sounds import ONE_OF, Augmentation

RATE_HZ = 16_000
TONE = np.sin(2 * np.pi * 440 * np.arange(8000) / RATE_HZ).astype(np.float32)
SOUND = np.pad(TONE, (0, 8000))  # half a second, padded to one


def varied(settings: Augmentation, rows, *, step=0, side=0, seed=1):
    waveforms = np.stack([SOUND] * len(rows))
    given = (waveforms, RATE_HZ, settings, seed, step, side, np.array(rows))
    return host_augmentations.varied(*given)


def peak_hz(sound: np.ndarray) -> float:
    return np.abs(np.fft.rfft(sound)).argmax() * RATE_HZ / len(sound)


def audible_s(sound: np.ndarray) -> float:
    return np.flatnonzero(np.abs(sound) > 0.05)[-1] / RATE_HZ


def test_pitch_moves_and_length_stays():
    found, chosen = varied(Augmentation(pitch_semitones=3.0), range(3))
    assert chosen is None and found.shape == (3, 16_000) and found.dtype == np.float32
    semitones = [12 * np.log2(peak_hz(sound) / 440) for sound in found]
    assert np.abs(semitones).max() < 3.1 and np.ptp(semitones) > 0.5
    assert all(abs(audible_s(sound) - 0.5) < 0.05 for sound in found)


def test_tempo_changes_and_pitch_stays():
    found, _ = varied(Augmentation(stretch_factor=1.25), range(3))
    lengths_s = [audible_s(sound) for sound in found]
    assert 0.38 < min(lengths_s) < max(lengths_s) < 0.66 and np.ptp(lengths_s) > 0.03
    assert all(abs(peak_hz(sound) - 440) < 5 for sound in found)


def test_draws_depend_on_all_that_they_should_and_on_no_other_row():
    settings = Augmentation(pitch_semitones=3.0)
    one = varied(settings, [5])[0][0]
    np.testing.assert_array_equal(varied(settings, [2, 5])[0][1], one)
    for other in ({"step": 1}, {"side": 1}, {"seed": 2}):
        assert not np.array_equal(varied(settings, [5], **other)[0][0], one), other


def test_a_clip_gets_one_change_or_none():
    settings = Augmentation(at_most_one=True, gain_db=6.0, time_mask_frames=5)
    found, chosen = varied(settings, range(300))
    np.testing.assert_array_equal(found, np.stack([SOUND] * 300))
    counts = {
        place: (chosen == place).sum()
        for place in (-1, ONE_OF.index("gain"), ONE_OF.index("time_mask"))
    }
    assert sum(counts.values()) == 300 and all(70 < count < 130 for count in counts.values())


def test_a_change_that_the_host_makes_is_made_where_it_is_chosen():
    settings = Augmentation(at_most_one=True, pitch_semitones=3.0, gain_db=6.0)
    found, chosen = varied(settings, range(12))
    is_pitched = chosen == ONE_OF.index("pitch")
    assert 0 < is_pitched.sum() < 12
    assert [not np.array_equal(sound, SOUND) for sound in found] == is_pitched.tolist()


@pytest.mark.parametrize("sound", [np.zeros(4000), np.pad([1.0], (0, 3999))])
def test_silence_and_clicks_pass(sound):
    settings = Augmentation(pitch_semitones=3.0, stretch_factor=1.25)
    given = (sound[None].astype(np.float32), RATE_HZ, settings, 0, 0, 0, np.array([0]))
    found, _ = host_augmentations.varied(*given)
    assert found.shape == (1, 4000) and np.isfinite(found).all()
