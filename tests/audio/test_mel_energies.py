"""Mel energies by bands against one product with the whole bank, their gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filled import error
from qvae_jax.audio import mel
from qvae_jax.audio.mel_energies import mel_energies


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    num_mels=st.sampled_from([1, 39, 40, 41, 80, 128]),
    n_fft=st.sampled_from([64, 512, 1024]),  # with few bins some mels cover none
    frames=st.integers(1, 5),
    low_hz=st.sampled_from([0.0, 2_000.0]),
    seed=st.integers(0, 9),
)
def test_equal_one_product_with_the_bank(num_mels, n_fft, frames, low_hz, seed):
    bank = mel.kaldi_mel_bank(num_mels, n_fft, 32_000, low_hz, 15_000.0)
    power = np.random.default_rng(seed).uniform(0, 1, (2, frames, len(bank))).astype(np.float32)
    weights = np.random.default_rng(seed).standard_normal((2, frames, num_mels))

    def weighted(product):
        return lambda power: (jnp.sum(product(power) * weights), product(power))

    ours, theirs = (
        jax.jit(jax.grad(weighted(product), has_aux=True))(power)
        for product in (lambda power: mel_energies(power, bank), lambda power: power @ bank)
    )
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-6 * np.abs(other).max())


def test_parts_of_a_bank_make_the_bank():
    bank = mel.htk_mel_bank(80, 1024, 22_050, 0.0, 11_025.0)
    whole = np.zeros_like(bank)
    for mels, bins, part in mel.bands(bank, 32):
        whole[bins, mels] = part
    np.testing.assert_array_equal(whole, bank)


@pytest.mark.parametrize("several", [False, True])
def test_only_one_cpu_multiplies_by_bands(several, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda backend=None: 2 if several else 1)
    bank = mel.htk_mel_bank(80, 64, 22_050, 0.0, 11_025.0)
    program = jax.make_jaxpr(lambda power: mel_energies(power, bank))(jnp.ones((2, len(bank))))
    assert str(program).count("dot_general") == (1 if several else 2)
    assert error(mel_energies(np.ones((2, len(bank))), bank), np.ones((2, len(bank))) @ bank) < 1e-6
