"""Verdicts on runs: each fault by itself, at both sides of its threshold."""

import numpy as np
import pytest

from qvae_jax.diagnostics import verdicts
from snapshots import snapshot

CLIP_NORM = 2.0
ALIVE_AND_DEAD = np.array([1.0, 1e-3, 1.0, 1e-3, 1e-3, 1e-3])


def run_of(num_epochs: int, **changes) -> list:
    return [snapshot(epoch, **changes) for epoch in range(1, num_epochs + 1)]


def growing(part: str, norms: list[float]) -> list:
    return [snapshot(epoch, **{part: norm}) for epoch, norm in enumerate(norms, start=1)]


@pytest.mark.parametrize("num_epochs", [1, 2, 9])
def test_a_healthy_run_is_called_so(num_epochs):
    assert verdicts.verdicts(run_of(num_epochs), CLIP_NORM) == [verdicts.HEALTHY]


def test_a_latent_without_divergence_has_collapsed():
    healthy, collapsed = snapshot(1), snapshot(2, scale=0.05, logvar=0.0)
    [said] = verdicts.verdicts([healthy, collapsed], CLIP_NORM)
    assert said.startswith("collapse: at epoch 2 the mean KL divergence is")
    assert "in use at epoch 1" in said and "beta" in said
    assert verdicts.collapse([collapsed, healthy]) == []


@pytest.mark.parametrize(("kl_nats", "collapsed"), [(0.11, False), (0.09, True)], ids=str)
def test_the_bound_of_the_divergence(kl_nats, collapsed):
    found = snapshot(scale=1.0)
    for part in found.parts:
        found.arrays[f"{part}/kl_per_sample"] = np.full(6, kl_nats)
    assert bool(verdicts.collapse([found])) == collapsed


def test_one_part_of_the_data_that_uses_the_latent_is_enough():
    found = snapshot()
    found.arrays["interpolation/kl_per_sample"] = np.zeros(6)
    assert verdicts.collapse([found]) == []


def test_divergence_from_means_that_never_move_is_collapse_too():
    found = snapshot(scale=0.0, logvar=-2.0)
    assert found.of("interpolation", "kl_per_sample").mean() > 1
    [said] = verdicts.verdicts([found], CLIP_NORM)
    assert "0 of 4 latent dimensions are active" in said and "never was in use" in said


@pytest.mark.parametrize(("active", "collapsed"), [(4, False), (3, True)], ids=str)
def test_the_bound_of_active_units(active, collapsed):
    scale = np.where(np.arange(64) < active, 2.0, 0.0)  # 5 % of 64 are 3.2
    assert bool(verdicts.collapse([snapshot(scale=scale, latent_dim=64)])) == collapsed


def test_dead_dimensions_are_named():
    found = snapshot(scale=ALIVE_AND_DEAD, logvar=0.0, latent_dim=6)
    [said] = verdicts.verdicts([found], CLIP_NORM)
    assert said.startswith("dead latents: 4 of 6 at epoch 1, dimensions 1, 3 to 5;")


def test_a_dimension_that_costs_something_is_not_dead():
    # Still means but a narrow posterior: KL of 0.5 nats, which the loss pays for.
    assert verdicts.dead_latents(snapshot(scale=0.0, logvar=-1.5)) == []


def test_a_dimension_that_one_part_of_the_data_uses_is_not_dead():
    found = snapshot(scale=ALIVE_AND_DEAD, logvar=0.0, latent_dim=6)
    found.arrays["extrapolation/active"] = np.ones(6, bool)
    assert verdicts.dead_latents(found) == []


@pytest.mark.parametrize("norm", [np.nan, np.inf], ids=str)
def test_a_gradient_that_is_not_finite_is_named(norm):
    [said] = verdicts.verdicts(growing("mu_head", [norm]), CLIP_NORM)
    assert f"exploding part: the gradient of mu_head is not finite ({norm}) at epoch 1" in said


@pytest.mark.parametrize(
    ("norms", "exploding"),
    [
        ([1, 1, 1, 11, 11, 11], True),
        ([1, 1, 1, 9, 9, 9], False),
        ([1, 1, 1, 1, 1, 1000], False),  # one leap is no trend
        ([1, 1, 1, 1, 1000, 1000], True),
        ([1, 1, 1, 11, 11], False),  # too short to tell
        ([0.01, 0.01, 0.01, 1.9, 1.9, 1.9], False),  # below the clipping
        ([0, 0, 0, 3, 3, 3], True),
        ([1, np.nan, 1, 1, 50, 50, 50], True),
        ([50, 50, 50, 1, 1, 1], False),
    ],
    ids=str,
)
def test_growth_beyond_the_factor_is_exploding(norms, exploding):
    said = verdicts.exploding_parts(growing("decoder.stages.0", norms), CLIP_NORM)
    assert [s.split(" is ")[0] for s in said] == (
        ["exploding part: the gradient of decoder.stages.0"] if exploding else []
    )


def test_every_fault_is_told():
    found = snapshot(scale=ALIVE_AND_DEAD, logvar=0.0, latent_dim=6, mu_head=np.nan)
    kinds = [said.split(":")[0] for said in verdicts.verdicts([found], CLIP_NORM)]
    assert kinds == ["dead latents", "exploding part"]


@pytest.mark.parametrize(
    ("numbers", "text"), [([4], "4"), ([0, 1], "0 to 1"), ([0, 2, 3, 4, 9], "0, 2 to 4, 9")]
)
def test_ranges(numbers, text):
    assert verdicts.ranges(numbers) == text
