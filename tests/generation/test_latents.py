"""Latents: draws that their key alone decides, arcs between means, walks."""

import numpy as np
import pytest
from scipy.spatial import geometric_slerp

from qvae_jax.generation import latents

RNG = np.random.default_rng(0)
MU, LOGVAR = RNG.standard_normal((2, 64)).astype(np.float32)


def test_a_draw_is_decided_by_its_key():
    draw = lambda *key: latents.drawn(MU, LOGVAR, 1.0, key)
    np.testing.assert_array_equal(draw(3, 1, 2), draw(3, 1, 2))
    others = [draw(3, 1, 2), draw(4, 1, 2), draw(3, 2, 1), draw(3, 1, 3)]
    assert len({other.tobytes() for other in others}) == 4


def test_draws_have_the_posteriors_moments():
    drawn = np.array([latents.drawn(MU, LOGVAR, 0.5, [i]) for i in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), MU, atol=0.15)
    np.testing.assert_allclose(drawn.std(axis=0), 0.5 * np.exp(0.5 * LOGVAR), rtol=0.1)
    assert drawn.dtype == np.float32


def test_no_temperature_is_the_mean_even_where_the_variance_is_infinite():
    np.testing.assert_array_equal(latents.drawn(MU, np.full(64, 1e4), 0.0, [0]), MU)


def test_the_way_between_two_means_is_scipys_arc():
    ends = RNG.standard_normal((2, 6))
    units = ends / np.linalg.norm(ends, axis=1, keepdims=True)
    for position in (0.0, 0.3, 0.5, 1.0):
        expected = geometric_slerp(units[0], units[1], position)
        norm = (1 - position) * np.linalg.norm(ends[0]) + position * np.linalg.norm(ends[1])
        found = latents.between(*ends, position)
        np.testing.assert_allclose(found, norm * expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("second", [2 * MU, -MU, 0 * MU, MU], ids=["twice", "minus", "0", "same"])
def test_where_there_is_no_arc_it_is_the_chord(second):
    for position in (0.0, 0.25, 1.0):
        found = latents.between(MU, second, position)
        np.testing.assert_allclose(found, (1 - position) * MU + position * second, atol=1e-6)


def test_a_walk_leaves_its_centre_and_the_other_dimensions_alone():
    before = MU.copy()
    steps = latents.walk(MU, 0, 5, 4)
    np.testing.assert_array_equal(MU, before)
    moved = np.array([step.z for step in steps]) - MU
    np.testing.assert_allclose(moved[:, 5], [-3, -1, 1, 3], atol=1e-6)
    assert np.count_nonzero(moved) == 4
