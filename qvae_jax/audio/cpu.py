"""Fast forms for the CPU of what audio/ computes, each beside the plain form that names it.

A plain form is decorated with platforms.with_cpu_form, which chooses. All of these are for a
single CPU device (platforms.samples_apart).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.audio import mel

BAND_MELS = 40  # multiplied at once, each by the few bins that they cover


def computed_once(x: jax.Array) -> jax.Array:
    """x, which the compiler is told to compute once rather than again wherever it is used.

    XLA's CPU backend computes things again to save memory traffic that its caches make cheap. It
    heeds this while it simplifies and forgets it before it fuses; the losses are a sixth faster.
    """
    return jax.lax.optimization_barrier(x)


def rfft(frames: jax.Array) -> jax.Array:
    """jnp.fft.rfft of [..., length], with half the work for its gradient.

    JAX's own gradient is a complex transform of the cotangent and as many zeros.
    """
    return _rfft(frames, frames.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _rfft(frames: jax.Array, length: int) -> jax.Array:
    return jnp.fft.rfft(frames)


def _rfft_forward(frames: jax.Array, length: int) -> tuple[jax.Array, None]:
    return _rfft(frames, length), None


def _rfft_backward(length: int, _: None, cotangent: jax.Array) -> tuple[jax.Array]:
    # irfft counts each bin twice, except the first and, where the length is even, the last.
    scale = np.full(length // 2 + 1, length / 2, np.float32)
    scale[0] = length
    if length % 2 == 0:
        scale[-1] = length
    return (jnp.fft.irfft(jnp.conj(cotangent) * scale, n=length),)


_rfft.defvjp(_rfft_forward, _rfft_backward)


def mel_energies(power: jax.Array, bank: np.ndarray) -> jax.Array:
    """power @ bank by bands of mels, [..., bins] -> [..., mels]: most of a bank is zeros."""
    parts = [
        jnp.matmul(power[..., bins], part, precision=jax.lax.Precision.HIGHEST)
        for _, bins, part in mel.bands(bank, BAND_MELS)
    ]
    return jnp.concatenate(parts, axis=-1)
