"""BatchNorm, Linear and Conv1d against torch's; what standardises."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from filled import error
from qvae_jax.models import layers, variables

TOLERANCE = 1e-5


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _drawn(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


def _batch_norm(num_channels: int, **options):
    """A BatchNorm away from its start, as (graphdef, variables)."""
    graphdef, start = variables.split(layers.BatchNorm(num_channels, **options))
    params = {"scale": 1 + 0.1 * _noise(num_channels), "bias": _noise(num_channels, seed=1)}
    stats = {"mean": _noise(num_channels, seed=2), "var": 1 + _noise(num_channels, seed=3) ** 2}
    assert set(start.params) == set(params) and set(start.batch_stats) == set(stats)
    return graphdef, variables.Variables(params, stats)


def test_batch_norm_starts_as_the_identity():
    norm = layers.BatchNorm(4, epsilon=0.0, momentum=0.1)
    x = _noise(3, 5, 4)
    np.testing.assert_allclose(norm(x, train=False), x, rtol=1e-6)


SHAPES = [(2, 3), (4, 7, 3), (2, 5, 6, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("epsilon", "momentum"), [(1e-3, 0.01), (1e-5, 0.1)])
def test_batch_norm_equals_torch_over_two_calls(shape, epsilon, momentum):
    pytest.importorskip("torch", reason="compares with torch's BatchNorm")
    torch = importlib.import_module("torch")
    graphdef, start = _batch_norm(shape[-1], epsilon=epsilon, momentum=momentum)
    norm = variables.merge(graphdef, start)
    scale, bias, mean, var = (
        torch.from_numpy(np.array(array)) for group in start for array in group.values()
    )
    inputs = [3 * _noise(*shape, seed=seed) + 2 for seed in (4, 5)]
    for train, x in zip((True, True, False), (*inputs, inputs[0])):
        theirs = torch.nn.functional.batch_norm(
            torch.from_numpy(np.moveaxis(x, -1, 1).copy()),
            *(mean, var, scale, bias),
            training=train,
            momentum=momentum,
            eps=epsilon,
        )
        assert error(norm(x, train=train), np.moveaxis(theirs.numpy(), 1, -1)) < TOLERANCE
        assert error(norm.mean[...], mean) < TOLERANCE
        assert error(norm.var[...], var) < TOLERANCE


@pytest.mark.parametrize("shape", [(4, 3), (4, 7, 3), (2, 5, 6, 3)])
def test_gradient_of_batch_norm_equals_torch(shape):
    pytest.importorskip("torch", reason="compares with torch's BatchNorm")
    torch = importlib.import_module("torch")
    graphdef, start = _batch_norm(shape[-1], epsilon=1e-5, momentum=0.1)
    x, cotangent = _noise(*shape, seed=4), _noise(*shape, seed=5)

    def product(params, x):
        norm = variables.merge(graphdef, start._replace(params=params))
        return jnp.sum(norm(x, train=True) * cotangent)

    by_params, by_x = jax.jit(jax.grad(product, (0, 1)))(start.params, x)
    theirs = {
        name: torch.from_numpy(np.array(array)).requires_grad_()
        for name, array in start.params.items()
    }
    channels_first = torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_()
    y = torch.nn.functional.batch_norm(
        channels_first, None, None, theirs["scale"], theirs["bias"], training=True
    )
    (y * torch.from_numpy(np.moveaxis(cotangent, -1, 1).copy())).sum().backward()
    assert error(by_x, np.moveaxis(channels_first.grad.numpy(), 1, -1)) < TOLERANCE
    for name, parameter in theirs.items():
        assert error(by_params[name], parameter.grad) < TOLERANCE


@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0])
def test_momentum_is_the_share_of_the_new(momentum):
    norm = layers.BatchNorm(1, epsilon=1e-5, momentum=momentum)
    norm(jnp.asarray([[1.0], [3.0]]), train=True)
    # Of 1 and 3 the mean is 2 and the unbiased variance 2; the running ones start at 0 and 1.
    np.testing.assert_allclose(norm.mean[...], [2 * momentum], rtol=1e-6)
    np.testing.assert_allclose(norm.var[...], [1 + momentum], rtol=1e-6)


def test_evaluation_leaves_the_running_statistics_alone():
    graphdef, start = _batch_norm(3, epsilon=1e-5, momentum=0.1)
    norm = variables.merge(graphdef, start)
    norm(_noise(4, 3), train=False)
    for name, array in variables.batch_stats(norm).items():
        np.testing.assert_array_equal(array, start.batch_stats[name])


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_filling_rows_are_none_of_a_batchs_statistics(shape, num_devices):
    graphdef, start = _batch_norm(shape[-1], epsilon=1e-5, momentum=0.1)
    norm = variables.merge(graphdef, start)
    x, rest = _noise(*shape), np.full_like(_noise(*shape), 1e6)
    padded = np.concatenate([x, rest]).reshape(num_devices, -1, *shape[1:])
    valid = np.repeat([True, False], len(x)).reshape(num_devices, -1)

    def on_device(rows, is_valid):
        own = variables.merge(graphdef, start)
        own.axis_name, own.valid = "batch", is_valid
        return own(rows, train=True), variables.batch_stats(own)

    found, stats = jax.vmap(on_device, axis_name="batch")(padded, valid)
    assert error(np.asarray(found).reshape(-1, *shape[1:])[: len(x)], norm(x, train=True)) < 1e-6
    for name, array in start.batch_stats.items():
        np.testing.assert_array_equal(stats[name][0], array)


def test_batch_norm_far_from_zero():
    # The variance is that of the differences from the mean: a large mean costs no digits of it.
    norm = layers.BatchNorm(2, epsilon=1e-5, momentum=0.1)
    x = 1000 + _noise(64, 2)
    double = x.astype(np.float64)
    expected = (double - double.mean(0)) / np.sqrt(double.var(0) + 1e-5)
    np.testing.assert_allclose(norm(x, train=True), expected, atol=2e-4)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 3), (1, 1, 1, 3)])
def test_training_on_a_single_value_per_channel_is_refused(shape):
    norm = layers.BatchNorm(3, epsilon=1e-5, momentum=0.1)
    with pytest.raises(ValueError, match="single value per channel"):
        norm(jnp.ones(shape), train=True)
    assert norm(jnp.ones(shape), train=False).shape == shape


def test_linear_is_an_affine_map_of_the_last_axis():
    linear = layers.Linear(3, 5, kernel_init=_drawn, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(linear.bias[...], 0.0)
    linear.bias.set_value(_noise(5))
    x = _noise(2, 4, 3)
    expected = np.einsum("abi,io->abo", x, linear.kernel[...]) + linear.bias[...]
    np.testing.assert_allclose(linear(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("upsample", [None, "nearest"])
@pytest.mark.parametrize("taps", [1, 3, 5, 9])
def test_conv1d_equals_torch(taps, upsample):
    pytest.importorskip("torch", reason="compares with torch's convolution")
    torch = importlib.import_module("torch")
    rng = np.random.default_rng(0)
    convolution = layers.Conv1d(3, 4, taps, upsample=upsample, kernel_init=_drawn, rng=rng)
    convolution.bias.set_value(_noise(4))
    x = _noise(2, 11, 3)
    signal = torch.from_numpy(np.repeat(x, 3, axis=1) if upsample else x).transpose(1, 2)
    weight = torch.from_numpy(np.array(convolution.kernel[...])).permute(2, 1, 0)
    theirs = torch.nn.functional.conv1d(
        signal, weight, torch.from_numpy(_noise(4)), padding=taps // 2
    )
    assert error(convolution(x), theirs.transpose(1, 2)) < TOLERANCE


def test_dropout_keeps_the_mean_and_zeroes_its_share():
    dropout, key = layers.Dropout(0.25), jax.random.key(0)
    ones = jnp.ones((100, 1000))
    y = np.asarray(dropout(ones, train=True, key=key))
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(y[y != 0], 1 / 0.75, rtol=1e-6)
    np.testing.assert_array_equal(dropout(ones, train=False, key=None), ones)
    np.testing.assert_array_equal(layers.Dropout(0.0)(ones, train=True, key=None), ones)


@pytest.mark.parametrize("num_out", [None, 2])
def test_learned_upsampling_starts_zero_biased_and_drawn_by_its_outputs(num_out):
    # torch takes a transposed convolution's outputs for its inputs when it draws.
    shapes = []
    upsample = layers.Upsample3(
        4, num_out, kernel_init=lambda rng, shape: shapes.append(shape) or np.ones(shape), rng=None
    )
    assert shapes == [(3, num_out or 4, 4)]
    assert upsample.kernel[...].shape == (3, 4, num_out or 4)
    np.testing.assert_array_equal(upsample(jnp.ones((1, 5, 4))), np.full((1, 15, num_out or 4), 4))


@pytest.mark.parametrize(("num_in", "times"), [(1, 1), (512, 1), (513, 513 / 512), (6400, 12.5)])
def test_thousands_of_inputs_are_as_wide_as_hundreds(num_in, times):
    assert layers.wideness(num_in) == times


def test_standardising_starts_as_the_identity_and_takes_what_is_kept():
    graphdef, start = variables.split(layers.Standardise(3))
    assert start.params == {} and start.batch_stats.keys() == {"mean", "spread"}
    x = _noise(4, 2, 3)
    np.testing.assert_array_equal(variables.merge(graphdef, start)(x), x)
    stats = {"mean": np.float32([1, 2, 3]), "spread": np.float32([0.5, 1, 4])}
    found = variables.merge(graphdef, variables.Variables({}, stats))(x)
    np.testing.assert_allclose(found, (x - [1, 2, 3]) / [0.5, 1, 4], rtol=1e-6, atol=1e-7)
    assert found.dtype == np.float32
