"""Linear upsampling against torch's, and the convolution computed before it against after it."""

import importlib

import jax
import jax.numpy as jnp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filled import error
from forms import TOLERANCE, assert_same_forms, noise
from qvae_jax.models import linear_upsampling


@pytest.mark.parametrize("time", [1, 2, 9])
def test_upsample3_linear_equals_torch(time):
    pytest.importorskip("torch", reason="compares with torch's interpolation")
    torch = importlib.import_module("torch")
    x = noise(2, time, 3)
    signal = torch.from_numpy(x).transpose(1, 2)
    theirs = torch.nn.functional.interpolate(signal, scale_factor=3, mode="linear")
    assert error(linear_upsampling.upsample3_linear(x), theirs.transpose(1, 2)) < TOLERANCE


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    time=st.integers(1, 20),
    taps=st.sampled_from([1, 3, 5, 7, 9]),
    num_in=st.integers(1, 5),
    num_out=st.integers(1, 5),
)
@example(batch=1, time=1, taps=1, num_in=1, num_out=1)
@example(batch=1, time=1, taps=9, num_in=2, num_out=3)
@example(batch=2, time=6, taps=3, num_in=2, num_out=1)
@example(batch=2, time=5, taps=3, num_in=2, num_out=1)
@example(batch=1, time=12, taps=9, num_in=2, num_out=2)
@example(batch=2, time=729, taps=9, num_in=16, num_out=8)
def test_convolving_before_upsampling_is_convolving_after_it(batch, time, taps, num_in, num_out):
    assert_same_forms(
        linear_upsampling.upsampled_conv1d,
        linear_upsampling.upsampled_conv1d_plainly,
        noise(batch, time, num_in),
        noise(taps, num_in, num_out, seed=1),
    )


def _traced() -> str:
    # A function of its own each time: JAX remembers what it traced by the function's identity.
    form = lambda x, kernel: linear_upsampling.upsampled_conv1d(x, kernel)
    return str(jax.make_jaxpr(form)(jnp.ones((1, 81, 4)), jnp.ones((3, 4, 5))))


def test_it_takes_a_third_of_the_products():
    assert "f32[1,83,15] = dot_general" in _traced()


def test_another_platform_keeps_the_plain_form(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "dot_general" not in _traced()
