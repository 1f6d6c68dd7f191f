"""Convolutions in time against the plain ones, on either side of where they change their form."""

import functools

import jax
import pytest

from forms import assert_same_forms, noise
from qvae_jax.models import plain
from qvae_jax.models.cpu import convolutions

MANY = convolutions.FEW_PRODUCTS // 3 + 1  # channels out, at three taps


@pytest.mark.parametrize("num_out", [MANY - 1, MANY])
@pytest.mark.parametrize(("time", "dilation"), [(1, 1), (2, 1), (2, 2), (3, 2), (12, 1)])
def test_conv1d(time, dilation, num_out):
    fast, plainly = (
        functools.partial(form.conv1d, dilation=dilation) for form in (convolutions, plain)
    )
    assert_same_forms(fast, plainly, noise(2, time, 4), noise(3, 4, num_out, seed=1))


@pytest.mark.parametrize("num_out", [MANY - 1, MANY])
def test_only_few_products_are_taken_from_xla_s_convolution(num_out):
    program = jax.make_jaxpr(convolutions.conv1d)(noise(2, 12, 4), noise(3, 4, num_out))
    assert ("conv_general_dilated" in str(program)) == (num_out == MANY)


@pytest.mark.parametrize("name", ["upsample3_conv1d", "transposed_conv1d_stride3"])
def test_upsampling(name):
    fast, plainly = getattr(convolutions, name), getattr(plain, name)
    assert_same_forms(fast, plainly, noise(2, 9, 4), noise(3, 4, 5, seed=1))
