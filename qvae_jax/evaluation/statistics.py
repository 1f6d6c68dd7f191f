"""Confidence intervals: what a number may have been with other examples of the same kind."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.stats

CONFIDENCE = 0.95
NUM_RESAMPLES = 1000
NUM_GROUPS = 10


CHUNK = 100  # of resamples at once, for memory

# From the places of the examples that count, some of them more than once, to a number.
Measure = Callable[[np.ndarray], float | np.ndarray]


class Estimate(NamedTuple):
    """A value and its 95 % interval; NaN bounds where there are too few examples for one."""

    value: float
    low: float
    high: float


def of_mean(values: np.ndarray, seed: int = 0) -> Estimate:
    """The mean of [examples], with the percentile bootstrap's interval over examples."""
    return of_resamples(mean(values), len(values), seed)


def mean(values: np.ndarray) -> Measure:
    """The mean of the values [examples] that count; of places [resamples, n], of each resample."""
    values = np.asarray(values, np.float64)
    return lambda places: values[places].mean(axis=-1)


def pooled_mean(totals: np.ndarray, counts: np.ndarray) -> Measure:
    """The mean over the frames of all examples that count: NaN where they have none.

    totals and counts, [examples], are of the frames of each. Places are as those of mean.
    """
    totals, counts = np.asarray(totals, np.float64), np.asarray(counts)

    def measure(places: np.ndarray) -> np.ndarray:
        count = counts[places].sum(axis=-1)
        return np.where(count, totals[places].sum(axis=-1) / np.maximum(count, 1), np.nan)

    return measure


def of_resamples(measure: Measure, num_examples: int, seed: int = 0) -> Estimate:
    """A measure of examples, with the percentile bootstrap's interval over them.

    measure takes many resamples at once, [resamples, examples]. Efron & Tibshirani (1993), chapter
    13; 1000 resamples drawn from the seed. Those of which the measure is not defined do not count.
    """
    value = float(measure(np.arange(num_examples)))
    if num_examples < 2 or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    found = [
        measure(rng.integers(num_examples, size=(CHUNK, num_examples)))
        for _ in range(NUM_RESAMPLES // CHUNK)
    ]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(np.concatenate(found), [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def of_set(measure: Measure, num_examples: int, seed: int = 0) -> Estimate:
    """A measure of a whole set, with the grouped jackknife's interval over examples.

    Not the bootstrap: drawing an example
    twice puts two equal ones into the set, which distances of sets take for a difference. Ten
    groups of examples, drawn from the seed, are left out in turn (Efron & Tibshirani 1993, chapter
    11); normal errors with nine degrees of freedom are assumed.
    """
    value = measure(np.arange(num_examples))
    num_groups = min(NUM_GROUPS, num_examples)
    if num_groups < 3:
        return Estimate(value, float("nan"), float("nan"))
    groups = np.array_split(np.random.default_rng(seed).permutation(num_examples), num_groups)
    without = np.array([measure(np.setdiff1d(np.arange(num_examples), group)) for group in groups])
    variance = (num_groups - 1) / num_groups * np.sum((without - without.mean()) ** 2)
    reach = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, num_groups - 1) * np.sqrt(variance)
    return Estimate(float(value), float(value - reach), float(value + reach))
