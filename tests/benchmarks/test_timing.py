"""The arithmetic that benchmarks count."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import timing

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))
IMAGE, KERNEL = jnp.ones((1, 6, 6, 4)), jnp.ones((3, 3, 2, 8))


def _product(a, b):
    return a @ b


def _grouped_convolution(x, kernel):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )


@pytest.mark.parametrize(
    ("function", "arguments", "flop"),
    [
        (_product, (A, B), 2 * 3 * 4 * 5),
        (jax.jit(_product), (A, B), 2 * 3 * 4 * 5),
        (lambda a, b: lax.map(lambda row: row @ b, a), (A, B), 2 * 3 * 4 * 5),
        (jax.grad(lambda a, b: jnp.sum(_product(a, b) ** 2)), (A, B), 2 * 2 * 3 * 4 * 5),
        (_grouped_convolution, (IMAGE, KERNEL), 2 * 4 * 4 * 8 * 3 * 3 * 2),
        (jnp.tanh, (A,), 0),
    ],
    ids=["product", "jit", "loop", "gradient", "groups", "elements"],
)
def test_gflop(function, arguments, flop):
    assert timing.gflop(function, *arguments) == pytest.approx(flop / 1e9)
