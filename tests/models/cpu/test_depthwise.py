"""Depthwise convolution as a sum of shifted copies against the grouped one, gradients too."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filled import error
from forms import assert_same_forms, noise
from qvae_jax.models import plain
from qvae_jax.models.cpu.depthwise import depthwise_as_shifted_sum


def _plainly(x, kernel, stride):
    return plain.depthwise_conv2d(x, kernel, stride=stride)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 2),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 4),
    size=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2, 3]),
)
@example(batch=1, height=1, width=1, channels=1, size=1, stride=2)
@example(batch=1, height=1, width=1, channels=2, size=5, stride=2)
@example(batch=2, height=4, width=7, channels=3, size=3, stride=2)
@example(batch=2, height=7, width=4, channels=3, size=5, stride=2)
@example(batch=1, height=8, width=63, channels=8, size=5, stride=1)
def test_depthwise_as_shifted_sum(batch, height, width, channels, size, stride):
    x, kernel = noise(batch, height, width, channels), noise(size, size, 1, channels, seed=1)
    assert_same_forms(
        lambda x, kernel: depthwise_as_shifted_sum(x, kernel, stride),
        lambda x, kernel: _plainly(x, kernel, stride),
        x,
        kernel,
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_depthwise_gradients_agree_in_float64(size, stride):
    x, kernel = noise(2, 9, 13, 4), noise(size, size, 1, 4, seed=1)

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(form, x, kernel, cotangent):
        return jax.vjp(lambda x, kernel: form(x, kernel, stride), x, kernel)[1](cotangent)

    with jax.enable_x64(True):
        x, kernel = x.astype(np.float64), kernel.astype(np.float64)
        cotangent = np.asarray(_plainly(x, kernel, stride)) + 1.0
        ours, theirs = (
            gradients(form, x, kernel, cotangent) for form in (depthwise_as_shifted_sum, _plainly)
        )
    for mine, other in zip(ours, theirs, strict=True):
        assert error(mine, other) < 1e-12
