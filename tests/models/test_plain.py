"""Operations of the models against torch's: the plain forms, and those the CPU is given."""

import functools
import importlib

import jax
import numpy as np
import pytest

from filled import error
from forms import TOLERANCE, noise
from qvae_jax.models import forms, plain
from qvae_jax.models.cpu import linear_upsampling


@pytest.fixture(params=[plain, forms], ids=["plain", "chosen"])
def form(request):
    return request.param


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("torch", reason="compares with torch's convolutions")
    return importlib.import_module("torch")


def _compiled(operation, *arrays, **options):
    """What one program gives, as models call it; one by one, its operations compile for longer."""
    return jax.jit(functools.partial(operation, **options))(*arrays)


def _in_torch(torch, convolve, x, kernel, **options):
    """A torch convolution of our arrays, and its result in our axes."""
    channels_first = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    weight = torch.from_numpy(np.moveaxis(kernel, (-1, -2), (0, 1)).copy())
    return np.moveaxis(convolve(channels_first, weight, **options).numpy(), 1, -1)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("time", "taps"), [(1, 3), (10, 1), (10, 3), (27, 9), (28, 15)])
def test_conv1d_equals_torch(torch, form, time, taps, dilation):
    x, kernel = noise(2, time, 3), noise(taps, 3, 4, seed=1)
    padding = dilation * (taps // 2)
    theirs = _in_torch(
        torch, torch.nn.functional.conv1d, x, kernel, padding=padding, dilation=dilation
    )
    assert error(_compiled(form.conv1d, x, kernel, dilation=dilation), theirs) < TOLERANCE


@pytest.mark.parametrize("taps", [1, 3, 5])
def test_upsample3_conv1d_equals_torch(torch, form, taps):
    x, kernel = noise(2, 9, 3), noise(taps, 3, 4, seed=1)
    repeated = np.repeat(x, 3, axis=1)
    theirs = _in_torch(torch, torch.nn.functional.conv1d, repeated, kernel, padding=taps // 2)
    assert error(_compiled(form.upsample3_conv1d, x, kernel), theirs) < TOLERANCE


@pytest.mark.parametrize("time", [1, 2, 9])
def test_transposed_conv1d_stride3_equals_torch(torch, form, time):
    x, kernel = noise(2, time, 3), noise(3, 3, 4, seed=1)
    signal = torch.from_numpy(x).transpose(1, 2)
    weight = torch.from_numpy(kernel).permute(1, 2, 0)  # torch's [in, out, taps]
    theirs = torch.nn.functional.conv_transpose1d(signal, weight, stride=3).transpose(1, 2)
    assert error(_compiled(form.transposed_conv1d_stride3, x, kernel), theirs) < TOLERANCE


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "size"), [(8, 9, 1), (8, 9, 3), (7, 6, 5), (1, 2, 3)])
def test_conv2d_equals_torch(torch, form, height, width, size, stride):
    x, kernel = noise(2, height, width, 3), noise(size, size, 3, 4, seed=1)
    theirs = _in_torch(
        torch, torch.nn.functional.conv2d, x, kernel, padding=size // 2, stride=stride
    )
    assert error(_compiled(form.conv2d, x, kernel, stride=stride), theirs) < TOLERANCE


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "size"), [(8, 9, 3), (7, 6, 5), (1, 1, 5)])
def test_depthwise_conv2d_equals_torch(torch, form, height, width, size, stride):
    x, kernel = noise(2, height, width, 4), noise(size, size, 1, 4, seed=1)
    options = dict(padding=size // 2, stride=stride, groups=4)
    theirs = _in_torch(torch, torch.nn.functional.conv2d, x, kernel, **options)
    assert error(_compiled(form.depthwise_conv2d, x, kernel, stride=stride), theirs) < TOLERANCE


@pytest.mark.parametrize("time", [1, 2, 9])
def test_upsample3_linear_equals_torch(torch, time):
    x = noise(2, time, 3)
    signal = torch.from_numpy(x).transpose(1, 2)
    theirs = torch.nn.functional.interpolate(signal, scale_factor=3, mode="linear")
    for upsampled in (plain.upsample3_linear, linear_upsampling.upsample3_linear):
        assert error(_compiled(upsampled, x), theirs.transpose(1, 2)) < TOLERANCE


@pytest.mark.parametrize(("time", "taps"), [(1, 3), (9, 1), (9, 3), (27, 9)])
def test_upsample3_linear_conv1d_equals_torch(torch, form, time, taps):
    x, kernel = noise(2, time, 3), noise(taps, 3, 4, seed=1)
    signal = torch.from_numpy(x).transpose(1, 2)
    upsampled = torch.nn.functional.interpolate(signal, scale_factor=3, mode="linear")
    theirs = _in_torch(
        torch,
        torch.nn.functional.conv1d,
        upsampled.transpose(1, 2).numpy(),
        kernel,
        padding=taps // 2,
    )
    assert error(_compiled(form.upsample3_linear_conv1d, x, kernel), theirs) < TOLERANCE
