"""What a sound file of a library holds."""

import numpy as np
import pytest
import soundfile

from qvae_jax.data import survey
from qvae_jax.data.survey import ABSENT, AUDIBLE, SILENT, TOO_SHORT
from qvae_jax.system.errors import UserError

RATE_HZ = 8_000
WINDOW_S = 0.5  # 4,000 samples
RNG = np.random.default_rng(0)
NOISE = RNG.uniform(-0.5, 0.5, 20_000)
QUIET = np.zeros(20_000)


def surveyed(path, *pieces, windows_per_file=4, rate_hz=RATE_HZ):
    samples = np.round(2**15 * np.concatenate(pieces)).astype(np.int16)
    soundfile.write(path, samples, rate_hz)
    return survey.survey(path, WINDOW_S, windows_per_file)


@pytest.mark.parametrize(
    ("pieces", "windows", "goes_on"),
    [
        ([NOISE[:16_000]], [AUDIBLE] * 4, False),
        ([NOISE[:16_001]], [AUDIBLE] * 4, True),
        ([NOISE[:5_000]], [AUDIBLE, AUDIBLE, ABSENT, ABSENT], False),  # a quarter of a window
        ([NOISE[:4_999]], [AUDIBLE, ABSENT, ABSENT, ABSENT], False),
        ([NOISE[:8]], [AUDIBLE, ABSENT, ABSENT, ABSENT], False),  # a millisecond
        ([NOISE[:7]], [TOO_SHORT, ABSENT, ABSENT, ABSENT], False),
        ([QUIET[:4_000], NOISE[:6_000]], [SILENT, AUDIBLE, AUDIBLE, ABSENT], False),
        ([QUIET + 0.3], [SILENT] * 4, True),  # a constant
    ],
)
def test_the_windows_of_a_file(tmp_path, pieces, windows, goes_on):
    found = surveyed(tmp_path / "a.wav", *pieces)
    assert found["windows"].tolist() == windows and found["goes_on"] == goes_on
    assert bool(found["sound"]) == (AUDIBLE in windows)
    assert found.dtype == survey.record(4)


def test_a_sound_is_told_by_its_first_audible_window(tmp_path):
    """Whatever the format, the container and what follows; but for another sound or rate."""
    first = surveyed(tmp_path / "a.wav", NOISE[:9_000])["sound"]
    assert surveyed(tmp_path / "b.flac", NOISE[:9_000])["sound"] == first
    assert surveyed(tmp_path / "c.wav", NOISE[:15_000], windows_per_file=2)["sound"] == first
    assert surveyed(tmp_path / "d.wav", QUIET[:4_000], NOISE[:9_000])["sound"] == first
    assert surveyed(tmp_path / "e.wav", NOISE[1:9_000])["sound"] != first
    other_rate = surveyed(tmp_path / "f.wav", NOISE[:4_000], QUIET[:4_000], rate_hz=16_000)
    assert other_rate["sound"] != first
    assert len(first.item()) == 64


def test_what_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    samples = np.full(9_000, np.nan, np.float32)
    soundfile.write(tmp_path / "b.wav", samples, RATE_HZ, subtype="FLOAT")
    for name in ("a.wav", "b.wav", "absent.wav"):
        with pytest.raises(UserError, match=name):
            survey.survey(tmp_path / name, WINDOW_S, 4)
