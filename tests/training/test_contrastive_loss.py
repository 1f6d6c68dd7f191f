"""The contrastive step: everywhere the same, whose negatives come from the whole batch."""

import subprocess
import sys

import numpy as np
import pytest

import virtual_devices
from qvae_jax.training.contrastive_loss import ContrastiveLoss

PROGRAM = virtual_devices.REPOSITORY / "tests" / "support" / "contrastive_devices.py"
WAYS = ("jit:1", "jit:2", "pmap:8")


def found(folder, x64: bool) -> dict[str, dict]:
    """What contrastive_devices.py finds, by placement."""
    output = folder / "results.npz"
    environment = virtual_devices.environment(8, JAX_ENABLE_X64=str(int(x64)))
    subprocess.run([sys.executable, str(PROGRAM), str(output), *WAYS], env=environment, check=True)
    return virtual_devices.by_placement(output, WAYS)


@pytest.mark.parametrize(("x64", "bound"), [(False, 1e-5), (True, 1e-9)])
def test_losses_gradients_and_statistics_are_those_of_one_device(tmp_path, x64, bound):
    one, *others = found(tmp_path, x64).values()
    assert one["gradients/tau"] != 0 and one["metrics/triplet"] > 0
    for many in others:
        assert one.keys() == many.keys()
        for kind in ("metrics", "gradients", "batch_stats"):
            names = [name for name in one if name.startswith(f"{kind}/")]
            largest = max(np.abs(one[name]).max() for name in names)
            for name in names:
                assert np.abs(many[name] - one[name]).max() <= bound * largest, name


def test_terms_are_those_that_weigh_something():
    loss = ContrastiveLoss(None, None, frozenset())
    assert loss.terms == ("nt_xent",)
    assert ContrastiveLoss(None, None, frozenset(), triplet=0.1).terms == ("nt_xent", "triplet")
