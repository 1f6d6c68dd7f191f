"""Contrastive losses against torch in float64, with sounds that stand twice in a batch."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qvae_jax import contrastive

SOUNDS = {
    "all different": [0, 1, 2, 3, 4, 5],
    "one twice": [0, 1, 1, 2, 3, 4],
    "two sounds": [3, 3, 3, 8, 8, 8],
}
TAU, MARGIN = -0.07, 0.6  # the sign of a temperature does not count


def unit(seed: int, num_rows: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((num_rows, 5))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def torch_nt_xent(torch, imitations, references, sounds, same_sound):
    logits = imitations @ references.T / abs(TAU)
    if same_sound == "left_out":
        twin = (sounds[:, None] == sounds[None]) & ~torch.eye(len(sounds), dtype=torch.bool)
        logits = logits.masked_fill(twin, -torch.inf)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(sounds)))


def torch_triplet(torch, imitations, references, sounds, same_sound):
    """Row by row, as the definition says it."""
    total = 0.0
    for i, imitation in enumerate(imitations):
        distances = 1 - references @ imitation
        others = [d for d, sound in zip(distances, sounds) if sound != sounds[i]]
        farther = [d for d in others if d > distances[i]]
        other = min(farther) if farther else max(others)
        total += torch.clamp(MARGIN + distances[i] - other, min=0)
    return total / len(imitations)


def ours_nt_xent(imitations, references, sounds, same_sound):
    return contrastive.nt_xent(imitations, references, sounds, TAU, same_sound=same_sound)


def ours_triplet(imitations, references, sounds, same_sound):
    return contrastive.semi_hard_triplet(imitations, references, sounds, MARGIN)


@pytest.mark.parametrize("sounds", SOUNDS)
@pytest.mark.parametrize(
    ("ours", "theirs", "same_sound"),
    [
        (ours_nt_xent, torch_nt_xent, "left_out"),
        (ours_nt_xent, torch_nt_xent, "wrong"),
        (ours_triplet, torch_triplet, None),
    ],
)
def test_losses_and_gradients_equal_torch(ours, theirs, same_sound, sounds):
    pytest.importorskip("torch", reason="compares with torch")
    torch = importlib.import_module("torch")
    numbers = np.array(SOUNDS[sounds])
    given = unit(0, 6), unit(1, 6)
    tensors = [torch.from_numpy(x).requires_grad_() for x in given]
    expected = theirs(torch, *tensors, torch.from_numpy(numbers), same_sound)
    expected.backward()
    with jax.enable_x64(True):
        value_and_gradient = jax.value_and_grad(ours, argnums=(0, 1))
        found, gradients = value_and_gradient(*map(jnp.asarray, given), numbers, same_sound)
    np.testing.assert_allclose(found, expected.item(), rtol=0, atol=1e-9)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=0, atol=1e-9)


def test_the_temperatures_gradient_equals_torch():
    pytest.importorskip("torch", reason="compares with torch")
    torch = importlib.import_module("torch")
    given, tau = (unit(0, 4), unit(1, 4)), torch.tensor(0.1, dtype=torch.float64)
    logits = torch.from_numpy(given[0] @ given[1].T) / tau.requires_grad_().abs()
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    with jax.enable_x64(True):
        loss = lambda tau: contrastive.nt_xent(*given, np.arange(4), tau)
        np.testing.assert_allclose(jax.grad(loss)(0.1), tau.grad.item(), rtol=0, atol=1e-9)


def test_a_sound_that_stands_twice_is_left_out_or_wrong():
    same = np.eye(2)[[0, 0, 1]]  # the first two rows are one sound, which both encoders know
    sounds, losses = np.array([7, 7, 8]), {}
    for same_sound in contrastive.SAME_SOUND:
        losses[same_sound] = contrastive.nt_xent(same, same, sounds, 0.01, same_sound=same_sound)
    assert losses["left_out"] < 1e-6
    np.testing.assert_allclose(losses["wrong"], 2 / 3 * np.log(2), rtol=1e-5)


def test_a_triplet_takes_the_nearest_of_the_farther_sounds():
    imitation, own = np.array([[1.0, 0.0]] * 4), 0.5  # cosines of the four sounds with it
    cosines = np.array([own, 0.6, 0.4, 0.1])
    sounds = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    each = lambda numbers: contrastive.semi_hard_triplet(imitation, sounds, np.array(numbers), 0.6)
    # Of the first row 0.4, of the second, with 0.6, its own, 0.5, and so on; of the last, which
    # is the farthest, the farthest other.
    expected = np.mean([0.6 - 0.1, 0.6 - 0.1, 0.6 - 0.3, 0.6 + 0.3])
    np.testing.assert_allclose(each([0, 1, 2, 3]), expected, rtol=1e-5)
