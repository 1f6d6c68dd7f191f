"""Convolutions by one product of all taps against plain ones, results and gradients alike."""

import functools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filled import error
from forms import TOLERANCE, assert_same_forms, noise
from qvae_jax.models import plain
from qvae_jax.models.cpu import tap_products


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    time=st.integers(1, 10),
    taps=st.sampled_from([1, 3, 5, 7]),
    num_in=st.integers(1, 5),
    num_out=st.integers(1, 5),
)
@example(batch=1, time=1, taps=1, num_in=1, num_out=1)
@example(batch=1, time=1, taps=3, num_in=2, num_out=3)
@example(batch=2, time=1, taps=5, num_in=2, num_out=1)
@example(batch=1, time=1, taps=7, num_in=1, num_out=2)
@example(batch=3, time=2, taps=7, num_in=3, num_out=2)
@example(batch=2, time=729, taps=5, num_in=16, num_out=8)
def test_upsampled(batch, time, taps, num_in, num_out):
    x, kernel = noise(batch, time, num_in), noise(taps, num_in, num_out, seed=1)
    assert_same_forms(
        lambda x, kernel: tap_products.convolve(x, kernel, tap_products.Upsampled3()),
        plain.upsample3_conv1d,
        x,
        kernel,
    )


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    time=st.integers(1, 10),
    taps=st.sampled_from([1, 3, 5, 7]),
    dilation=st.integers(1, 3),
    num_in=st.integers(1, 5),
    num_out=st.integers(1, 5),
)
@example(time=1, taps=7, dilation=3, num_in=1, num_out=1)
@example(time=2, taps=5, dilation=2, num_in=2, num_out=3)
def test_same_length(time, taps, dilation, num_in, num_out):
    kind = tap_products.same_length(taps, dilation)
    x, kernel = noise(2, time, num_in), noise(taps, num_in, num_out, seed=1)
    assert_same_forms(
        lambda x, kernel: tap_products.convolve(x, kernel, kind),
        functools.partial(plain.conv1d, dilation=dilation),
        x,
        kernel,
    )


@pytest.mark.parametrize("time", [1, 2, 9])
def test_transposed(time):
    assert_same_forms(
        lambda x, kernel: tap_products.convolve(x, kernel, tap_products.TRANSPOSED3),
        plain.transposed_conv1d_stride3,
        noise(2, time, 3),
        noise(3, 3, 4, seed=1),
    )


@pytest.mark.parametrize(
    "kind", [tap_products.same_length(3), tap_products.TRANSPOSED3, tap_products.Upsampled3()]
)
def test_there_may_be_no_batch(kind):
    x, kernel = noise(2, 5, 3), noise(3, 3, 4, seed=1)
    whole = tap_products.convolve(x, kernel, kind)
    for row, of_batch in zip(x, whole, strict=True):
        assert error(tap_products.convolve(row, kernel, kind), of_batch) < TOLERANCE
