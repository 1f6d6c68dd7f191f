"""Requests: their defaults, the latents they come to, and what makes no sense."""

import subprocess
import sys

import numpy as np
import pytest

from qvae_jax.generation import requests
from qvae_jax.generation.requests import LatentRequest, Posterior
from qvae_jax.system.errors import UserError

MEANS = [np.array([1.0, 0.0], np.float32), np.array([0.0, 2.0], np.float32)]


def posteriors():
    return iter([Posterior(mean, np.zeros(2, np.float32)) for mean in MEANS])


def latents_of(**asked) -> list:
    return list(requests.latents_of(LatentRequest(**asked), posteriors(), 2))


@pytest.mark.parametrize(
    ("asked", "noise"),
    [({}, 0.0), ({"prior_samples": 3}, 1.0), ({"prior_samples": 3, "temperature": 0.5}, 0.5)],
)
def test_the_temperature_is_none_for_imitations_and_the_priors_own_for_its_samples(asked, noise):
    assert LatentRequest(**asked).noise == noise


def test_each_input_gives_its_mean():
    found = latents_of()
    for place, (mean, (latent, posterior)) in enumerate(zip(MEANS, found, strict=True), start=1):
        np.testing.assert_array_equal(latent.z, mean)
        assert posterior.mu is mean and latent.place == place


def test_variations_come_input_by_input():
    found = latents_of(variations=2, temperature=0.5, seed=3)
    assert [(latent.place, latent.facts["variation"]) for latent, _ in found] == [
        (1, 1), (1, 2), (2, 1), (2, 2),
    ]  # fmt: skip


def test_an_interpolation_belongs_to_no_single_input():
    found = latents_of(interpolate=3)
    np.testing.assert_allclose([latent.z for latent, _ in found][::2], MEANS, atol=1e-6)
    assert all(latent.place is None and posterior is None for latent, posterior in found)


def test_a_walk_goes_around_each_input_or_around_zero():
    found = latents_of(walk_dimension=1, walk_steps=3)
    expected = [mean + [0, offset] for mean in MEANS for offset in (-3, 0, 3)]
    np.testing.assert_allclose([latent.z for latent, _ in found], expected, atol=1e-6)
    request = LatentRequest(walk_dimension=0, walk_steps=3)
    without = [latent.z for latent, _ in requests.latents_of(request, iter([]), 2)]
    np.testing.assert_allclose(without, [[-3, 0], [0, 0], [3, 0]], atol=1e-6)


def test_the_prior_takes_no_posterior():
    taken = []
    request = LatentRequest(prior_samples=4)
    found = list(requests.latents_of(request, map(taken.append, [1]), 2))
    assert len(found) == 4 and found[0][0].z.shape == (2,) and taken == []


@pytest.mark.parametrize(
    ("asked", "inputs", "from_split", "workdir", "window", "message"),
    [
        ({}, None, None, None, "first", "--inputs is empty"),
        ({}, ["x"], "train", "w", "first", "both name imitations"),
        ({}, None, "train", None, "first", "needs --workdir"),
        ({}, None, "test", "w", "first", "--from_split is 'test'"),
        ({}, ["x"], None, None, "last", "--window is 'last'"),
        ({"seed": -1}, ["x"], None, None, "first", "--seed is -1"),
        ({"temperature": np.nan}, ["x"], None, None, "first", "--temperature is nan"),
        ({"interpolate": 2, "walk_dimension": 0}, ["x"], None, None, "first", "give one of them"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(asked, inputs, from_split, workdir, window, message):
    with pytest.raises(UserError, match=message) as raised:
        requests.check(LatentRequest(**asked), inputs, from_split, workdir, window)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "inputs"),
    [({}, ["x"]), ({"prior_samples": 2}, None), ({"walk_dimension": 0}, None)],
    ids=str,
)
def test_what_makes_sense_passes(asked, inputs):
    requests.check(LatentRequest(**asked), inputs, None, None, "first")
    requests.check_dimension(LatentRequest(**asked), 1)


@pytest.mark.parametrize("part", [None, "train", "interpolation", "extrapolation"])
def test_a_part_that_a_split_may_have_passes(part):
    requests.check_part(part)


def test_a_dimension_that_the_latent_does_not_have_is_refused():
    with pytest.raises(UserError, match="has 2 dimensions: set it from 0 to 1"):
        requests.check_dimension(LatentRequest(walk_dimension=2), 2)


def test_they_load_no_jax():
    code = "import sys, qvae_jax.generation.requests; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
