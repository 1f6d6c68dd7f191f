"""The control curves: librosa judges loudness and centroid, known sounds the rest."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from qvae_jax.audio import controls as curves
from qvae_jax.audio.pitch import HOP_LENGTH, SAMPLE_RATE_HZ

NUM_FRAMES = 80
NUM_SAMPLES = NUM_FRAMES * HOP_LENGTH
SECONDS = np.arange(NUM_SAMPLES) / SAMPLE_RATE_HZ

NUM_ROWS = 3

_jitted = jax.jit(curves.controls)


def controls_of(rows, lengths=()):
    """The curves of up to NUM_ROWS sounds, filled up to that many: one program for all tests."""
    given = np.zeros((NUM_ROWS, NUM_SAMPLES), np.float32)
    given[: len(rows)] = rows
    counts = [*lengths, *[NUM_SAMPLES] * (NUM_ROWS - len(lengths))]
    return np.asarray(_jitted(given, np.array(counts, np.int32)))[: len(rows)]


def controls(samples, *length):
    return controls_of([samples], length)[0]


def sine(hz, amplitude=1.0):
    return amplitude * np.sin(2 * np.pi * hz * SECONDS)


def mixed():
    """A tone in noise, loud and soft."""
    noise = np.random.default_rng(1).standard_normal(NUM_SAMPLES)
    return (0.3 * sine(300) + 0.1 * noise) * np.linspace(1, 0.01, NUM_SAMPLES)


def librosa_spectrum(samples):
    """Magnitudes [bins, frames] of the frames that the controls look at."""
    before = curves.WINDOW_LENGTH // 2 - HOP_LENGTH // 2
    padded = np.pad(samples, (before, curves.WINDOW_LENGTH))
    found = np.abs(
        librosa.stft(padded, n_fft=curves.WINDOW_LENGTH, hop_length=HOP_LENGTH, center=False)
    )
    return found[:, :NUM_FRAMES]


@pytest.mark.parametrize(
    "hz, amplitude, tolerance_db",
    [
        (1000, 1.0, 0.05),
        (1000, 0.1, 0.05),
        (440, 0.5, 0.1),
        (4000, 0.3, 0.05),
        (9000, 0.01, 0.05),
        (100, 1.0, 0.3),  # its main lobe spans 170 Hz, which are not weighted alike
    ],
)
def test_loudness_of_a_sine_is_its_level_and_its_weight(hz, amplitude, tolerance_db):
    found = controls(sine(hz, amplitude))[10:-10, curves.LOUDNESS]
    expected = 20 * np.log10(amplitude) + librosa.A_weighting(np.array([hz]))[0]
    np.testing.assert_allclose(found, expected, atol=tolerance_db)


def test_loudness_agrees_with_librosa():
    samples = mixed()
    spectrum = librosa_spectrum(samples)
    frequencies = librosa.fft_frequencies(sr=SAMPLE_RATE_HZ, n_fft=curves.WINDOW_LENGTH)
    weighted = (
        spectrum[1:] * 10 ** (librosa.A_weighting(frequencies[1:], min_db=None) / 20)[:, None]
    )
    weighted = np.vstack([np.zeros(NUM_FRAMES), weighted])  # A-weighting lets no DC through
    level = librosa.feature.rms(
        S=weighted, frame_length=curves.WINDOW_LENGTH, hop_length=HOP_LENGTH
    )[0]
    window = np.sqrt(np.mean(librosa.filters.get_window("hann", curves.WINDOW_LENGTH) ** 2))
    expected = 20 * np.log10(np.sqrt(2) * level / window)
    np.testing.assert_allclose(controls(samples)[:, curves.LOUDNESS], expected, atol=0.02)


def test_centroid_agrees_with_librosa():
    samples = mixed()
    spectrum = librosa_spectrum(samples)
    spectrum[0] = 0  # ours leaves DC out
    expected = librosa.feature.spectral_centroid(S=spectrum, sr=SAMPLE_RATE_HZ)[0]
    found = controls(samples)[:, curves.CENTROID]
    np.testing.assert_allclose(found, librosa.hz_to_midi(expected), atol=0.05)


@pytest.mark.parametrize("place", [1, 40, 79])
def test_a_frame_is_centred_half_a_hop_after_its_start(place):
    samples = np.zeros(NUM_SAMPLES)
    samples[place * HOP_LENGTH + HOP_LENGTH // 2] = 1.0
    assert np.argmax(controls(samples)[:, curves.LOUDNESS]) == place


def test_silence_is_at_rest():
    found = controls(np.zeros(NUM_SAMPLES))
    expected = [-80.0, float(curves.semitones(1000)), 57.0, 0.0]
    np.testing.assert_allclose(found, np.tile(expected, (NUM_FRAMES, 1)), atol=1e-4)


def test_pitch_is_held_and_joined_where_there_is_none():
    gap = (SECONDS > 0.3) & (SECONDS < 0.6)
    hz = np.where(SECONDS < 0.45, 220, 440)
    samples = 0.5 * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ) * ~gap * (SECONDS > 0.1)
    found = controls(samples)
    voiced = found[:, curves.PERIODICITY] > curves.VOICED_PERIODICITY
    centers = (np.arange(NUM_FRAMES) + 0.5) * HOP_LENGTH / SAMPLE_RATE_HZ
    assert voiced[(centers > 0.15) & (centers < 0.25)].all()
    inside = (centers > 0.36) & (centers < 0.54)
    assert not voiced[inside].any()
    notes = found[:, curves.PITCH]
    np.testing.assert_allclose(notes[centers < 0.08], 57, atol=0.5)
    steps = np.diff(notes[inside])
    assert (steps > 0).all()
    np.testing.assert_allclose(steps, steps[0], rtol=0.01)


def noisy_glide():
    hz = 100 * 4 ** np.linspace(0, 1, NUM_SAMPLES)
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ
    tone = sum(np.sin(number * phase) / number for number in range(1, 12))
    return 0.1 * tone + 0.05 * np.random.default_rng(2).standard_normal(NUM_SAMPLES)


@pytest.mark.parametrize(
    "sound, length, num_samples",
    [(mixed, 1, 1), (mixed, 244, 9_800), (mixed, 5_000, 9_800), (noisy_glide, 9_800, 9_800)],
)
def test_a_padded_sound_has_the_curves_that_it_has_alone(sound, length, num_samples):
    samples = sound().astype(np.float32)[:length]
    count = curves.num_frames(length)
    few = np.pad(samples, (0, num_samples - length))
    alone = np.asarray(_jitted(few, np.int32(length)))
    padded = controls(np.pad(samples, (0, NUM_SAMPLES - length)), length)
    assert alone.shape == (curves.num_frames(num_samples), 4)
    np.testing.assert_allclose(padded[:count], alone[:count], atol=1e-3)
    rest = padded[count:]
    np.testing.assert_allclose(rest[:, curves.LOUDNESS], -80)
    np.testing.assert_allclose(rest[:, curves.PERIODICITY], 0)


def test_what_lies_beyond_the_count_is_not_heard():
    samples = mixed()
    silenced = np.where(np.arange(NUM_SAMPLES) < 7_000, samples, 0)
    np.testing.assert_array_equal(controls(samples, 7_000), controls(silenced, 7_000))


def test_a_batch_has_the_curves_of_its_rows():
    rows = np.stack([mixed(), sine(500, 0.1), noisy_glide()])
    lengths = (NUM_SAMPLES, 7_000, 15_000)
    alone = [controls(row, length) for row, length in zip(rows, lengths)]
    np.testing.assert_allclose(controls_of(rows, lengths), alone, atol=1e-3)


@pytest.mark.parametrize("batch_shape", [(), (2,), (2, 3)])
def test_curves_have_the_shape_of_their_batch(batch_shape):
    given = jax.ShapeDtypeStruct((*batch_shape, 5_000), jnp.float32)
    found = jax.eval_shape(curves.controls, given)
    assert (found.shape, found.dtype) == ((*batch_shape, 21, 4), jnp.float32)


def test_hertz_and_semitones_are_inverse():
    notes = np.arange(20, 120, 7.5)
    np.testing.assert_allclose(curves.semitones(curves.hertz(notes)), notes, rtol=1e-5)
    assert curves.hertz(69) == 440


def test_a_weighting_is_librosas():
    hz = np.array([20, 50, 100, 500, 1000, 2500, 8000, 11025])
    expected = librosa.A_weighting(hz, min_db=None)
    np.testing.assert_allclose(20 * np.log10(curves.a_weighting(hz)), expected, atol=0.01)
