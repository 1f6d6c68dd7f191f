"""Each initialiser's spread against torch's formula, and what zeros and seeds do."""

import numpy as np
import pytest

from qvae_jax.models import initializers, mobilenet, qvae, variables

# Our kernel's shape, then torch's fan_in and fan_out of the same kernel.
KERNELS = [
    ((3, 256, 128), 3 * 256, 3 * 128),  # Conv1d
    ((1000, 200), 1000, 200),  # Linear
    ((3, 3, 64, 128), 9 * 64, 9 * 128),  # Conv2d
    ((5, 5, 1, 960), 25, 25 * 960),  # depthwise: torch's weight is [960, 1, 5, 5]
]
NORMAL_STDS = {
    "xavier_normal": lambda fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out)),
    "kaiming_fan_out": lambda fan_in, fan_out: np.sqrt(2 / fan_out),
    "kaiming_scaled": lambda fan_in, fan_out: np.sqrt(2 / fan_in) / 8,
    "small_normal": lambda fan_in, fan_out: 0.01,
}
ALL = {name: getattr(initializers, name) for name in (*NORMAL_STDS, "he_uniform")}
ALL["fixed_std"] = initializers.DECODER_INITIALIZERS["fixed_std"]


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), KERNELS)
def test_fans(shape, fan_in, fan_out):
    assert initializers.fan_in(shape) == fan_in
    assert initializers.fan_out(shape) == fan_out


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), KERNELS)
@pytest.mark.parametrize("name", NORMAL_STDS)
def test_normal_initialisers(name, shape, fan_in, fan_out):
    _check_normal(ALL[name](np.random.default_rng(0), shape), NORMAL_STDS[name](fan_in, fan_out))


def test_fixed_std():
    _check_normal(ALL["fixed_std"](np.random.default_rng(0), (3, 256, 128)), 0.005)


def _check_normal(array, std):
    # The tolerances are about five standard errors of the estimates.
    assert abs(array.mean()) < 5 * std / np.sqrt(array.size)
    assert array.std() == pytest.approx(std, rel=5 / np.sqrt(2 * array.size))
    # A normal's share beyond two standard deviations is 4.6 %; a uniform would have none.
    assert np.mean(np.abs(array) > 2 * std) == pytest.approx(0.0455, abs=0.01)


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), KERNELS)
def test_he_uniform(shape, fan_in, fan_out):
    array = initializers.he_uniform(np.random.default_rng(0), shape)
    bound = np.sqrt(6 / fan_in)
    assert np.abs(array).max() <= bound * (1 + 1e-6)
    assert array.max() > 0.999 * bound and array.min() < -0.999 * bound
    assert array.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert abs(array.mean()) < 5 * array.std() / np.sqrt(array.size)


@pytest.mark.parametrize("name", ALL)
def test_every_initialiser_draws_from_its_generator_alone(name):
    first, again, other = (ALL[name](np.random.default_rng(s), (3, 8, 8)) for s in (1, 1, 2))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


@pytest.mark.parametrize("name", ALL)
def test_without_a_generator_every_initialiser_gives_zeros(name):
    array = ALL[name](None, (3, 4, 5))
    assert array.shape == (3, 4, 5) and array.dtype == np.float32 and not array.any()


@pytest.fixture(scope="module")
def params():
    """Of a whole QVAE by decoder initialiser."""
    return {
        name: variables.split(
            qvae.QVAE(
                qvae.QVAEConfig(encoder_width=0.4, latent_dim=64, decoder_init=name),
                rng=np.random.default_rng(0),
            )
        )[1].params
        for name in initializers.DECODER_INITIALIZERS
    }


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("encoder.features.4.expand.kernel", np.sqrt(2 / mobilenet.make_divisible(72 * 0.4))),
        ("encoder.features.16.kernel", np.sqrt(2 / 384)),
        ("encoder.classifier.output.kernel", 0.01),
        ("mu_head.kernel", np.sqrt(2 / (384 + 64))),
        ("logvar_head.kernel", np.sqrt(2 / (384 + 64))),
    ],
)
def test_the_encoder_and_the_heads_start_as_in_torch(params, name, std):
    array = np.asarray(params["he_uniform"][name])
    assert array.std() == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("he_uniform", np.sqrt(2 / (3 * 512))),
        ("kaiming_scaled", np.sqrt(2 / (3 * 512)) / 8),
        ("fixed_std", 0.005),
    ],
)
def test_the_decoder_starts_as_the_config_says(params, name, std):
    array = np.asarray(params[name]["decoder.stages.1.conv.kernel"])
    assert array.std() == pytest.approx(std, rel=0.01)


def test_biases_start_at_zero(params):
    biases = {name: array for name, array in params["he_uniform"].items() if name.endswith("bias")}
    assert len(biases) > 50
    assert not any(np.any(array) for array in biases.values())
