"""Intervals: against SciPy's, the theory of a mean, and how often they hold the truth."""

import numpy as np
import pytest
import scipy.stats

from qvae_jax.evaluation import statistics

VALUES = np.random.default_rng(0).exponential(size=80)


def test_the_interval_of_a_mean_is_scipys_bootstrap():
    found = statistics.of_mean(VALUES)
    expected = scipy.stats.bootstrap(
        (VALUES,), np.mean, method="percentile", n_resamples=5000, rng=1
    ).confidence_interval
    assert found.value == VALUES.mean()
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.1 * width)
    assert found.high == pytest.approx(expected.high, abs=0.1 * width)


def test_intervals_are_decided_by_their_seed():
    assert statistics.of_mean(VALUES) == statistics.of_mean(VALUES)
    assert statistics.of_mean(VALUES, seed=1) != statistics.of_mean(VALUES)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    widths, errors = [], []
    for seed in range(100):
        sample = np.random.default_rng(seed).standard_normal(100)
        found = statistics.of_set(lambda places, x=sample: x[places].mean(), 100, seed)
        assert found.value == pytest.approx(sample.mean())
        widths.append((found.high - found.low) / 2 / scipy.stats.t.ppf(0.975, 9))
        errors.append(abs(found.value) > (found.high - found.low) / 2)
    assert np.mean(np.square(widths)) == pytest.approx(1 / 100, rel=0.15)
    assert 0 <= np.sum(errors) <= 12, "95 of 100 intervals hold the truth, give or take"


@pytest.mark.parametrize("num_examples", [1, 2])
def test_too_few_examples_have_no_interval(num_examples):
    found = statistics.of_set(lambda places: float(len(places)), num_examples)
    assert found.value == num_examples and np.isnan([found.low, found.high]).all()
    one = statistics.of_mean(np.array([3.0]))
    assert one.value == 3 and np.isnan([one.low, one.high]).all()


def test_a_pooled_mean_counts_frames_and_draws_examples():
    totals, counts = np.array([2.0, 30.0, 0.0]), np.array([2, 10, 0])
    measure = statistics.pooled_mean(totals, counts)
    found = statistics.of_resamples(measure, 3)
    assert found.value == pytest.approx(32 / 12)
    # Where only examples without frames are drawn there is no mean; else the least is 1, the most 3.
    assert (found.low, found.high) == (1, 3)
    assert np.isnan(statistics.of_resamples(statistics.pooled_mean([0.0, 0.0], [0, 0]), 2)).all()


def test_frames_of_one_example_do_not_narrow_an_interval():
    rng = np.random.default_rng(0)
    means = rng.standard_normal(40)
    few, many = (
        statistics.of_resamples(statistics.pooled_mean(count * means, np.full(40, count)), 40)
        for count in (1, 1000)
    )
    assert few == pytest.approx(many) and few == pytest.approx(statistics.of_mean(means))
