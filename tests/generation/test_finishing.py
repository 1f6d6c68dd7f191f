"""The finish of a sound: rate, loudness by the standard, peaks, trailing silence, formats."""

import numpy as np
import pytest
import scipy.signal
import soundfile

from qvae_jax.generation import finishing
from qvae_jax.generation.requests import Finish

RATE_HZ = 22_050
TIME_S = np.arange(59_049) / RATE_HZ
TONE = (0.1 * np.sin(2 * np.pi * 997 * TIME_S)).astype(np.float32)
BURST = (TONE * np.exp(-8 * TIME_S)).astype(np.float32)


def finish(**settings) -> Finish:
    return finishing.with_rate(finishing.checked(Finish(**settings)), RATE_HZ)


def standard_loudness(samples: np.ndarray) -> float:
    """ITU-R BS.1770-4 with the coefficients of its tables 1 and 2, for mono at 48 kHz."""
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285]
    shelf_poles = [1.0, -1.69065929318241, 0.73248077421585]
    high_pass_poles = [1.0, -1.99004745483398, 0.99007225036621]
    weighted = scipy.signal.lfilter(shelf, shelf_poles, samples.astype(np.float64))
    weighted = scipy.signal.lfilter([1.0, -2.0, 1.0], high_pass_poles, weighted)
    blocks = np.lib.stride_tricks.sliding_window_view(weighted, 19_200)[::4_800]
    energies = np.mean(blocks**2, axis=1)
    loudness = lambda energy: -0.691 + 10 * np.log10(energy)
    kept = energies[loudness(energies) > -70]
    kept = kept[loudness(kept) > loudness(kept.mean()) - 10]
    return loudness(kept.mean())


def test_loudness_is_the_standards():
    full_scale = np.sin(2 * np.pi * 997 * np.arange(96_000) / 48_000)
    assert finishing.loudness_lufs(full_scale, 48_000) == pytest.approx(-3.01, abs=0.02)
    noise = np.random.default_rng(0).standard_normal(120_000) / 20
    noise[60_000:] /= 100  # for the gate
    expected = standard_loudness(noise)
    assert finishing.loudness_lufs(noise, 48_000) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("rate_hz", finishing.SAMPLE_RATES_HZ)
def test_the_loudness_that_is_asked_for_is_reached(rate_hz):
    samples, facts = finishing.finished(
        TONE, RATE_HZ, finish(sample_rate_hz=rate_hz, loudness_db=-23.0)
    )
    assert finishing.loudness_lufs(samples, rate_hz) == pytest.approx(-23, abs=0.02)
    assert facts["loudness_lufs"] == pytest.approx(-23) and not facts["peak_limited"]
    inner = slice(2_000, -2_000)  # the tone's ends ring where it is resampled
    gain = np.abs(samples[inner]).max() / np.abs(TONE).max()
    assert 20 * np.log10(gain) == pytest.approx(facts["gain_db"], abs=0.01)


@pytest.mark.parametrize(("asked_hz", "rate_hz"), [(None, 44_100), (22_050, 22_050)])
def test_a_sound_keeps_its_own_rate_unless_another_is_asked_for(asked_hz, rate_hz):
    tone = (0.1 * np.sin(2 * np.pi * 997 * np.arange(44_100) / 44_100)).astype(np.float32)
    wanted = finishing.with_rate(finishing.checked(Finish(sample_rate_hz=asked_hz)), 44_100)
    samples, facts = finishing.finished(tone, 44_100, wanted)
    assert wanted.sample_rate_hz == rate_hz and facts["duration_s"] == 1.0
    inner = slice(1_000, -1_000)  # without the ends, which ring where it is resampled
    np.testing.assert_allclose(samples[inner], tone[:: 44_100 // rate_hz][inner], atol=1e-4)


def test_a_peak_lowers_the_gain_and_never_clips():
    samples, facts = finishing.finished(BURST, RATE_HZ, finish(loudness_db=-10.0))
    assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(-1, abs=1e-4)
    assert facts["peak_limited"] and facts["loudness_lufs"] < -10
    np.testing.assert_allclose(samples / samples[100], BURST / BURST[100], rtol=1e-5)


def test_silence_has_no_loudness_to_change():
    samples, facts = finishing.finished(
        np.zeros(59_049), RATE_HZ, finish(loudness_db=-20.0, trim_db=60.0)
    )
    assert len(samples) == 59_049 and not samples.any()
    assert facts["loudness_lufs"] is None and facts["gain_db"] == 0


def test_without_a_request_nothing_changes():
    samples, facts = finishing.finished(BURST, RATE_HZ, finish())
    np.testing.assert_array_equal(samples, BURST)
    assert (facts["gain_db"], facts["peak_limited"]) == (0, False)


@pytest.mark.parametrize(("subtype", "limited"), [("PCM_16", True), ("FLOAT", False)])
def test_only_a_format_that_would_clip_lowers_a_peak(subtype, limited):
    samples, facts = finishing.finished(15 * TONE, RATE_HZ, finish(subtype=subtype))
    assert facts["peak_limited"] == limited
    assert (np.abs(samples).max() < 1) == limited


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_resampling_keeps_the_sound_and_adds_none_above_it(rate_hz):
    samples, _ = finishing.finished(TONE, RATE_HZ, finish(sample_rate_hz=rate_hz))
    assert len(samples) == pytest.approx(59_049 * rate_hz / RATE_HZ, abs=1)
    expected = 0.1 * np.sin(2 * np.pi * 997 * np.arange(len(samples)) / rate_hz)
    inner = slice(2_000, -2_000)
    np.testing.assert_allclose(samples[inner], expected[inner], atol=1e-6)
    spectrum = np.abs(np.fft.rfft(samples[inner] * np.hanning(len(samples[inner]))))
    frequencies = np.fft.rfftfreq(len(samples[inner]), 1 / rate_hz)
    assert 20 * np.log10(spectrum[frequencies > 11_100].max() / spectrum.max()) < -120


def test_trimming_cuts_the_end_alone():
    sound = np.concatenate([np.zeros(3_000), BURST, np.zeros(5_000)])
    trimmed = finishing.trimmed(sound, 40.0)
    np.testing.assert_array_equal(trimmed, sound[: len(trimmed)])
    peak = np.abs(sound).max()
    assert np.abs(sound[len(trimmed) :]).max() < peak / 100 <= np.abs(trimmed[-1])


@pytest.mark.parametrize(
    ("format", "subtype", "tolerance"),
    [
        ("wav", "FLOAT", 0),
        ("wav", "DOUBLE", 0),
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("flac", "PCM_16", 2**-15),
        ("flac", "PCM_24", 2**-23),
    ],
)
def test_what_is_written_is_read_back(tmp_path, format, subtype, tolerance):
    settings = finish(format=format, subtype=subtype)
    for name in "ab":
        finishing.write(tmp_path / name, BURST, settings)
    found, rate_hz = soundfile.read(tmp_path / "a", dtype="float32")
    np.testing.assert_allclose(found, BURST, atol=tolerance, rtol=0)
    info = soundfile.info(tmp_path / "a")
    assert (rate_hz, info.format, info.subtype) == (RATE_HZ, format.upper(), subtype)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_defaults():
    assert finish().subtype == "FLOAT" and finish(format="flac").subtype == "PCM_24"
    assert finish(subtype="pcm_16").subtype == "PCM_16"
