"""The front-end's fast forms for the CPU against their plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from filled import error
from qvae_jax.audio import cpu, mel


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 63, 64, 512])
def test_rfft_and_its_gradient(length):
    frames = _noise(2, 3, length)
    weights = _noise(2, 2, 3, length // 2 + 1, seed=1)

    def with_gradient(rfft):
        def weighted(frames):
            spectrum = rfft(frames)
            return jnp.sum(spectrum.real * weights[0] + spectrum.imag * weights[1])

        return rfft(frames), jax.grad(weighted)(frames)

    ours, theirs = with_gradient(cpu.rfft), with_gradient(jnp.fft.rfft)
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert error(ours[1], theirs[1]) < 1e-6


def test_computed_once_changes_nothing_but_the_program():
    x = _noise(5)
    np.testing.assert_array_equal(cpu.computed_once(x), x)
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(cpu.computed_once(x)))(x), np.ones(5))
    assert "optimization_barrier" in str(jax.make_jaxpr(cpu.computed_once)(x))


def test_mel_energies_by_bands():
    bank = mel.htk_mel_bank(80, 1024, 22_050, 0.0, 11_025.0)
    power = np.square(_noise(2, 3, len(bank)))
    assert error(cpu.mel_energies(power, bank), power @ bank) < 1e-6
