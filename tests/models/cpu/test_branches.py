"""Branches and the layer that mixes them as one convolution, against one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from filled import error
from forms import noise
from qvae_jax.models import layers, plain, variables
from qvae_jax.models.cpu import branches


class Mixed(layers.nnx.Module):
    """Three branches of different taps, and the layer of one tap after them."""

    def __init__(self):
        rng = np.random.default_rng(0)
        parts = dict(kernel_init=lambda rng, shape: noise(*shape, seed=sum(shape)), rng=rng)
        self.branches = layers.nnx.List(layers.Conv1d(4, 2, taps, **parts) for taps in (3, 7, 15))
        self.output = layers.Conv1d(6, 1, 1, **parts)
        for seed, layer in enumerate([*self.branches, self.output]):
            layer.bias.set_value(jnp.asarray(noise(len(layer.bias[...]), seed=seed)))


@pytest.mark.parametrize("time", [1, 5, 40])
def test_one_convolution_is_all_of_them(time):
    structure, drawn = variables.split(Mixed())
    x, weights = noise(2, time, 4), noise(2, time, 1, seed=1)

    def weighed(form):
        def total(x, params):
            model = variables.merge(structure, drawn._replace(params=params))
            y = form.mixed_branches(x, model.branches, model.output)
            return jnp.sum(weights * y), y

        return jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(x, drawn.params)

    ours, theirs = weighed(branches), weighed(plain)
    for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert error(mine, other) < 1e-5
