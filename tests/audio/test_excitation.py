"""The harmonics of a pitch curve, beside a plain sum of cosines in double precision."""

import jax
import numpy as np
import pytest
import scipy.signal

from qvae_jax.audio import excitation
from qvae_jax.audio.controls import hertz

RATES = {243: 22_050, 486: 44_100}  # by hop
PITCHES = {
    "lowest": np.full(12, 34.0),
    "highest": np.full(12, 98.0),
    "glide": np.linspace(60.0, 84.0, 12),
    "leap": np.repeat([45.0, 93.0], 6),
    "vibrato": 69 + 0.5 * np.sin(np.arange(12)),
}
harmonics = jax.jit(excitation.harmonics, static_argnums=(1, 2))
per_sample = jax.jit(excitation.per_sample, static_argnums=1)


def _curves(pitch, periodicity=1.0) -> np.ndarray:
    """[1, frames, 4] of loud frames with this pitch."""
    columns = np.broadcast_arrays(-20.0, 80.0, pitch, periodicity)
    return np.stack(columns, axis=-1).astype(np.float32)[None]


def _on_lines(curve: np.ndarray, hop: int) -> np.ndarray:
    centres = np.arange(len(curve)) + 0.5
    return np.interp((np.arange(len(curve) * hop) + 0.5) / hop, centres, curve)


def _plain_sum(curves: np.ndarray, hop: int) -> np.ndarray:
    """Cosine after cosine, each up to half the rate, the last one as far as it fits."""
    rate = RATES[hop]
    hz = _on_lines(np.asarray(hertz(curves[0, :, 2]), np.float64), hop)
    level = np.clip((_on_lines(curves[0, :, 3], hop) - 0.45) / 0.1, 0, 1)
    phase = np.cumsum(np.round(hz / rate * 2**32)) / 2**32 % 1
    total = power = np.zeros(len(hz))
    for number in range(1, int(rate / 2 / hz.min()) + 1):
        amplitude = np.clip(rate / 2 / hz - number, 0, 1)
        total = total + amplitude * np.cos(2 * np.pi * number * phase)
        power = power + amplitude**2 / 2
    return level * total / np.sqrt(power)


@pytest.mark.parametrize("hop", RATES)
@pytest.mark.parametrize("pitch", PITCHES)
def test_it_is_the_sum_of_all_harmonics(pitch, hop):
    curves = _curves(PITCHES[pitch])
    ours, plain = np.asarray(harmonics(curves, hop, RATES[hop]))[0], _plain_sum(curves, hop)
    # A frequency in float32 is off by 6e-8 of itself, which the highest harmonic makes most of:
    # after some tens of periods, by up to a thousandth of a turn.
    np.testing.assert_allclose(ours, plain, atol=2e-3 * np.abs(plain).max())


@pytest.mark.parametrize("note", [34.0, 57.3, 98.0])
def test_it_is_of_unit_power_whatever_the_pitch(note):
    sound = np.asarray(harmonics(_curves(np.full(60, note)), 243, 22_050))
    assert np.mean(sound * sound) == pytest.approx(1.0, abs=0.03)  # of some tens of periods


def test_it_is_heard_as_far_as_it_is_voiced():
    periodicity = [0.0, 0.45, 0.45, 0.5, 0.55, 0.9, 0.5, 0.3, 0.0, 0.2, 1.0, 1.0]
    np.testing.assert_allclose(
        excitation.voiced_share(_curves(69.0, periodicity))[0],
        [0, 0, 0, 0.5, 1, 1, 0.5, 0, 0, 0, 1, 1],
        atol=1e-6,
    )
    sound = np.asarray(harmonics(_curves(69.0, periodicity), 243, 22_050))[0].reshape(12, 243)
    assert not sound[:2].any() and not sound[8].any()
    voiced = np.asarray(harmonics(_curves(np.full(12, 69.0)), 243, 22_050))[0].reshape(12, 243)
    np.testing.assert_array_equal(sound[4, 122:], voiced[4, 122:])
    np.testing.assert_array_equal(sound[5, :121], voiced[5, :121])
    np.testing.assert_allclose(sound[3, 121], 0.5 * voiced[3, 121], rtol=1e-5)
    # The level is on a line between the frames' centres: of frame 9 its second half is heard.
    assert not sound[9, :121].any() and sound[9, 122:].any()


def test_its_sine_is_a_librarys():
    cycles = np.linspace(-3, 3, 60_001, dtype=np.float32)
    exact = np.sin(2 * np.pi * np.float64(cycles))
    ours = np.asarray(jax.jit(excitation.sine)(cycles))
    np.testing.assert_allclose(ours, exact, atol=3e-7)
    small = np.geomspace(1e-9, 0.25, 1000, dtype=np.float32)  # two of them are divided
    expected = np.sin(2 * np.pi * np.float64(small))
    np.testing.assert_allclose(jax.jit(excitation.sine)(small), expected, rtol=4e-7)


@pytest.mark.parametrize("hop", RATES)
def test_a_minutes_phase_is_exact(hop):
    notes = np.random.default_rng(0).uniform(34, 98, RATES[hop] * 60 // hop).astype(np.float32)
    steps = np.asarray(excitation.steps_of(notes, RATES[hop]))
    exact_hz = np.asarray(hertz(np.float64(notes)), np.float64)
    np.testing.assert_allclose(steps / 2**32 * RATES[hop], exact_hz, rtol=1e-6)
    # Twice a hop's parts of each sample's step: on lines between centres they are whole numbers.
    twice = np.arange(1, 2 * len(notes) * hop, 2)
    centres = np.arange(1, 2 * len(notes), 2) * hop
    frame = np.clip(np.searchsorted(centres, twice, side="right") - 1, 0, len(notes) - 2)
    along = np.clip(twice, centres[0], centres[-1]) - centres[frame]
    rises = np.diff(steps.astype(np.int64))[frame]
    whole = np.cumsum(2 * hop * steps[frame].astype(np.int64) + rises * along) // (2 * hop)
    expected = (whole % 2**32).astype(np.float64) / 2**32
    phase = jax.jit(excitation.phase, static_argnums=(1, 2))
    ours = np.asarray(phase(notes, hop, RATES[hop]), np.float64)
    # To the last digit of a float32, and all the nearer a phase is to a whole cycle.
    apart = ours - expected - np.round(ours - expected)
    assert np.all(np.abs(apart) <= 2.0**-25 * np.abs(ours) * 2)
    assert np.abs(ours).max() <= 0.5


@pytest.mark.parametrize("note", [98.0, 91.37])
@pytest.mark.parametrize("hop", RATES)
def test_nothing_is_folded(note, hop):
    """All energy lies at multiples of the pitch, and none of them beyond half the rate."""
    sound = np.asarray(harmonics(_curves(np.full(40, note)), hop, RATES[hop]))[0]
    window = scipy.signal.get_window("blackmanharris", len(sound))
    power = np.abs(np.fft.rfft(sound * window)) ** 2
    number = np.arange(len(power)) * RATES[hop] / len(sound) / float(hertz(np.float32(note)))
    away = np.abs(number - np.round(number)) * float(hertz(np.float32(note)))
    width_hz = 5 * RATES[hop] / len(sound)
    assert power[(away > width_hz) | (number < 0.5)].sum() < 1e-8 * power.sum()


def test_what_comes_later_changes_nothing_before_the_last_centre():
    curves, hop = _curves(PITCHES["glide"], np.linspace(0.4, 1.0, 12)), 243
    whole = np.asarray(harmonics(curves, hop, 22_050))[0]
    for count in (1, 7):
        until = count * hop - hop // 2
        alone = np.asarray(harmonics(curves[:, :count], hop, 22_050))[0]
        np.testing.assert_allclose(alone[:until], whole[:until], atol=1e-5 * np.abs(whole).max())


def test_rows_do_not_depend_on_one_another():
    rows = np.concatenate([_curves(PITCHES[name]) for name in ("glide", "leap", "lowest")])
    together = harmonics(rows, 243, 22_050)
    for row, sound in zip(rows, together, strict=True):
        np.testing.assert_allclose(
            harmonics(row[None], 243, 22_050)[0], sound, atol=1e-5 * np.abs(sound).max()
        )


@pytest.mark.parametrize("hop", [1, 2, 7])
def test_curves_lie_on_lines_between_centres(hop):
    curve = np.random.default_rng(0).standard_normal((2, 9)).astype(np.float32)
    expected = [_on_lines(of_one, hop) for of_one in curve]
    np.testing.assert_allclose(per_sample(curve, hop), expected, atol=1e-6)
