"""The pass by sample against the plain one: results, moments, statistics and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qvae_jax.models import decoders, initializers, layers, variables
from qvae_jax.models.activations import leaky_relu
from qvae_jax.models.cpu import stages

KINDS = ("same length", "upsampled", "transposed")


def _normal(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


class Pair(nnx.Module):
    """A BatchNorm of some scale and bias, and a convolution after it."""

    def __init__(self, kind: str, num_in: int, num_out: int, taps: int):
        rng = np.random.default_rng(3)
        self.norm = layers.BatchNorm(num_in, epsilon=1e-5, momentum=0.1)
        self.norm.scale.set_value(jnp.asarray(1.0 + 0.3 * _normal(rng, (num_in,))))
        self.norm.bias.set_value(jnp.asarray(_normal(rng, (num_in,))))
        parts = dict(kernel_init=_normal, rng=rng)
        if kind == "transposed":
            self.conv = layers.Upsample3(num_in, num_out, **parts)
        else:
            upsample = "nearest" if kind == "upsampled" else None
            self.conv = layers.Conv1d(num_in, num_out, taps, upsample=upsample, **parts)


def _compare(ours, theirs, bound: float) -> None:
    """Both (gradients, results); a gradient that cancels to rounding is held to the largest."""
    (gradients, results), (plain_gradients, plain_results) = ours, theirs
    for mine, plain in zip(jax.tree.leaves(results), jax.tree.leaves(plain_results), strict=True):
        np.testing.assert_allclose(mine, plain, rtol=0, atol=bound * np.abs(plain).max())
    plain_gradients = jax.tree.leaves(plain_gradients)
    largest = max(np.abs(gradient).max() for gradient in plain_gradients)
    assert largest > 0
    for mine, plain in zip(jax.tree.leaves(gradients), plain_gradients, strict=True):
        np.testing.assert_allclose(mine, plain, rtol=0, atol=bound * largest)


def _plainly(before, norm, slope, conv):
    x = norm(before.values, train=True)
    return stages.unnormalised(conv(leaky_relu(x, slope)))


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    batch=st.integers(2, 4),
    time=st.integers(1, 12),
    num_in=st.integers(1, 5),
    num_out=st.integers(1, 12),
    taps=st.sampled_from([1, 3, 5]),
    slope=st.sampled_from([0.0, 0.1]),
)
@example(kind="upsampled", batch=2, time=1, num_in=1, num_out=1, taps=5, slope=0.0)
@example(kind="same length", batch=1, time=3, num_in=2, num_out=1, taps=3, slope=0.1)
@example(kind="transposed", batch=3, time=4, num_in=2, num_out=3, taps=3, slope=0.0)
@example(kind="upsampled", batch=3, time=243, num_in=8, num_out=4, taps=3, slope=0.0)
def test_every_gradient_is_the_plain_forms(kind, batch, time, num_in, num_out, taps, slope):
    structure, drawn = variables.split(Pair(kind, num_in, num_out, taps))
    rng = np.random.default_rng(4)
    values = _normal(rng, (batch, time, num_in))
    shape = jax.eval_shape(lambda x: variables.merge(structure, drawn).conv(x), values).shape
    weights = [_normal(rng, shape), _normal(rng, (num_out,)), _normal(rng, (num_out,))]

    def weighed(form):
        def total(values, params):
            pair = variables.merge(structure, drawn._replace(params=params))
            after = form(stages.unnormalised(values), pair.norm, slope, pair.conv)
            weighed = sum(jnp.sum(w * got) for w, got in zip(weights, after, strict=True))
            return weighed, (after, variables.batch_stats(pair))

        return jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))

    ours, theirs = (weighed(form)(values, drawn.params) for form in (stages.convolve, _plainly))
    _compare(ours, theirs, 1e-5)


@pytest.mark.parametrize(
    "decoder_type", [pytest.param("original", marks=pytest.mark.slow), "original-plus"]
)
def test_a_decoder_trains_as_its_layers_one_by_one(decoder_type):
    """In float64: in float32, rounding turns the sign of some activations, in either form."""
    decoder = decoders.DECODERS[decoder_type](
        8,
        width=0.06,
        kernel_init=initializers.DECODER_INITIALIZERS["he_uniform"],
        rng=np.random.default_rng(0),
    )
    structure, drawn = variables.split(decoder)
    rng = np.random.default_rng(1)
    z, weights = rng.standard_normal((3, 8)), rng.standard_normal((3, decoders.NUM_SAMPLES))

    def plainly(model, z):
        return dict(model.trace(z, train=True, key=None))["audio"]

    def trained(form):
        def total(params, z):
            model = variables.merge(structure, drawn._replace(params=params))
            audio = form(model, z)
            return jnp.sum(audio * weights), (audio, variables.batch_stats(model))

        return jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))

    by_its_samples = []
    with jax.enable_x64(True):
        drawn = jax.tree.map(lambda array: np.asarray(array, np.float64), drawn)
        watched = stages.convolve
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                stages, "convolve", lambda *rest: by_its_samples.append(1) or watched(*rest)
            )
            ours = trained(lambda model, z: model(z, train=True))(drawn.params, z)
        assert by_its_samples
        theirs = trained(plainly)(drawn.params, z)
    _compare(ours, theirs, 1e-10)


def test_several_devices_are_given_the_plain_form(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda backend=None: 2)
    monkeypatch.setattr(stages, "convolve", None)
    structure, drawn = variables.split(
        decoders.DECODERS["original"](
            4, width=0.02, kernel_init=_normal, rng=np.random.default_rng(0)
        )
    )
    audio = jax.eval_shape(
        lambda z: variables.merge(structure, drawn)(z, train=True), jnp.ones((2, 4))
    )
    assert audio.shape == (2, decoders.NUM_SAMPLES)
