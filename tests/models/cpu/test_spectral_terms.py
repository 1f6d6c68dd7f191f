"""Convergence without spectra, and means with their gradient, against the plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from filled import error
from forms import noise
from qvae_jax import losses
from qvae_jax.audio import stft
from qvae_jax.models.cpu import spectral_terms

WINDOWS = (64, 128)


def _plain_convergence(prediction, target):
    def norm(audio, window):
        return jnp.linalg.norm(jnp.abs(stft.stft(audio, window, window // 4)))

    convergences = [
        norm(target - prediction, window) / (norm(target, window) + losses.LOG_FLOOR)
        for window in WINDOWS
    ]
    return jnp.mean(jnp.stack(convergences))


@pytest.mark.parametrize("batch", [1, 3])
def test_mean_convergence(batch):
    prediction, target = noise(batch, 300), noise(batch, 300, seed=1)

    def ours(prediction, target):
        return spectral_terms.mean_convergence(prediction, target, WINDOWS, losses.LOG_FLOOR)

    mine, plain = jax.jit(
        lambda *audio: [jax.value_and_grad(f)(*audio) for f in (ours, _plain_convergence)]
    )(prediction, target)
    for one, other in zip(mine, plain, strict=True):
        assert error(one, other) < 1e-5


def _of_sample(prediction, target):
    distance = jnp.sum(jnp.square(jnp.sin(prediction) - target))
    return 2.0 * distance, (distance, jnp.max(target))


def _plain_mean(prediction, target):
    return jax.tree.map(jnp.mean, jax.vmap(_of_sample)(prediction, target))


@pytest.mark.parametrize("batch", [1, 4])
def test_mean_of_samples(batch):
    prediction, target = noise(batch, 7), noise(batch, 7, seed=1)
    mean = lambda *audio: spectral_terms.mean_of_samples(_of_sample, *audio)
    for mine, plain in zip(
        jax.tree.leaves(mean(prediction, target)),
        jax.tree.leaves(_plain_mean(prediction, target)),
        strict=True,
    ):
        assert error(mine, plain) < 1e-6
    cubed = lambda form: jax.grad(lambda audio: form(audio, target)[0] ** 3)(prediction)
    assert error(cubed(mean), cubed(_plain_mean)) < 1e-5


def test_only_the_first_has_a_gradient_and_only_by_the_prediction():
    prediction, target = noise(2, 7), noise(2, 7, seed=1)

    def total(prediction, target):
        first, rest = spectral_terms.mean_of_samples(_of_sample, prediction, target)
        return 0.0 * first + sum(rest)

    for gradient in jax.grad(total, argnums=(0, 1))(prediction, target):
        assert not np.any(gradient)


def _scaled(prediction, target):
    sound, factor = target
    return factor * jnp.sum(jnp.square(jnp.sin(prediction) - sound))


@pytest.mark.parametrize("shape", [(1, 7), (4, 7), (3, 2, 5)])
def test_of_each_sample(shape):
    prediction, sounds = noise(*shape), noise(*shape, seed=1)
    target = sounds, np.arange(1, shape[0] + 1)  # whole numbers, which have no gradient
    forms = {
        "ours": lambda audio: spectral_terms.of_each_sample(_scaled, audio, target),
        "plain": lambda audio: jax.vmap(_scaled)(audio, target),
    }
    # Each sample's own cotangent, so that none is given another's.
    cubed = lambda form: lambda audio: jnp.sum(form(audio) ** 3)
    ours, plain = (
        (form(prediction), *jax.value_and_grad(cubed(form))(prediction)) for form in forms.values()
    )
    for one, other in zip(ours, plain, strict=True):
        assert error(one, other) < 1e-5


def test_each_sample_has_a_gradient_by_its_prediction_alone():
    prediction, sounds = noise(2, 7), noise(2, 7, seed=1)

    def total(prediction, sounds):
        return jnp.sum(spectral_terms.of_each_sample(_scaled, prediction, (sounds, np.ones(2))))

    by_prediction, by_target = jax.grad(total, argnums=(0, 1))(prediction, sounds)
    assert np.any(by_prediction) and not np.any(by_target)
