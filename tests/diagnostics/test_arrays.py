"""The numbers of the diagnostics, each against its definition or a case known beforehand."""

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qvae_jax import losses
from qvae_jax.diagnostics import arrays as diagnostics
from qvae_jax.models import decoders, layers, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.training.optimizer import split_trainable

RNG_SEED = 7
SETTINGS = settings(derandomize=True, deadline=None, max_examples=60)
POINTS = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-5, 5))


def test_the_divergence_of_the_dimensions_adds_up_to_that_of_the_loss():
    mu, logvar = np.random.default_rng(RNG_SEED).standard_normal((2, 9, 5)).astype(np.float32)
    ours = diagnostics.kl_per_element(mu, logvar).sum(axis=1)
    np.testing.assert_allclose(ours, losses.kl_divergence(mu, logvar), rtol=1e-5)


@SETTINGS
@given(POINTS)
def test_no_divergence_is_negative(mu):
    for logvar in (-3.0, 0.0, 2.0):
        assert (diagnostics.kl_per_element(mu, np.full_like(mu, logvar)) >= -1e-12).all()
    np.testing.assert_allclose(
        diagnostics.kl_per_element(mu, np.zeros_like(mu)), np.square(mu) / 2, atol=1e-12
    )


def test_a_divergence_without_bound_is_infinite_and_no_warning():
    with np.errstate(all="raise"):
        assert diagnostics.kl_per_element(np.zeros((1, 1)), np.full((1, 1), 2000.0)) == np.inf


def test_units_are_active_where_the_mean_moves_with_the_sample():
    signs = np.array([1.0, -1.0] * 50)
    # Variances over the samples: 0, 0.0099, 0.0101, 1; a constant offset makes no unit active.
    deviations = np.sqrt([0.0, 0.0099, 0.0101, 1.0])
    mu = 3.0 + signs[:, None] * deviations
    found = diagnostics.latent_summary(mu, np.zeros_like(mu))
    np.testing.assert_allclose(found["mean_variance"], deviations**2, atol=1e-12)
    assert found["active"].tolist() == [False, False, True, True]


def test_a_summary_holds_means_over_samples_and_sums_over_dimensions():
    mu, logvar = np.random.default_rng(RNG_SEED).standard_normal((2, 9, 5))
    found = diagnostics.latent_summary(mu, logvar)
    kl = diagnostics.kl_per_element(mu, logvar)
    assert found["kl_per_sample"].shape == (9,) and found["kl_per_dimension"].shape == (5,)
    np.testing.assert_allclose(found["kl_per_sample"].mean(), found["kl_per_dimension"].sum())
    np.testing.assert_allclose(found["kl_per_sample"][2], kl[2].sum())


def test_principal_components_are_the_axes_of_an_ellipse():
    rng = np.random.default_rng(RNG_SEED)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    axes = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 1], [0, 0, -1]])
    coordinates, shares = diagnostics.principal_components(axes @ rotation + 10.0)
    np.testing.assert_allclose(shares, [9 / 14, 4 / 14])
    np.testing.assert_allclose(np.abs(coordinates), np.abs(axes[:, :2]), atol=1e-9)


@SETTINGS
@given(POINTS)
def test_principal_components_of_any_points(points):
    coordinates, shares = diagnostics.principal_components(points)
    assert coordinates.shape == (len(points), 2) and shares.shape == (2,)
    assert (shares >= 0).all() and shares.sum() <= 1 + 1e-9 and shares[0] >= shares[1]
    # No direction holds more of the variance than the first component.
    assert np.var(coordinates[:, 0]) >= np.var(points, axis=0).max() - 1e-9
    again, _ = diagnostics.principal_components(points.copy())
    np.testing.assert_array_equal(coordinates, again)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_principal_components_of_what_is_not_finite_are_no_numbers(value):
    coordinates, shares = diagnostics.principal_components(np.array([[1.0, value], [0, 0]]))
    assert np.isnan(coordinates).all() and np.isnan(shares).all()


def noise(*shape: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(RNG_SEED).standard_normal(shape).astype(np.float32)


def test_equal_generations_have_no_spread():
    found = jax.jit(diagnostics.spread)(np.repeat(noise(2, 1, 5000), 5, axis=1))
    assert found["spread_waveform"].shape == found["spread_db"].shape == (2,)
    np.testing.assert_allclose(found["spread_waveform"], 0, atol=1e-7)
    np.testing.assert_allclose(found["spread_db"], 0, atol=1e-4)


def test_generations_of_other_gains_spread_by_that_many_decibels():
    gains = 10 ** (np.array([-6.0, 0, 6]) / 20)
    sound = noise(1, 1, 5000)
    found = jax.jit(diagnostics.spread)(sound * gains[:, None].astype(np.float32))
    expected = np.std(gains) * np.sqrt(np.mean(np.square(sound)))
    np.testing.assert_allclose(found["spread_waveform"][0], expected, rtol=1e-4)
    np.testing.assert_allclose(found["spread_db"][0], np.std([-6, 0, 6]), rtol=1e-3)


def test_a_mere_shift_of_phase_is_little_spread_in_decibels():
    time_s = np.arange(20_000) / losses.SAMPLE_RATE_HZ
    tones = np.stack([np.sin(2 * np.pi * 1000 * time_s + phase) for phase in (0, 2, 4)])[None]
    found = jax.jit(diagnostics.spread)((0.1 * tones).astype(np.float32))
    assert found["spread_waveform"][0] > 0.05, "as much as the tone itself"
    independent = jax.jit(diagnostics.spread)(noise(1, 3, 20_000))
    assert found["spread_db"][0] < 0.5 * independent["spread_db"][0]


def test_a_spread_is_the_same_at_either_rate():
    """Of white noise, which fills the bands up to half of any rate."""
    spreads = [
        jax.jit(diagnostics.spread, static_argnums=1)(noise(1, 3, rate_hz), rate_hz)
        for rate_hz in (22_050, 44_100)
    ]
    usual, twice = (float(found["spread_db"][0]) for found in spreads)
    # The bands at 44,100 Hz are wider, so that each holds more bins and varies less.
    assert 0.8 * usual < twice < usual


@pytest.mark.parametrize("decoder_type", decoders.DECODERS)
def test_every_parameter_has_a_part_in_the_order_of_sound(decoder_type):
    config = QVAEConfig(encoder_width=0.1, latent_dim=2, decoder_type=decoder_type)
    model = QVAE(config, rng=None)
    trainable, _ = split_trainable(variables.split(model)[1].params, frozenset({2, 15}))
    names = [name for name in variables.names_in_order(model) if name in trainable]
    parts = diagnostics.parts_of(names)
    assert parts[:4] == ["encoder.features.2", "encoder.features.15", "mu_head", "logvar_head"]
    last = {"steered": "decoder.renderer.blocks.4"}.get(decoder_type, "decoder.output")
    assert parts[-1] == last and len(parts) > 10
    assert all(part.startswith("decoder.") for part in parts[4:])


def test_a_decoder_that_is_new_here_is_in_order_too(monkeypatch):
    class Unheard(decoders.Decoder):
        def __init__(self, latent_dim, *, width, dropout, kernel_init, rng):
            linear = lambda: layers.Linear(latent_dim, 3, kernel_init=kernel_init, rng=rng)
            self.widen = linear()
            self.blocks = nnx.List([linear(), linear()])
            self.bands2 = linear()
            self.attention = linear()

    monkeypatch.setitem(decoders.DECODERS, "unheard", Unheard)
    config = QVAEConfig(encoder_width=0.1, latent_dim=2, decoder_type="unheard")
    parts = diagnostics.parts_of(variables.names_in_order(QVAE(config, rng=None)))
    assert parts[-5:] == [
        "decoder.widen",
        "decoder.blocks.0",
        "decoder.blocks.1",
        "decoder.bands2",
        "decoder.attention",
    ]


def test_gradient_norms_are_those_of_the_arrays_of_each_part():
    rng = np.random.default_rng(RNG_SEED)
    names = ("mu_head.kernel", "decoder.stages.10.conv.kernel", "decoder.stages.2.conv.kernel")
    gradient = {name: rng.standard_normal((3, 4)).astype(np.float32) for name in names}
    gradient["mu_head.bias"] = np.float32([3, 4])
    norms = jax.jit(diagnostics.gradient_norms)(gradient)
    both = np.concatenate([gradient["mu_head.kernel"].ravel(), gradient["mu_head.bias"]])
    assert norms["mu_head"] == pytest.approx(np.linalg.norm(both))
    for stage in ("decoder.stages.2", "decoder.stages.10"):
        assert norms[stage] == pytest.approx(np.linalg.norm(gradient[f"{stage}.conv.kernel"]))
    assert norms.keys() == {"mu_head", "decoder.stages.2", "decoder.stages.10"}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("encoder.features.15.depthwise.conv.kernel", "encoder.features.15"),
        ("decoder.renderer.blocks.3.up.kernel", "decoder.renderer.blocks.3"),
        ("decoder.renderer.output.norm.scale", "decoder.renderer"),
        ("mu_head.bias", "mu_head"),
        ("logvar_head.kernel", "logvar_head"),
        ("decoder.stages.3.conv.kernel", "decoder.stages.3"),
        ("decoder.output.kernel", "decoder.output"),
        ("decoder.stem.residual_blocks.0.conv1.kernel", "decoder.stem.residual_blocks.0"),
        ("decoder.spectrum2.kernel", "decoder.spectrum2"),
        ("renderer.blocks.3.norm.scale", "renderer.blocks.3"),
        ("gesture.kernel", "gesture"),
    ],
)
def test_an_array_belongs_to_a_part(name, part):
    assert diagnostics.part_of(name) == part
