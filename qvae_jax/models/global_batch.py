"""Means, sums, rows and random draws of a batch that may be cut among devices.

Inside jax.pmap or jax.shard_map, axis_name names the axis along which the batch is cut into equal
parts, and the results are those of the whole batch, the same on every device. With None, the whole
batch is here.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def mean(x: jax.Array, axes: tuple[int, ...] | None, axis_name: str | None) -> jax.Array:
    """The mean over these axes, of which the examples' is one; over all axes where None."""
    here = jnp.mean(x, axes)
    return here if axis_name is None else jax.lax.pmean(here, axis_name)


def total(x: jax.Array, axis_name: str | None) -> jax.Array:
    """The sum of all elements. Scalar."""
    here = jnp.sum(x)
    return here if axis_name is None else jax.lax.psum(here, axis_name)


def num_parts(axis_name: str | None) -> int:
    """Into how many parts the batch is cut."""
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def first_row(num_here: int, axis_name: str | None) -> jax.Array | int:
    """The place in the whole batch of the first of the rows that are here."""
    return 0 if axis_name is None else jax.lax.axis_index(axis_name) * num_here


def all_rows(x: jax.Array, axis_name: str | None) -> jax.Array:
    """The rows of the whole batch, [rows, …], of those that are here."""
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def draw(
    sample: Callable[[tuple[int, ...]], jax.Array], shape: tuple[int, ...], axis_name: str | None
) -> jax.Array:
    """sample(shape), its first axis being this device's examples.

    Drawn for the whole batch and then cut, so that an example gets the same numbers on any number
    of devices.
    """
    if axis_name is None:
        return sample(shape)
    num_here, *rest = shape
    whole = sample((num_parts(axis_name) * num_here, *rest))
    first = first_row(num_here, axis_name)
    return jax.lax.dynamic_slice_in_dim(whole, first, num_here)
