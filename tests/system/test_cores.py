"""How many cores this process may use, on systems that tell and on others."""

import os

import pytest

from qvae_jax.system.cores import num_usable_cores


@pytest.mark.parametrize("usable", [{0}, {1, 5, 7}])
def test_cores_that_the_system_withholds_do_not_count(monkeypatch, usable):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: usable, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert num_usable_cores() == len(usable)


@pytest.mark.parametrize(("count", "expected"), [(8, 8), (None, 1)])
def test_where_the_system_does_not_tell_all_cores_count(monkeypatch, count, expected):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert num_usable_cores() == expected
