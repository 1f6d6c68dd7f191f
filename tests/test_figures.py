"""Pictures of sounds: what they hold, and that no sound or name breaks them."""

import warnings

import numpy as np
import pytest
from matplotlib import image

from qvae_jax import figures
from qvae_jax.errors import UserError
from qvae_jax.figures import Sound, mel_spectrogram_db

RATE_HZ = 22_050


def tone(frequency_hz: float, num_samples: int = RATE_HZ, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / rate_hz).astype(np.float32)


def saved(tmp_path, rows, title="title") -> np.ndarray:
    """The picture's pixels, [height, width, RGBA]."""
    path = tmp_path / "picture.png"
    figures.save_comparison(path, rows, title)
    return image.imread(path)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100])
@pytest.mark.parametrize("frequency_hz", [300, 1_000, 3_000])
def test_a_tone_is_loudest_in_its_band(frequency_hz, rate_hz):
    levels = mel_spectrogram_db(tone(frequency_hz, rate_hz, rate_hz), rate_hz).mean(axis=1)
    highest = 2595 * np.log10(1 + rate_hz / 2 / 700)
    band = 81 * 2595 * np.log10(1 + frequency_hz / 700) / highest - 1
    assert abs(levels.argmax() - band) < 1


def test_levels_are_decibels_of_power():
    samples = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    louder = mel_spectrogram_db(10 * samples, RATE_HZ) - mel_spectrogram_db(samples, RATE_HZ)
    np.testing.assert_allclose(louder, 20.0, atol=1e-3)


@pytest.mark.parametrize("num_samples", [1, 2, 511, 1024, 59_049])
def test_any_length_gives_finite_levels(num_samples):
    assert np.isfinite(mel_spectrogram_db(np.zeros(num_samples, np.float32), RATE_HZ)).all()


def test_silence_is_dark_and_sound_is_bright(tmp_path):
    silence = saved(tmp_path, [[Sound(np.zeros(RATE_HZ, np.float32), RATE_HZ, "silence")]])
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    bright = saved(tmp_path, [[Sound(0.01 * noise, RATE_HZ, "faint noise")]])
    middle = np.s_[60:120, 100:300, :3]
    assert silence[middle].max() < 0.02
    assert bright[middle].mean() > 0.4


def test_rows_and_columns_make_the_picture_larger(tmp_path):
    sound = Sound(tone(440), RATE_HZ, "tone")
    one = saved(tmp_path, [[sound]]).shape
    many = saved(tmp_path, [[sound, None, sound], [sound], [None, sound]]).shape
    assert many[0] > 2 * one[0] and many[1] > 2 * one[1]


@pytest.mark.parametrize(
    "name", ["cost $5 and $\\frac{6.wav", "犬の鳴き声 🐶", "", "_^{}%&\\", "x" * 300, "\udcff"]
)
def test_no_name_breaks_a_picture(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left to be collected
        pixels = saved(tmp_path, [[Sound(tone(440), RATE_HZ, name)]], title=name)
    assert pixels.shape[2] == 4


def test_an_unwritable_picture_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        figures.save_comparison(
            tmp_path / "file" / "picture.png", [[Sound(tone(440), RATE_HZ, "tone")]], "title"
        )
