"""The pitch tracker, on sounds whose pitch is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from qvae_jax.audio import pitch
from qvae_jax.audio.pitch import BANDS, HOP_LENGTH, SAMPLE_RATE_HZ, Band, track_pitch
from qvae_jax.data import synthetic

DURATION_S = 2.0
NUM_SAMPLES = round(DURATION_S * SAMPLE_RATE_HZ)
NUM_FRAMES = NUM_SAMPLES // HOP_LENGTH
EDGE = 4  # frames at each end that hear what is not there

_tracked = jax.jit(track_pitch, static_argnums=1)


def tracked(samples):
    given = jnp.asarray(samples, jnp.float32)
    return tuple(map(np.asarray, _tracked(given, NUM_FRAMES, NUM_FRAMES)))


def glide(first_hz, last_hz):
    return first_hz * (last_hz / first_hz) ** np.linspace(0, 1, NUM_SAMPLES)


def vibrato(hz):
    seconds = np.arange(NUM_SAMPLES) / SAMPLE_RATE_HZ
    return hz * 2 ** (0.5 / 12 * np.sin(2 * np.pi * 5.5 * seconds))


def sine(hz):
    return 0.3 * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ)


def harmonics(hz):
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ
    audible = lambda number: number * hz < SAMPLE_RATE_HZ / 2
    return 0.1 * sum(np.sin(k * phase) / k * audible(k) for k in range(1, 30))


def noise():
    return np.random.default_rng(0).standard_normal(NUM_SAMPLES)


def beside_noise(samples, ratio_db):
    added = noise()
    level = np.sqrt(np.mean(samples**2) / np.mean(added**2)) * 10 ** (-ratio_db / 20)
    return samples + level * added


def voice(vowel, low_hz, high_hz):
    """A vowel on a pitch that rises and falls, and its pitch."""
    rate_hz = 8 * SAMPLE_RATE_HZ  # so high that the glottal pulse has no harmonics cut
    rng = np.random.default_rng(0)
    course = synthetic.glide((0.0, low_hz), (0.9, high_hz), (DURATION_S, low_hz))
    level = synthetic.points((0.0, 0.2), (0.3, 1.0), (1.6, 0.8), (DURATION_S, 0.2))
    gesture = synthetic.make_gesture(DURATION_S, course, level, 0.05)
    variation = dataclasses.replace(
        synthetic.draw_variation((vowel,), rng), rate_hz=rate_hz, breathiness=0.05
    )
    hz = synthetic.at_rate(gesture.pitch_hz, rate_hz)
    tone = synthetic.glottal_source(hz, variation.open_quotient, rate_hz)
    tone = synthetic.vocal_tract(tone, variation)
    breath = synthetic.vocal_tract(rng.standard_normal(len(tone)), variation)
    loudness = synthetic.at_rate(gesture.loudness, rate_hz)
    spoken = loudness * (np.sqrt(0.95) * tone + np.sqrt(0.05) * breath)
    spoken = signal.resample_poly(spoken, 1, 8)[:NUM_SAMPLES]
    return 0.3 * spoken / np.abs(spoken).max(), hz[::8][:NUM_SAMPLES]


def glides():
    for first, last in ((60, 250), (100, 800), (400, 2000), (2000, 500), (60, 2000)):
        for source in (sine, harmonics):
            hz = glide(first, last)
            yield source(hz), hz


def vibratos():
    for center in (65, 110, 220, 440, 880, 1700):
        for source in (sine, harmonics):
            hz = vibrato(center)
            yield source(hz), hz


def noisy_tones():
    for center in (65, 110, 220, 440, 880, 1700):
        hz = np.full(NUM_SAMPLES, float(center))
        for ratio_db in (10, 0):
            yield beside_noise(harmonics(hz), ratio_db), hz


def weak_fundamentals():
    """An octave's harmonic 10 dB above the fundamental."""
    for center in (90, 150, 260, 370, 520, 740, 900):
        hz = np.full(NUM_SAMPLES, float(center))
        yield sine(hz) + 3 * sine(2 * hz), hz


def voices():
    for vowel in synthetic.VOWEL_FORMANTS_HZ:
        for low, high in ((80, 120), (120, 300), (250, 600)):
            yield voice(vowel, low, high)


@pytest.mark.parametrize("sounds", [glides, vibratos, noisy_tones, weak_fundamentals, voices])
def test_pitch_is_followed(sounds):
    wrong = []
    for samples, hz in sounds():
        found, _, voiced = tracked(samples)
        centers = (np.arange(NUM_FRAMES) + 0.5) * HOP_LENGTH
        true = np.interp(centers, np.arange(len(hz)), hz)
        # Gross: by more than a semitone, or not heard as voiced at all.
        gross = (np.abs(12 * np.log2(found / true)) > 1) | ~voiced
        wrong.append(gross[EDGE:-EDGE])
    assert np.mean(wrong) <= 0.03


def filtered(kind, *hz):
    return signal.sosfilt(
        signal.butter(4, np.squeeze(hz), kind, fs=SAMPLE_RATE_HZ, output="sos"), noise()
    )


UNVOICED = {
    "white noise": noise,
    "brown noise": lambda: signal.lfilter([1], [1, -0.95], noise()),
    "blue noise": lambda: np.diff(noise(), 1, prepend=0),
    "violet noise": lambda: np.diff(noise(), 2, prepend=[0, 0]),
    "rumble": lambda: filtered("low", 300),
    "hiss": lambda: filtered("high", 3000),
    "fricative": lambda: filtered("band", 4000, 8000),
    "breath": lambda: filtered("band", 700, 1400),
    "whispered whistle": lambda: filtered("band", 1700, 2300),
    "silence": lambda: np.zeros(NUM_SAMPLES),
    "noise of an empty room": lambda: 1e-4 * noise(),
    "DC": lambda: np.full(NUM_SAMPLES, 0.5),
}


@pytest.mark.parametrize("name", UNVOICED)
def test_what_has_no_pitch_is_unvoiced(name):
    _, _, voiced = tracked(0.1 * UNVOICED[name]())
    assert np.mean(voiced[EDGE:-EDGE]) <= 0.02  # noise is a tone for a moment, now and then


@pytest.mark.parametrize("band", BANDS)
def test_a_band_compares_over_periods_up_to_its_reach(band):
    assert band.multiples.shape == (band.comparisons, len(band.lags))
    for number, multiples in enumerate(band.multiples):
        least = number + 2
        assert np.all((multiples >= least) & (multiples % 2 == least % 2))
        reach = band.reach * (number + 1) / band.comparisons
        assert np.all((multiples * band.lags <= reach) | (multiples == least))
        assert np.all((multiples + 2) * band.lags > reach)
        assert band.longest_lag >= np.max(multiples * band.lags)


def test_agreement_is_the_best_likeness_near_each_multiple():
    band = Band(1, 512, 10, 14, comparisons=2, reach=60, near=3)
    likeness = np.random.default_rng(0).uniform(-1, 1, (3, band.longest_lag + 2 - band.first_lag))
    found = pitch._at_multiples(jnp.asarray(likeness), band)
    assert band.multiples.tolist() == [[2, 2, 2, 2], [5, 5, 5, 3]]
    for agreeing, multiples in zip(found, band.multiples, strict=True):
        for place, (lag, times) in enumerate(zip(band.lags, multiples)):
            centre = times * lag - (band.first_lag - 1)
            wanted = likeness[:, centre - band.near : centre + band.near + 1].max(axis=1)
            np.testing.assert_allclose(agreeing[:, place], wanted, rtol=1e-6)
