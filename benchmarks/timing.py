"""Timing programs in turns, so that whatever else the machine does falls on all of them alike."""

import contextlib
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

MATRIX_SIZE = 2048


def interleaved(programs: dict[str, Callable[[], object]], num_rounds: int) -> dict[str, float]:
    """Median seconds of each program, called twice in every round and timed the second time.

    The first call clears away what the program before it left: its data in the caches, and OpenMP
    workers, which keep a core busy for about 16 ms after PyTorch's turn. A program returns what is
    to be waited for, because JAX computes in the background.
    """
    seconds = {name: [] for name in programs}
    for _ in range(num_rounds):
        for name, program in programs.items():
            jax.block_until_ready(program())
            start = time.perf_counter()
            jax.block_until_ready(program())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def serve(program: Callable[[], object]) -> None:
    """Takes turns until standard input ends: for each line, prints the seconds of one call.

    The program is called twice in a turn, and the second call is timed.
    """
    for _ in sys.stdin:
        print(interleaved({"": program}, 1)[""], flush=True)


class Side:
    """A program in its own process, with its own memory and environment, that takes turns.

    The process prints one line when it is ready, and then runs `serve`.
    """

    def __init__(self, command: list[str], environment: dict[str, str]):
        self._process = subprocess.Popen(
            command, bufsize=0, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.ready_line = self._line()

    def turn(self) -> float:
        """Seconds of one call."""
        with contextlib.suppress(BrokenPipeError):  # the process has ended, and _line says so
            self._process.stdin.write(b"\n")
        return float(self._line())

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _line(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self._process.args)} ended early")
        return line.decode()


def in_turns(sides: dict[str, Side], num_rounds: int) -> dict[str, float]:
    """Median seconds of each side, whose processes take turns."""
    rounds = [{name: side.turn() for name, side in sides.items()} for _ in range(num_rounds)]
    return {name: statistics.median(seconds[name] for seconds in rounds) for name in sides}


def matrix_product() -> tuple[Callable[[], object], float]:
    """A float32 product of two square matrices, as a yardstick of the machine, and its GFLOP."""
    square = jnp.ones((MATRIX_SIZE, MATRIX_SIZE), jnp.float32)
    product = jax.jit(lambda a, b: a @ b)
    return lambda: product(square, square), 2 * MATRIX_SIZE**3 / 1e9


def gflop(function: Callable, *arguments) -> float:
    """The GFLOP of a function's matrix products and convolutions, counted in each pass of a loop.

    Fourier transforms and element-wise operations are left out. XLA's own count, of the compiled
    program, counts the body of a loop only once.
    """
    return _flop(jax.make_jaxpr(function)(*arguments).jaxpr) / 1e9


def _flop(jaxpr) -> float:
    return sum(_flop_of(equation) for equation in jaxpr.eqns)


def _flop_of(equation) -> float:
    if equation.primitive is lax.dot_general_p:
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        summed = math.prod(shape[axis] for axis in contracted)
        return 2 * equation.outvars[0].aval.size * summed
    if equation.primitive is lax.conv_general_dilated_p:
        kernel = equation.invars[1].aval
        output_axis = equation.params["dimension_numbers"].rhs_spec[0]
        summed = kernel.size / kernel.shape[output_axis]
        return 2 * equation.outvars[0].aval.size * summed
    times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
    return times * sum(map(_flop, core.jaxprs_in_params(equation.params)))
