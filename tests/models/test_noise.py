"""White noise of which every frame depends on its example and its number alone."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import virtual_devices
from qvae_jax.models import noise

HOP = 243
SEEDS = np.random.default_rng(0).integers(0, 2**32, (5, 2), dtype=np.uint32)
white = jax.jit(noise.white, static_argnums=(1, 2))


@pytest.fixture(scope="module")
def frames():
    """[rows, frames, hop]."""
    return np.asarray(white(SEEDS, 12, HOP)).reshape(5, 12, HOP)


def _by_jit(seeds, count):
    return white(seeds, count, HOP)


def _by_vmap(seeds, count):
    return jax.jit(jax.vmap(lambda seed: noise.white(seed[None], count, HOP)[0]))(seeds)


def _one_by_one(seeds, count):
    return np.concatenate([noise.white(seed[None], count, HOP) for seed in seeds])


@pytest.mark.parametrize("drawn", [_by_jit, _by_vmap, _one_by_one])
@pytest.mark.parametrize(("rows", "count"), [([3], 12), ([4, 1], 3), ([0, 1, 2, 3, 4], 1)])
def test_a_frame_is_the_same_alone_in_a_batch_and_among_more_frames(frames, drawn, rows, count):
    ours = np.asarray(drawn(SEEDS[rows], count)).reshape(len(rows), count, HOP)
    np.testing.assert_array_equal(ours, frames[rows, :count])


def test_either_number_of_a_seed_and_the_frames_make_another_noise(frames):
    apart = [white(np.array([seed], np.uint32), 2, HOP) for seed in ((0, 0), (0, 1), (1, 0))]
    parts = np.concatenate([frames.reshape(-1, HOP), np.reshape(apart, (-1, HOP))])
    alike = np.abs(np.corrcoef(parts) - np.eye(len(parts)))
    assert alike.max() < 5 / np.sqrt(HOP)  # five standard deviations of chance


def test_it_is_normal_and_white():
    samples = np.asarray(white(SEEDS, 81, HOP)).ravel()
    count = len(samples)
    assert samples.dtype == np.float32
    assert abs(samples.mean()) < 4 / np.sqrt(count)
    assert samples.var() == pytest.approx(1, abs=4 * np.sqrt(2 / count))
    assert np.mean(samples**4) == pytest.approx(3, abs=4 * np.sqrt(96 / count))
    for lag in (1, 2, HOP - 1, HOP):
        assert abs(np.mean(samples[lag:] * samples[:-lag])) < 4 / np.sqrt(count)


def test_a_rows_seed_depends_on_the_step_and_its_place_alone():
    key = jax.random.key(3)
    eight = np.asarray(noise.of_rows(key, 8))
    assert eight.shape == (8, 2) and eight.dtype == np.uint32
    assert len(np.unique(eight, axis=0)) == 8
    np.testing.assert_array_equal(noise.of_rows(key, 3), eight[:3])
    other = np.asarray(noise.of_rows(jax.random.key(4), 8))
    assert not np.any(np.all(other == eight, axis=1))


ON_EIGHT = """
import sys
import jax, numpy as np
from jax.sharding import PartitionSpec
from qvae_jax.models import noise

assert jax.device_count() == 8
def part(axis_name, num_devices):
    mesh = jax.make_mesh((num_devices,), (axis_name,), devices=jax.devices()[:num_devices])
    rows = lambda key: noise.of_rows(key, 8 // num_devices, axis_name)
    of_parts = jax.shard_map(
        rows, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(axis_name)
    )
    return jax.jit(of_parts)(jax.random.key(3))

np.save(sys.argv[1], [part("devices", count) for count in (1, 2, 8)])
"""


def test_a_rows_seed_is_the_same_on_any_number_of_devices(tmp_path):
    found = tmp_path / "seeds.npy"
    subprocess.run(
        [sys.executable, "-c", ON_EIGHT, str(found)],
        env=virtual_devices.environment(8),
        check=True,
    )
    expected = noise.of_rows(jax.random.key(3), 8)
    for seeds in np.load(found):
        np.testing.assert_array_equal(seeds, expected)
