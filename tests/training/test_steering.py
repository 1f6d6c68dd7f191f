"""What a step is told of its targets' curves: filters, what is left out, and what it depends on."""

import dataclasses

import numpy as np
import pytest
import scipy.signal

from qvae_jax.audio.controls import NAMES, PERIODICITY, PITCH
from qvae_jax.training.steering import Variation, told

CURVES = np.random.default_rng(0).standard_normal((64, 30, len(NAMES))).astype(np.float32)
ROWS = np.arange(64)
ALL = Variation(longest_filter_frames=9, curve_dropout=0.3, all_curves_dropout=0.2)


def _length_of(filtered: np.ndarray, curve: np.ndarray) -> int:
    """Of the median filter by which one became the other."""
    padded = np.pad(curve, 15, mode="edge")
    for length in range(1, 31, 2):
        if np.array_equal(scipy.signal.medfilt(padded, length)[15:-15], filtered):
            return length
    raise AssertionError("no median filter gives this")


def test_without_variation_all_is_told_as_it_is():
    found = told(CURVES, Variation(), 0, 0, ROWS)
    np.testing.assert_array_equal(found["controls"], CURVES)
    assert found["controls"].dtype == np.float32
    assert found["told"].shape == (64, 4) and found["told"].all()


@pytest.mark.parametrize("longest", [1, 2, 5, 6])
def test_curves_pass_a_median_filter_of_an_odd_length(longest):
    found = told(CURVES, Variation(longest_filter_frames=longest), 0, 7, ROWS)["controls"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[..., PERIODICITY], CURVES[..., PERIODICITY])
    lengths = set()
    for filtered, curves in zip(found, CURVES, strict=True):
        of_curves = {_length_of(filtered[:, i], curves[:, i]) for i in range(PERIODICITY)}
        assert len(of_curves) == 1  # one length for the curves of a sound
        lengths |= of_curves
    assert lengths == set(range(1, longest + 1, 2))


def test_what_is_told_depends_on_seed_step_and_row_alone():
    whole = told(CURVES, ALL, 3, 5, ROWS)
    rows = np.array([40, 2])
    some = told(CURVES[rows], ALL, 3, 5, rows)
    for name, array in some.items():
        np.testing.assert_array_equal(array, whole[name][rows])
    for seed, step, places in ((4, 5, ROWS), (3, 6, ROWS), (3, 5, ROWS + 64)):
        other = told(CURVES, ALL, seed, step, places)
        assert all(np.any(other[name] != whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"longest_filter_frames": 1}, "controls"),
        ({"curve_dropout": 0.0}, "told"),
        ({"all_curves_dropout": 0.0}, "told"),
    ],
)
def test_a_setting_does_not_move_what_others_draw(change, moved):
    before = told(CURVES, ALL, 0, 0, ROWS)
    after = told(CURVES, dataclasses.replace(ALL, **change), 0, 0, ROWS)
    for name in before:
        assert np.array_equal(before[name], after[name]) == (name != moved), name
    if moved == "told":  # less likely to be left out: what was told still is
        assert np.all(after["told"] | ~before["told"])


def test_as_many_are_left_out_as_is_likely():
    num_rows, step = 4000, 1
    curves = np.zeros((num_rows, 1, 4), np.float32)
    are_told = told(curves, ALL, 0, step, np.arange(num_rows))["told"]
    np.testing.assert_array_equal(are_told[:, PITCH], are_told[:, PERIODICITY])
    expected = (1 - ALL.curve_dropout) * (1 - ALL.all_curves_dropout)
    error = 4 * np.sqrt(0.25 / num_rows)
    np.testing.assert_allclose(are_told.mean(axis=0), expected, atol=error)
    none = ALL.all_curves_dropout + (1 - ALL.all_curves_dropout) * ALL.curve_dropout**3
    assert np.mean(~are_told.any(axis=1)) == pytest.approx(none, abs=error)


@pytest.mark.parametrize("name", ["curve_dropout", "all_curves_dropout"])
def test_at_one_nothing_is_told(name):
    assert not told(CURVES, Variation(**{name: 1.0}), 0, 0, ROWS)["told"].any()
