"""Modules as flat dicts of arrays and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qvae_jax.models import layers, mobilenet, variables


class Pair(nnx.Module):
    """A list of two layers and a BatchNorm: each way a path can be built."""

    def __init__(self):
        rng = np.random.default_rng(0)
        init = lambda rng, shape: rng.standard_normal(shape).astype(np.float32)
        self.maps = nnx.List(layers.Linear(3, 3, kernel_init=init, rng=rng) for _ in range(2))
        self.norm = layers.BatchNorm(3, epsilon=1e-5, momentum=0.1)

    def __call__(self, x, *, train):
        """Both maps, then the norm."""
        for linear in self.maps:
            x = linear(x)
        return self.norm(x, train=train)


X = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)


def test_split_names_every_array_by_its_dotted_path():
    _, (params, batch_stats) = variables.split(Pair())
    assert set(params) == {
        "maps.0.bias",
        "maps.0.kernel",
        "maps.1.bias",
        "maps.1.kernel",
        "norm.bias",
        "norm.scale",
    }
    assert set(batch_stats) == {"norm.mean", "norm.var"}
    assert params["maps.1.kernel"].shape == (3, 3)


def test_names_come_in_the_order_in_which_layers_were_given():
    module = Pair()
    names = variables.names_in_order(module)
    assert sorted(names) == sorted(variables.split(module)[1].params)
    assert list(dict.fromkeys(name.rpartition(".")[0] for name in names)) == [
        "maps.0",
        "maps.1",
        "norm",
    ]
    module.before = layers.BatchNorm(3, epsilon=1e-5, momentum=0.1)
    assert variables.names_in_order(module)[-1].startswith("before.")


def test_merge_gives_the_same_module():
    module = Pair()
    again = variables.merge(*variables.split(module))
    np.testing.assert_array_equal(again(X, train=False), module(X, train=False))
    assert isinstance(again.maps[0], layers.Linear)


def test_merge_takes_the_arrays_it_is_given():
    graphdef, given = variables.split(Pair())
    changed = given._replace(params=given.params | {"norm.bias": jnp.full(3, 7.0)})
    difference = variables.merge(graphdef, changed)(X, train=False) - variables.merge(
        graphdef, given
    )(X, train=False)
    np.testing.assert_allclose(difference, 7.0, rtol=1e-5)


def test_batch_stats_are_those_that_training_moved():
    graphdef, start = variables.split(Pair())

    @jax.jit
    def train(given, x):
        module = variables.merge(graphdef, given)
        module(x, train=True)
        return variables.batch_stats(module)

    moved = train(start, X)
    assert set(moved) == set(start.batch_stats)
    assert all(np.abs(moved[name] - start.batch_stats[name]).max() > 0 for name in moved)
    # The variables that went in are as they were: a step changes nothing behind its caller's back.
    np.testing.assert_array_equal(start.batch_stats["norm.mean"], 0.0)


def test_structure_is_static_and_hashable():
    (first, _), (second, _) = variables.split(Pair()), variables.split(Pair())
    assert first == second and hash(first) == hash(second)


@pytest.mark.parametrize("width", [0.1, 1.0])
def test_whole_network_round_trip(width):
    graphdef, given = variables.split(mobilenet.MobileNetV3(width, rng=None))
    again_graphdef, again = variables.split(variables.merge(graphdef, given))
    assert again_graphdef == graphdef
    for before, after in zip(given, again, strict=True):
        assert list(before) == list(after)
        assert all(
            before[name] is after[name] or np.array_equal(before[name], after[name])
            for name in before
        )
    assert len(given.params) > 100
