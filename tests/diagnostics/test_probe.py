"""The probe's programs on virtual CPU devices, in a process of its own: everywhere the same."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import virtual_devices

PROGRAM = pathlib.Path(__file__).parents[1] / "support" / "probed_devices.py"
ONE = "jit:1:global"
GLOBAL = ("jit:2:global:step", "jit:4:global", "pmap:2:global")
PER_DEVICE = ("jit:2:per_device", "pmap:2:per_device")


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> dict[str, np.ndarray]:
    """What is found on one device."""
    return diagnosed(tmp_path_factory.mktemp("probe") / "found.npz", ONE)[ONE]


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """What is found on several devices, by placement."""
    return diagnosed(tmp_path_factory.mktemp("probe") / "found.npz", *GLOBAL, *PER_DEVICE)


def diagnosed(output: pathlib.Path, *placements: str) -> dict[str, dict[str, np.ndarray]]:
    """What probed_devices.py finds, by placement."""
    command = [sys.executable, str(PROGRAM), str(output), *placements]
    subprocess.run(command, env=virtual_devices.environment(4), check=True)
    return virtual_devices.by_placement(output, placements)


def test_latents_are_the_models_own(one):
    for name in ("mu", "logvar"):
        expected = one[f"direct/{name}"]
        for part in ("interpolation", "extrapolation"):
            np.testing.assert_allclose(one[f"{part}/{name}"], expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_named_in_the_order_of_sound(one):
    parts = one["gradient_parts"].tolist()
    assert parts[:3] == ["encoder.features.1", "mu_head", "logvar_head"]
    assert all(part.startswith("decoder.") for part in parts[3:]) and parts[-1] == "decoder.output"
    assert (one["gradient_norms"] > 0).all() and one["gradient_norms"].shape == (len(parts),)


def test_generations_of_a_batch_spread_and_each_in_its_own_way(one):
    for name in ("spread_waveform", "spread_db"):
        spread = one[f"interpolation/{name}"]
        assert spread.shape == (8,), "those of the first batch"
        assert (spread > 0).all() and len(set(spread.tolist())) == 8


def test_fewer_examples_are_spaced_evenly(one):
    positions = [0, 3, 6, 8, 11]  # of twelve
    np.testing.assert_allclose(
        one["few/train/mu"], one["interpolation/mu"][positions], rtol=1e-5, atol=1e-6
    )
    assert one["few/train/spread_db"].shape == (5,), "filling rows are left out"
    assert one["few/pca"].shape == (5, 2) and one["pca"].shape == (24, 2)


@pytest.mark.slow
@pytest.mark.parametrize("placement", (*GLOBAL, *PER_DEVICE))
def test_latents_and_generations_are_the_same_on_any_devices(one, several, placement):
    for name in ("mu", "logvar", "kl_per_sample", "active", "spread_waveform", "spread_db"):
        for part in ("interpolation", "few/train"):
            ours, theirs = several[placement][f"{part}/{name}"], one[f"{part}/{name}"]
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("placement", GLOBAL)
def test_gradients_are_the_same_on_any_devices(one, several, placement):
    np.testing.assert_allclose(
        several[placement]["gradient_norms"], one["gradient_norms"], rtol=1e-3
    )


@pytest.mark.slow
def test_the_gradient_is_that_of_a_training_step(several):
    found = several[GLOBAL[0]]
    total = np.sqrt(np.sum(np.square(found["gradient_norms"])))
    np.testing.assert_allclose(total, found["step_gradient_norm"], rtol=1e-5)


@pytest.mark.slow
def test_gradients_per_device_are_the_same_under_jit_and_pmap(one, several):
    ours, theirs = (several[placement]["gradient_norms"] for placement in PER_DEVICE)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert np.abs(ours / one["gradient_norms"] - 1).max() > 0.01, "another BatchNorm"
