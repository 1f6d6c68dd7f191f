"""Convolutions and means of maps against the plain ones, results and gradients alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from filled import error
from forms import TOLERANCE, assert_same_forms, noise
from qvae_jax.models import plain
from qvae_jax.models.cpu import maps


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (2, 3, 5)])
def test_conv2d_by_1x1(batch, height, width):
    x, kernel = noise(batch, height, width, 3), noise(1, 1, 3, 4, seed=1)
    assert_same_forms(maps.conv2d, plain.conv2d, x, kernel)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (2, 7, 10)])
def test_conv2d_of_one_channel(batch, height, width, stride):
    x, kernel = noise(batch, height, width, 1), noise(3, 3, 1, 4, seed=1)
    fast, plainly = (functools.partial(form.conv2d, stride=stride) for form in (maps, plain))
    assert_same_forms(fast, plainly, x, kernel)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_conv2d(stride):
    fast, plainly = (
        functools.partial(form.depthwise_conv2d, stride=stride) for form in (maps, plain)
    )
    assert_same_forms(fast, plainly, noise(2, 9, 10, 4), noise(3, 3, 1, 4, seed=1))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [1, 3])
def test_gated_conv2d(batch, size):
    gate = noise(batch, 3, seed=3)
    fast, plainly = (
        lambda x, kernel, form=form: form.gated_conv2d(x, kernel, gate) for form in (maps, plain)
    )
    assert_same_forms(fast, plainly, noise(batch, 5, 6, 3), noise(size, size, 3, 4, seed=1))


@pytest.mark.parametrize("counts", [None, np.array([1.0, 1.0, 4.0, 1.0, 1.0, 2.0])])
@pytest.mark.parametrize("batch", [1, 3])
def test_mean_of_places(batch, counts):
    x, weights = noise(batch, 5, 6, 3), noise(batch, 3, seed=1)
    repeated = x if counts is None else np.repeat(x, counts.astype(int), axis=2)
    for form in (maps, plain):
        assert error(form.mean_of_places(x, counts), np.mean(repeated, (1, 2))) < TOLERANCE
    gradients = [
        jax.grad(lambda x, form=form: jnp.sum(weights * form.mean_of_places(x, counts)))(x)
        for form in (maps, plain)
    ]
    assert error(*gradients) < TOLERANCE
