"""Mel energies of power spectra."""

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.audio import mel
from qvae_jax.system import platforms

BAND_MELS = 40  # multiplied at once, each by the few bins that they cover


def mel_energies(power: jax.Array, bank: np.ndarray) -> jax.Array:
    """power @ bank: [..., bins] and [bins, mels] -> [..., mels].

    On the CPU by bands, as most of the bank is zeros; an accelerator wants one product.
    """
    if not platforms.samples_apart():
        return _product(power, bank)
    parts = [_product(power[..., bins], part) for _, bins, part in mel.bands(bank, BAND_MELS)]
    return jnp.concatenate(parts, axis=-1)


def _product(power: jax.Array, bank: np.ndarray) -> jax.Array:
    return jnp.matmul(power, bank, precision=jax.lax.Precision.HIGHEST)
