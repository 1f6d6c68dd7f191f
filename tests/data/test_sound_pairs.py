"""Pairs as waveforms: what is stored of a sound, and the batches of them."""

import numpy as np
import pytest

from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.data import sound_pairs
from qvae_jax.data.index import Pair
from qvae_jax.data.sound_pairs import SoundPairs

FRONT_END = FrontEnd(duration_s=0.01)  # 320 samples


@pytest.mark.parametrize("peak", [0.0, 1e-3, 1.0, 7.0])  # floats may go beyond full scale
def test_a_sound_comes_back_to_sixteen_bits(peak):
    waveform = (peak * np.sin(np.arange(200))).astype(np.float32)
    recipe = sound_pairs.sounds(FRONT_END)
    rows = recipe.transform([waveform, np.ones(999, np.float32)])
    assert rows.dtype == recipe.dtype and rows.dtype.itemsize == recipe.row_bytes == 644
    found = sound_pairs.waveforms(rows)
    assert found.dtype == np.float32 and found.shape == (2, 320)
    np.testing.assert_allclose(found[0, :200], waveform, rtol=0, atol=max(1, peak) / 32_767)
    assert not found[0, 200:].any() and (found[1] == 1).all()


@pytest.fixture
def pairs() -> SoundPairs:
    """Three imitations, of sounds 1, 0 and 1."""
    stored = sound_pairs.sounds(FRONT_END).transform
    inputs = stored([np.full(9, 0.1 * n, np.float32) for n in range(3)])
    targets = stored([np.full(9, -0.1 * n, np.float32) for n in range(2)])
    named = tuple(Pair(f"{n}", f"{n % 2}", f"{n % 2}") for n in range(3))
    return SoundPairs(named, inputs, targets, np.array([2, 0, 1]), np.array([1, 0, 1]))


def test_a_batch_has_both_sides_and_tells_which_sounds_are_one(pairs):
    batch = pairs.batch(np.array([0, 1, 2]))
    np.testing.assert_allclose(batch["imitation"][:, 0], [0.2, 0.0, 0.1], atol=1e-4)
    np.testing.assert_allclose(batch["reference"][:, 0], [-0.1, 0.0, -0.1], atol=1e-4)
    assert batch["sounds"].tolist() == [1, 0, 1] and batch["sounds"].dtype == np.int32


def test_sounds_of_a_side_come_in_batches_of_one_size(pairs):
    found = list(pairs.batches_of("imitation", np.arange(3), 2))
    assert [list(batch) for batch in found] == [["imitation"]] * 2
    firsts = np.concatenate([batch["imitation"][:, 0] for batch in found])
    np.testing.assert_allclose(firsts, [0.0, 0.1, 0.2, 0.2], atol=1e-4)
    (only,) = pairs.batches_of("reference", np.array([1]), 2)
    np.testing.assert_allclose(only["reference"][:, 0], [-0.1, -0.1], atol=1e-4)
