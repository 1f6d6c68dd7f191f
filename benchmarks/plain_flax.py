"""Our model in plain Flax's forms: what nnx.Conv computes, and jnp.repeat before it.

They are the plain forms of models/, which an accelerator is given; here the CPU runs them. A whole
batch goes through each layer at once, and everything else is the same.
"""

from collections.abc import Callable

from qvae_jax.system import platforms


def made(make: Callable, function: Callable, *arguments):
    """make(function, *arguments), while function is traced with plain forms."""
    with platforms.compiling_for("plain"):
        return make(function, *arguments)
