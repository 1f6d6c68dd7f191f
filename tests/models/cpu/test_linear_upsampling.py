"""A convolution computed before linear upsampling against one after it."""

import jax
import jax.numpy as jnp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forms import assert_same_forms, noise
from qvae_jax.models import plain
from qvae_jax.models.cpu import linear_upsampling


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
        linear_upsampling.upsample3_linear_conv1d,
        plain.upsample3_linear_conv1d,
        noise(batch, time, num_in),
        noise(taps, num_in, num_out, seed=1),
    )


def test_it_takes_a_third_of_the_products():
    form = linear_upsampling.upsample3_linear_conv1d
    program = jax.make_jaxpr(form)(jnp.ones((1, 81, 4)), jnp.ones((3, 4, 5)))
    assert "f32[1,83,15] = dot_general" in str(program)
