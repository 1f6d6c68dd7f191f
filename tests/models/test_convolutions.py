"""Fast forms of convolutions against plain ones and torch's, results and gradients alike."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from filled import error
from forms import TOLERANCE, assert_same_forms, noise
from qvae_jax.models import convolutions


def _plain_upsample3_conv1d(x, kernel):
    return convolutions.conv1d(jnp.repeat(x, 3, axis=1), kernel)


def _plain_depthwise_conv2d(x, kernel, stride):
    half = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(half, half)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


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
def test_upsample3_conv1d(batch, time, taps, num_in, num_out):
    x, kernel = noise(batch, time, num_in), noise(taps, num_in, num_out, seed=1)
    assert_same_forms(convolutions.upsample3_conv1d, _plain_upsample3_conv1d, x, kernel)


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
def test_same_length_convolve(time, taps, dilation, num_in, num_out):
    def plain(x, kernel):
        half = dilation * (taps // 2)
        return lax.conv_general_dilated(
            x,
            kernel,
            (1,),
            [(half, half)],
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )

    reads = convolutions.same_length(taps, dilation)
    x, kernel = noise(2, time, num_in), noise(taps, num_in, num_out, seed=1)
    assert_same_forms(lambda x, kernel: convolutions.convolve(x, kernel, reads), plain, x, kernel)


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
        lambda x, kernel: convolutions.depthwise_as_shifted_sum(x, kernel, stride),
        lambda x, kernel: _plain_depthwise_conv2d(x, kernel, stride),
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
        cotangent = np.asarray(_plain_depthwise_conv2d(x, kernel, stride)) + 1.0
        ours, theirs = (
            gradients(form, x, kernel, cotangent)
            for form in (convolutions.depthwise_as_shifted_sum, _plain_depthwise_conv2d)
        )
    for mine, other in zip(ours, theirs, strict=True):
        assert error(mine, other) < 1e-12


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (2, 3, 5)])
def test_conv2d_by_1x1(batch, height, width):
    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    x, kernel = noise(batch, height, width, 3), noise(1, 1, 3, 4, seed=1)
    assert_same_forms(convolutions.conv2d, plain, x, kernel)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (2, 7, 10)])
def test_conv2d_of_one_channel(batch, height, width, stride):
    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride,) * 2, [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    x, kernel = noise(batch, height, width, 1), noise(3, 3, 1, 4, seed=1)
    fast = functools.partial(convolutions.conv2d, stride=stride)
    assert_same_forms(fast, plain, x, kernel)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_depthwise_conv2d_agrees_on_every_backend(backend, monkeypatch):
    x, kernel = noise(2, 9, 10, 4), noise(3, 3, 1, 4, seed=1)
    plain = _plain_depthwise_conv2d(x, kernel, 2)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert error(convolutions.depthwise_conv2d(x, kernel, stride=2), plain) < TOLERANCE


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("torch", reason="compares with torch's convolutions")
    return importlib.import_module("torch")


def _in_torch(torch, convolve, x, kernel, **options):
    """A torch convolution of our arrays, and its result in our axes."""
    channels_first = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    weight = torch.from_numpy(np.moveaxis(kernel, (-1, -2), (0, 1)).copy())
    return np.moveaxis(convolve(channels_first, weight, **options).numpy(), 1, -1)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("time", "taps"), [(1, 3), (10, 1), (10, 3), (27, 9), (28, 15)])
def test_conv1d_equals_torch(torch, time, taps, dilation):
    x, kernel = noise(2, time, 3), noise(taps, 3, 4, seed=1)
    padding = dilation * (taps // 2)
    theirs = _in_torch(
        torch, torch.nn.functional.conv1d, x, kernel, padding=padding, dilation=dilation
    )
    assert error(convolutions.conv1d(x, kernel, dilation=dilation), theirs) < TOLERANCE


@pytest.mark.parametrize("taps", [1, 3, 5])
def test_upsample3_conv1d_equals_torch(torch, taps):
    x, kernel = noise(2, 9, 3), noise(taps, 3, 4, seed=1)
    repeated = np.repeat(x, 3, axis=1)
    theirs = _in_torch(torch, torch.nn.functional.conv1d, repeated, kernel, padding=taps // 2)
    assert error(convolutions.upsample3_conv1d(x, kernel), theirs) < TOLERANCE


@pytest.mark.parametrize("time", [1, 2, 9])
def test_transposed_conv1d_stride3_equals_torch(torch, time):
    x, kernel = noise(2, time, 3), noise(3, 3, 4, seed=1)
    signal = torch.from_numpy(x).transpose(1, 2)
    weight = torch.from_numpy(kernel).permute(1, 2, 0)  # torch's [in, out, taps]
    theirs = torch.nn.functional.conv_transpose1d(signal, weight, stride=3).transpose(1, 2)
    assert error(convolutions.transposed_conv1d_stride3(x, kernel), theirs) < TOLERANCE


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "size"), [(8, 9, 1), (8, 9, 3), (7, 6, 5), (1, 2, 3)])
def test_conv2d_equals_torch(torch, height, width, size, stride):
    x, kernel = noise(2, height, width, 3), noise(size, size, 3, 4, seed=1)
    theirs = _in_torch(
        torch, torch.nn.functional.conv2d, x, kernel, padding=size // 2, stride=stride
    )
    assert error(convolutions.conv2d(x, kernel, stride=stride), theirs) < TOLERANCE


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "size"), [(8, 9, 3), (7, 6, 5), (1, 1, 5)])
def test_depthwise_conv2d_equals_torch(torch, height, width, size, stride):
    x, kernel = noise(2, height, width, 4), noise(size, size, 1, 4, seed=1)
    options = dict(padding=size // 2, stride=stride, groups=4)
    theirs = _in_torch(torch, torch.nn.functional.conv2d, x, kernel, **options)
    assert error(convolutions.depthwise_conv2d(x, kernel, stride=stride), theirs) < TOLERANCE
