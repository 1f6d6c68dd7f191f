"""Sound on another scale, and channels that cancel each other, are warned of wherever it is read."""

import warnings

import numpy as np
import pytest
import soundfile

from qvae_jax.audio.files import read_audio
from qvae_jax.audio.windows import read_window
from qvae_jax.system.errors import Notice

RATE_HZ = 16_000
NOISE = np.random.default_rng(0).uniform(-1, 1, (2, 40_000))
TONE = 0.5 * np.sin(np.arange(40_000) / 9)


def warned(tmp_path, samples: np.ndarray, **how) -> list[str]:
    """What is said of a float file with these samples [frames] or [frames, channels]."""
    path = tmp_path / "sound.wav"
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Notice)
        for read in (
            lambda: read_audio(path, RATE_HZ),
            lambda: read_audio(path, 32_000, max_duration_s=1.0),
            lambda: read_window(path, 22_050, start_s=0.5, window_s=1.0),
        ):
            read()
    said = {str(warning.message) for warning in caught}
    assert all(f"the audio file {path} " in message for message in said)
    assert len(said) <= 1 and len(caught) in (0, 3)
    return list(said)


@pytest.mark.parametrize(
    ("peak", "is_loud"),
    [
        (0.0, False),
        (1.0, False),
        (3.9, False),  # +12 dB, as mixing reaches
        (9.9, False),
        (12.7, True),  # 8 bits at -20 dB
        (128.0, True),
        (100.0, True),
        (300.0, True),  # 16 bits at -40 dB
        (32_767.0, True),
        (2.0**23, True),
        (2.0**30, True),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_levels_beyond_any_scale_are_warned_of_by_name(tmp_path, peak, is_loud, channels):
    sound = peak * TONE / np.abs(TONE).max()
    said = warned(tmp_path, np.stack([sound] * channels, axis=1))
    assert len(said) == is_loud
    assert all("goes beyond 10, where 1 is full scale" in message for message in said)


@pytest.mark.parametrize(
    ("channels", "is_cancelled"),
    [
        ([TONE, -TONE], True),
        ([TONE, -0.99 * TONE], True),
        ([TONE, -TONE, TONE, -TONE], True),
        ([TONE, -0.5 * TONE], False),
        ([TONE, TONE], False),
        ([TONE, 0 * TONE], False),  # a dead channel
        ([TONE, *[0 * TONE] * 7], False),
        ([TONE, -TONE, NOISE[0]], False),
        (list(NOISE), False),
        ([0 * TONE, 0 * TONE], False),
    ],
)
def test_channels_that_cancel_each_other_are_warned_of_by_name(tmp_path, channels, is_cancelled):
    said = warned(tmp_path, np.stack(channels, axis=1))
    assert len(said) == is_cancelled
    assert all("cancel each other" in message for message in said)


def test_of_a_few_samples_nothing_is_said(tmp_path):
    soundfile.write(tmp_path / "sound.wav", [[0.5, -0.5]] * 900, RATE_HZ, subtype="FLOAT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_audio(tmp_path / "sound.wav", RATE_HZ)
