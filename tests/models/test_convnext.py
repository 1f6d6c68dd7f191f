"""ConvNeXt blocks over time, beside the same in NumPy's double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from filled import error
from forms import noise
from qvae_jax.models import initializers, variables
from qvae_jax.models.convnext import EPSILON, TAPS, ConvNeXtBlock, LayerNorm

CHANNELS, LATENT = 5, 3


def _block(dilation: int = 1, latent_dim: int = LATENT, expansion: int = 3):
    """A block's structure and its arrays, of which none is zero."""
    block = ConvNeXtBlock(
        CHANNELS,
        dilation=dilation,
        latent_dim=latent_dim,
        expansion=expansion,
        rng=np.random.default_rng(0),
    )
    structure, given = variables.split(block)
    rng = np.random.default_rng(1)
    shaken = {
        name: np.asarray(array + 0.3 * rng.standard_normal(array.shape), np.float32)
        for name, array in given.params.items()
    }
    return structure, given._replace(params=shaken)


def _applied(structure: nnx.GraphDef):
    return jax.jit(lambda given, *inputs: variables.merge(structure, given)(*inputs))


def _in_numpy(params, x, z, dilation: int) -> np.ndarray:
    """[time, channels] of one sound, tap after tap."""
    p = {name: np.asarray(array, np.float64) for name, array in params.items()}
    y = np.tile(p["bias"], (len(x), 1))
    for time in range(len(x)):
        for tap in range(TAPS):
            source = time + (tap - TAPS // 2) * dilation
            if 0 <= source < len(x):
                y[time] += p["taps"][tap, 0] * x[source]
    y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + EPSILON)
    y = y * p["norm.scale"] + p["norm.bias"]
    if z is not None:
        scale, shift = np.split(z @ p["film.kernel"] + p["film.bias"], 2)
        y = y * (1 + scale) + shift
    y = y @ p["up.kernel"] + p["up.bias"]
    y = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    return x + y @ p["down.kernel"] + p["down.bias"]


@pytest.mark.parametrize(("dilation", "length"), [(1, 9), (2, 9), (4, 9), (4, 2)])
@pytest.mark.parametrize("latent_dim", [0, LATENT])
def test_it_is_the_same_in_numpy(dilation, length, latent_dim):
    structure, given = _block(dilation, latent_dim)
    x = noise(2, length, CHANNELS)
    z = noise(2, LATENT, seed=1) if latent_dim else None
    ours = _applied(structure)(given, x, z)
    for number, of_one in enumerate(ours):
        own = None if z is None else z[number]
        assert error(of_one, _in_numpy(given.params, x[number], own, dilation)) < 1e-5


def test_what_comes_after_the_end_changes_nothing_before_it():
    structure, given = _block(dilation=2)
    apply, x, z = _applied(structure), noise(3, 12, CHANNELS), noise(3, LATENT, seed=1)
    lengths = np.array([4, 11, 12])
    valid = np.arange(12) < lengths[:, None]
    poisoned = np.where(valid[..., None], x, np.float32(np.nan))
    padded = apply(given, poisoned, z, valid)
    for number, length in enumerate(lengths):
        alone = apply(given, x[number : number + 1, :length], z[number : number + 1])
        assert error(padded[number, :length], alone[0]) < 1e-6


def test_its_arrays():
    for latent_dim, expansion in ((0, 3), (LATENT, 3), (LATENT, 2)):
        _, given = _block(latent_dim=latent_dim, expansion=expansion)
        wide = expansion * CHANNELS
        expected = CHANNELS * (TAPS + 1) + 2 * CHANNELS  # taps and bias, LayerNorm
        expected += 2 * CHANNELS * wide + wide + CHANNELS  # the two pointwise layers
        expected += 2 * CHANNELS * (latent_dim + 1) if latent_dim else 0
        assert sum(array.size for array in given.params.values()) == expected
        assert not given.batch_stats


def test_a_latent_may_move_nothing_before_it_is_learnt():
    parts = {"film_init": initializers.zeros, "rng": np.random.default_rng(0)}
    block = ConvNeXtBlock(CHANNELS, latent_dim=LATENT, **parts)
    x = noise(2, 9, CHANNELS)
    ours = [np.asarray(block(x, noise(2, LATENT, seed=seed))) for seed in (1, 2)]
    np.testing.assert_array_equal(*ours)
    assert not np.any(block.film.kernel[...])


def test_every_array_learns():
    structure, given = _block()
    x, z = noise(2, 9, CHANNELS), noise(2, LATENT, seed=1)

    def energy(params):
        return jnp.sum(jnp.sin(variables.merge(structure, given._replace(params=params))(x, z)))

    gradient = jax.jit(jax.grad(energy))(given.params)
    for name, array in gradient.items():
        assert np.isfinite(array).all() and np.any(array), name


def test_the_norm_is_over_the_channels_of_each_frame():
    x = 100 + 7 * noise(2, 4, 64)
    y = LayerNorm(64)(x)
    np.testing.assert_allclose(np.mean(y, axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(np.var(y, axis=-1), 1, rtol=1e-4)
    # Of equal channels nothing is left, and nothing is divided by zero.
    np.testing.assert_array_equal(LayerNorm(8)(np.full((1, 2, 8), 3.0, np.float32)), 0)


def test_in_bfloat16_the_norm_is_computed_in_float32():
    x = (100 + noise(1, 4, 64)).astype(jnp.bfloat16)  # steps of a half: a bfloat16 mean is lost
    y = LayerNorm(64)(x)
    assert y.dtype == jnp.bfloat16
    assert error(y, LayerNorm(64)(x.astype(np.float32))) < 2**-8
    structure, given = _block()
    z = noise(1, LATENT).astype(jnp.bfloat16)
    assert _applied(structure)(given, x[..., :CHANNELS], z).dtype == jnp.bfloat16
