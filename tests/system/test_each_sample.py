"""Batches in groups: the same results, in groups of the size that is asked for."""

import jax.numpy as jnp
import numpy as np
import pytest

from qvae_jax.system.each_sample import each_sample


@pytest.mark.parametrize(
    ("batch", "at_once", "group"),
    [(0, 4, 0), (1, 1, 1), (3, 1, 1), (3, 4, 3), (4, 4, 4), (6, 4, 3), (7, 4, 1), (16, 4, 4)],
)
def test_samples_go_in_equal_groups(batch, at_once, group):
    groups = []

    def doubled(x):
        groups.append(len(x))
        return jnp.sum(2.0 * x, axis=-1)

    given = np.arange(batch * 6, dtype=np.float32).reshape(batch, 2, 3)
    result = each_sample(doubled, given, at_once=at_once)
    np.testing.assert_array_equal(result, 2.0 * given.sum(-1))
    assert set(groups) == {group}
