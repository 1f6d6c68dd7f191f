"""The peer in plain forms computes what nnx.Conv does, and what the fast forms do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks import plain_flax
from filled import error
from qvae_jax.models import forms


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _conv(kernel, **options):
    """nnx.Conv without bias, of this kernel."""
    *taps, num_in, num_out = kernel.shape
    num_in *= options.get("feature_group_count", 1)
    conv = nnx.Conv(num_in, num_out, taps, use_bias=False, rngs=nnx.Rngs(0), **options)
    conv.kernel.set_value(jnp.asarray(kernel))
    return conv


def _upsampled(x, kernel):
    return _conv(kernel, padding=1)(jnp.repeat(x, 3, axis=1))


def _depthwise(x, kernel):
    options = {"strides": 2, "padding": 2, "feature_group_count": x.shape[-1]}
    return _conv(kernel, **options)(x)


def _transposed(x, kernel):
    options = {"strides": 3, "padding": "VALID", "use_bias": False}
    conv = nnx.ConvTranspose(*kernel.shape[1:], [3], rngs=nnx.Rngs(0), **options)
    conv.kernel.set_value(jnp.asarray(kernel[::-1]))
    return conv(x)


CASES = {
    "upsampling": (
        lambda x, kernel: forms.upsample3_conv1d(x, kernel),
        _upsampled,
        _noise(2, 9, 4),
        _noise(3, 4, 5),
    ),
    "transposed": (
        lambda x, kernel: forms.transposed_conv1d_stride3(x, kernel),
        _transposed,
        _noise(2, 9, 4),
        _noise(3, 4, 5),
    ),
    "depthwise": (
        lambda x, kernel: forms.depthwise_conv2d(x, kernel, stride=2),
        _depthwise,
        _noise(2, 9, 8, 6),
        _noise(5, 5, 1, 6),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_nnx_conv(name):
    function, flax, x, kernel = CASES[name]
    plain = plain_flax.made(lambda f, *arrays: jax.jit(f)(*arrays), function, x, kernel)
    assert error(plain, flax(x, kernel)) < 1e-6
    assert error(function(x, kernel), plain) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_plain_convolution_whatever_was_traced_before(name):
    function, _, x, kernel = CASES[name]
    num_convolutions = lambda f, *arrays: str(jax.make_jaxpr(f)(*arrays)).count(
        "conv_general_dilated["
    )
    assert num_convolutions(function, x, kernel) == 0
    jax.jit(function)(x, kernel)
    assert plain_flax.made(num_convolutions, function, x, kernel) == 1
    assert num_convolutions(function, x, kernel) == 0
