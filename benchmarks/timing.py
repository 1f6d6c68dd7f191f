"""Timing programs in turns, so that whatever else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

MATRIX_SIZE = 2048


def interleaved(programs: dict[str, Callable[[], object]], num_rounds: int) -> dict[str, float]:
    """Median seconds of each program, each called once before and then once in every round.

    A program returns what is to be waited for; JAX computes in the background.
    """
    seconds = {name: [] for name in programs}
    for program in programs.values():
        jax.block_until_ready(program())
    for _ in range(num_rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def matrix_product() -> tuple[Callable[[], object], float]:
    """A float32 product of two square matrices, the machine's yardstick, and its GFLOP."""
    square = jnp.ones((MATRIX_SIZE, MATRIX_SIZE), jnp.float32)
    product = jax.jit(lambda a, b: a @ b)
    return lambda: product(square, square), 2 * MATRIX_SIZE**3 / 1e9


def gflop(compiled) -> float:
    """What XLA counts for a compiled program."""
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    return cost.get("flops", float("nan")) / 1e9
