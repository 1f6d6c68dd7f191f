"""A convolution of each channel as a sum of shifted copies."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_as_shifted_sum(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """plain.depthwise_conv2d as a sum over taps of shifted, scaled copies of the input.

    An input of one channel goes to all channels of the kernel, as in plain.conv2d. The gradient is
    written out because JAX's own passes over the map once for every tap.
    """
    half = len(kernel) // 2
    padded = jnp.pad(x, [(0, 0), (half, half), (half, half), (0, 0)])
    shape = _strided_shape(x, stride)
    return sum(
        _every(padded, (i, j), shape, stride) * kernel[i, j, 0]
        for i, j in itertools.product(range(len(kernel)), repeat=2)
    )


def _depthwise_gradients(stride: int, saved: tuple[jax.Array, jax.Array], cotangent: jax.Array):
    x, kernel = saved
    by_input = _depthwise_gradient_by_input(x.shape, kernel, cotangent, stride)
    if x.shape[-1] == 1:
        by_input = jnp.sum(by_input, -1, keepdims=True)
    return by_input, _depthwise_gradient_by_kernel(x, kernel, cotangent, stride)


def _depthwise_gradient_by_input(input_shape, kernel, cotangent, stride: int) -> jax.Array:
    """For each remainder of row and column divided by stride, a shifted sum of the cotangent."""
    half, reach = len(kernel) // 2, len(kernel) // stride + 1
    shape = cotangent.shape[1:3]
    padded = jnp.pad(cotangent, [(0, 0), (reach, reach), (reach, reach), (0, 0)])

    def read_by(phase: int) -> list[tuple[int, int]]:
        """(tap, place in padded) of the results that read rows, or columns, of this remainder."""
        taps = [tap for tap in range(len(kernel)) if (phase + half - tap) % stride == 0]
        return [(tap, reach + (phase + half - tap) // stride) for tap in taps]

    def of_phase(row: int, column: int) -> jax.Array:
        return sum(
            (
                _every(padded, (top, left), shape, 1) * kernel[i, j, 0]
                for (i, top), (j, left) in itertools.product(read_by(row), read_by(column))
            ),
            start=jnp.zeros((), cotangent.dtype),
        )

    batch, height, width, _ = input_shape
    channels = cotangent.shape[-1]
    if stride == 1:
        return of_phase(0, 0)
    phases = [
        [
            jnp.broadcast_to(of_phase(row, column), (batch, *shape, channels))
            for column in range(stride)
        ]
        for row in range(stride)
    ]
    interleaved = jnp.stack([jnp.stack(columns, axis=3) for columns in phases], axis=2)
    whole = interleaved.reshape(batch, stride * shape[0], stride * shape[1], channels)
    return whole[:, :height, :width]


def _depthwise_gradient_by_kernel(x, kernel, cotangent, stride: int) -> jax.Array:
    """For each tap, the sum over all places of the cotangent times what it read, in one pass."""
    half = len(kernel) // 2
    padded = jnp.pad(x, [(0, 0), (half, half), (half, half), (0, 0)])
    shape = _strided_shape(x, stride)
    of_tap = tuple(
        _every(padded, (i, j), shape, stride) * cotangent
        for i, j in itertools.product(range(len(kernel)), repeat=2)
    )
    zeros = (jnp.zeros((), x.dtype),) * len(of_tap)
    # Along a row first, where the taps at one place read much of what they read at the next.
    sums = lax.reduce(of_tap, zeros, lambda a, b: [p + q for p, q in zip(a, b)], (2,))
    return jnp.sum(jnp.stack(sums), (1, 2)).reshape(kernel.shape)


depthwise_as_shifted_sum.defvjp(
    lambda x, kernel, stride: (depthwise_as_shifted_sum(x, kernel, stride), (x, kernel)),
    _depthwise_gradients,
)


def _strided_shape(x: jax.Array, stride: int) -> tuple[int, int]:
    """Height and width of a convolution's result."""
    return -(-x.shape[1] // stride), -(-x.shape[2] // stride)


def _every(x: jax.Array, first: tuple[int, int], shape: tuple[int, int], stride: int) -> jax.Array:
    """x [batch, height, width, C] at places stride apart: as many as shape says, from first on."""
    # The program that indexing gives too, but traced in half of the time.
    ends = [start + stride * (count - 1) + 1 for start, count in zip(first, shape)]
    strides = (1, stride, stride, 1)
    return lax.slice(x, (0, *first, 0), (len(x), *ends, x.shape[3]), strides)
