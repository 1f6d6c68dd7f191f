"""The decoders' activation: its values and slopes."""

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.models.activations import leaky_relu


def test_leaky_relu():
    """Its gradient at zero is torch's, which is not JAX's own."""
    x = jnp.asarray([-2.0, -0.5, 0.0, 3.0])
    np.testing.assert_allclose(leaky_relu(x), [-0.2, -0.05, 0.0, 3.0], rtol=1e-6)
    gradient = jax.vmap(jax.grad(leaky_relu))(x)
    np.testing.assert_allclose(gradient, [0.1, 0.1, 0.1, 1.0], rtol=1e-6)
