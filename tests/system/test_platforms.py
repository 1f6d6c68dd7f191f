"""Batches in groups: the same results, in groups of the size that is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qvae_jax.system import platforms


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
    result = platforms.each_sample(doubled, given, at_once=at_once)
    np.testing.assert_array_equal(result, 2.0 * given.sum(-1))
    assert set(groups) == {group}


def test_several_devices_see_the_whole_batch(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    seen = []
    platforms.each_sample(lambda x: seen.append(len(x)) or x, np.ones((6, 1)), at_once=2)
    assert seen == [6]
