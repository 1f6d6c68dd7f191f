"""Mel energies of power spectra."""

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.audio import cpu
from qvae_jax.system import platforms


@platforms.with_cpu_form(cpu.mel_energies, where=platforms.samples_apart)
def mel_energies(power: jax.Array, bank: np.ndarray) -> jax.Array:
    """power @ bank: [..., bins] and [bins, mels] -> [..., mels]."""
    return jnp.matmul(power, bank, precision=jax.lax.Precision.HIGHEST)
