"""Schedules of the learning rate and of β against the golden ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import golden_rules
from qvae_jax.training import schedules

TOLERANCE = 1e-9  # absolute; the largest value is 1e-3, of which float32 rounds 6e-11


@pytest.fixture(scope="module")
def golden():
    return golden_rules.load("schedules")


def _values(schedule, steps) -> np.ndarray:
    """Of all steps at once, as a compiled step would see each of them: a traced int32."""
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(steps, jnp.int32)), np.float64)


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
@pytest.mark.parametrize(
    ("name", "peak", "warmup_epochs", "num_epochs"),
    [
        ("lr_w50_e300_8e4", 8e-4, 50, 300),
        ("lr_w0_e100_1e3", 1e-3, 0, 100),
        ("lr_w50_e300_18e6", 1.8e-5, 50, 300),
    ],
)
def test_cosine_learning_rate(golden, name, peak, warmup_epochs, num_epochs, steps_per_epoch):
    schedule = schedules.cosine_learning_rate(
        peak,
        final=1e-6,
        warmup_epochs=warmup_epochs,
        num_epochs=num_epochs,
        steps_per_epoch=steps_per_epoch,
    )
    # The rate holds for a whole epoch: at its first step and at its last.
    for offset in {0, steps_per_epoch - 1}:
        steps = np.arange(num_epochs) * steps_per_epoch + offset
        np.testing.assert_allclose(_values(schedule, steps), golden[name], rtol=0, atol=TOLERANCE)


def test_cosine_learning_rate_stays_at_its_end():
    schedule = schedules.cosine_learning_rate(
        1e-3, final=1e-6, warmup_epochs=2, num_epochs=10, steps_per_epoch=3
    )
    values = _values(schedule, [30, 31, 1000, 10**9])
    np.testing.assert_allclose(values, 1e-6, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("warmup_epochs", [10, 20])
def test_warm_up_may_last_the_whole_training(warmup_epochs):
    schedule = schedules.cosine_learning_rate(
        1e-3, final=1e-6, warmup_epochs=warmup_epochs, num_epochs=10, steps_per_epoch=1
    )
    expected = 1e-3 * (0.1 + 0.9 * np.arange(10) / warmup_epochs)
    np.testing.assert_allclose(_values(schedule, range(10)), expected, rtol=0, atol=TOLERANCE)


def test_constant():
    np.testing.assert_allclose(_values(schedules.constant(0.25), [0, 1, 10**9]), 0.25)


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
def test_linear_beta(golden, steps_per_epoch):
    schedule = schedules.linear_beta(
        0.0,
        1e-4,
        warmup_epochs=50,
        rampup_fraction=0.7,
        num_epochs=300,
        steps_per_epoch=steps_per_epoch,
    )
    values = _values(schedule, np.arange(300) * steps_per_epoch + steps_per_epoch - 1)
    expected = golden["beta_linear_w50_e300_f07"]
    np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)


def test_linear_beta_without_a_ramp_is_a_jump():
    schedule = schedules.linear_beta(
        0.5, 2.0, warmup_epochs=3, rampup_fraction=0.0, num_epochs=10, steps_per_epoch=1
    )
    np.testing.assert_allclose(_values(schedule, range(6)), [0.5] * 4 + [2.0] * 2)


def test_cyclical_beta(golden):
    schedule = schedules.cyclical_beta(0.0, 5e-5, cycle_steps=4000, proportion=0.6)
    values = _values(schedule, 50 * np.arange(160))
    expected = golden["beta_cyclical_4000_06"]
    np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)


def test_cyclical_beta_repeats():
    schedule = schedules.cyclical_beta(0.1, 0.9, cycle_steps=10, proportion=0.5)
    first = _values(schedule, range(10))
    np.testing.assert_allclose(first, [0.1, 0.26, 0.42, 0.58, 0.74] + [0.9] * 5, rtol=1e-6)
    np.testing.assert_array_equal(_values(schedule, np.arange(10) + 10**9), first)
