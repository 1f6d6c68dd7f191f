"""What the losses compare of two batches of sound, without ever holding a batch's spectra.

A batch's spectra exceed the processor's cache many times over. The convergence, whose norms go over
the whole batch, needs no spectra at all (stft.energy). Distances of logarithms are means over
samples, so that each sample's spectra, and the gradient through them, are made while it is its
turn, and stay in the cache.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from qvae_jax.audio import stft


def mean_convergence(
    prediction: jax.Array, target: jax.Array, windows: Sequence[int], floor: float
) -> jax.Array:
    """‖T − P‖_F / (‖T‖_F + floor) of STFTs, whose norms go over the batch, mean over windows."""
    convergences = [
        stft.safe_sqrt(_energy(target - prediction, window))
        / (stft.safe_sqrt(_energy(target, window)) + floor)
        for window in windows
    ]
    return sum(convergences) / len(convergences)


def _energy(audio: jax.Array, window: int) -> jax.Array:
    return jnp.sum(stft.energy(audio, window, window // 4))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def mean_of_samples(
    of_sample: Callable, prediction: jax.Array, target: jax.Array
) -> tuple[jax.Array, Any]:
    """The mean over a batch of of_sample(prediction, target), which gives (a scalar, further ones).

    Only the first scalar has a gradient, and only by the prediction [batch, …].
    """
    return jax.tree.map(jnp.mean, jax.lax.map(lambda pair: of_sample(*pair), (prediction, target)))


def _forward(of_sample: Callable, prediction: jax.Array, target: jax.Array):
    """The gradient is made beside the value: its sample's spectra are there now, not later."""

    def with_gradient(pair):
        return jax.value_and_grad(of_sample, has_aux=True)(*pair)

    means, gradient = jax.lax.map(with_gradient, (prediction, target))
    return jax.tree.map(jnp.mean, means), gradient / len(prediction)


def _backward(of_sample: Callable, gradient: jax.Array, cotangents):
    return cotangents[0] * gradient, None


mean_of_samples.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def of_each_sample(of_sample: Callable, prediction: jax.Array, target: Any) -> jax.Array:
    """The scalar of_sample(prediction, target) of each sample: [batch].

    It has a gradient by the prediction [batch, …] alone; target is an array or several of them.
    """
    return jax.lax.map(lambda pair: of_sample(*pair), (prediction, target))


def _each_forward(of_sample: Callable, prediction: jax.Array, target: Any):
    """As _forward."""
    return jax.lax.map(lambda pair: jax.value_and_grad(of_sample)(*pair), (prediction, target))


def _each_backward(of_sample: Callable, gradients: jax.Array, cotangents: jax.Array):
    return jax.vmap(jnp.multiply)(cotangents, gradients), None


of_each_sample.defvjp(_each_forward, _each_backward)
