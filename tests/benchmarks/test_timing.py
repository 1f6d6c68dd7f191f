"""The arithmetic that benchmarks count, and processes that take turns."""

import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import timing

REPOSITORY = pathlib.Path(__file__).parents[2]
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


# A program that returns after a while, and one that ends before its first turn.
TAKES_A_WHILE = """
import time
from benchmarks import timing
print("ready for", __import__("os").environ["WHOM"], flush=True)
timing.serve(lambda: time.sleep(0.05))
"""
ENDS = "print('ready', flush=True)"


def _side(program: str, whom: str = "") -> timing.Side:
    environment = os.environ | {"WHOM": whom, "PYTHONPATH": str(REPOSITORY)}
    return timing.Side([sys.executable, "-c", program], environment)


def test_sides_take_turns_in_environments_of_their_own():
    sides = {whom: _side(TAKES_A_WHILE, whom) for whom in ("ours", "theirs")}
    assert [side.ready_line for side in sides.values()] == [
        "ready for ours\n",
        "ready for theirs\n",
    ]
    seconds = timing.in_turns(sides, 2)
    assert seconds.keys() == sides.keys()
    assert all(0.05 <= value < 50 for value in seconds.values())  # seconds, not milliseconds
    for side in sides.values():
        side.close()


def test_a_side_that_ends_early_is_named():
    side = _side(ENDS)
    with pytest.raises(SystemExit, match="print.'ready'.* ended early"):
        side.turn()
    side.close()
