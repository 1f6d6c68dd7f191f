"""Our model in plain Flax's forms: what nnx.Conv computes, and jnp.repeat before it.

The fast forms are swapped for the plain ones in place, so that everything else is the same. A
whole batch goes through each layer at once.
"""

from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax

from qvae_jax.models import convolutions
from qvae_jax.system import platforms


def made(make: Callable, function: Callable, *arguments):
    """make(function, *arguments), while function is traced with plain forms."""

    # JAX remembers what it has traced by the function's identity, so this one has its own.
    def plain(*given):
        return function(*given)

    with (
        mock.patch.object(platforms, "on_cpu", lambda: False),
        mock.patch.multiple(
            convolutions,
            upsample3_conv1d=_upsample3_conv1d,
            transposed_conv1d_stride3=_transposed_conv1d_stride3,
        ),
    ):
        return make(plain, *arguments)


def _upsample3_conv1d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolutions.conv1d(jnp.repeat(x, 3, axis=1), kernel)


def _transposed_conv1d_stride3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_transpose(
        x, kernel[::-1], (3,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
    )
