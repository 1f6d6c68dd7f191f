"""What a network makes of a sound with silence behind it is the same with most of that left out."""

import functools
import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filled import error
from qvae_jax.models import mobilenet, silent_end, variables
from qvae_jax.models.mobilenet import MobileNetV3
from qvae_jax.system import platforms

NUM_MELS = 16
ANY_STRIDES = list(itertools.product((1, 2), repeat=4))


@functools.cache
def network(strides: tuple[int, ...]):
    """The narrowest one in float64, with running statistics of any kind: structure and variables."""
    rng = np.random.default_rng(0)
    graphdef, drawn = variables.split(MobileNetV3(0.1, strides=strides, rng=rng))
    moved = lambda array: array + rng.uniform(0.0, 0.5, array.shape)  # no bias or mean is 0 then
    return graphdef, jax.tree.map(moved, drawn)


def logmel(num_frames: int, first_silent: int) -> np.ndarray:
    """Three, of noise and then of one column: float64 [3, mels, frames]."""
    values = np.random.default_rng(1).standard_normal((3, NUM_MELS, num_frames))
    values[:, :, first_silent:] = -1.4
    return values


def both_ways(strides, num_frames, first_silent) -> tuple[np.ndarray, np.ndarray]:
    """Features by columns that are left out, and by all."""
    graphdef, given = network(strides)
    columns = silent_end.columns_of_layers(num_frames, first_silent, strides)
    whole = logmel(num_frames, first_silent)

    @jax.jit
    def run(given, part, whole):
        of = variables.merge(graphdef, given)
        return silent_end.pooled(of, part, columns), of.pooled(whole)

    with jax.enable_x64(True):
        return run(given, whole[:, :, : columns[0].before.num_kept], whole)


@pytest.mark.parametrize(
    ("strides", "num_frames", "first_silent"),
    [
        (mobilenet.STRIDES, 700, 30),  # even the last map lacks columns
        (mobilenet.STRIDES, 333, 60),
        ((2, 2, 1, 1), 400, 101),
        ((1, 2, 1, 2), 250, 0),
        (mobilenet.STRIDES, 100, 95),  # nothing is left out
    ],
)
def test_features_are_those_of_all_columns_to_rounding(strides, num_frames, first_silent):
    short, plain = both_ways(strides, num_frames, first_silent)
    assert short.dtype == np.float64 and np.ptp(plain) > 0.01
    assert error(short, plain) < 1e-12


def test_a_platform_without_fast_forms_computes_the_same():
    with platforms.compiling_for("cuda"):
        assert error(*both_ways(mobilenet.STRIDES, 700, 30)) < 1e-12


def test_ten_seconds_lack_most_of_the_silence():
    columns = silent_end.columns_of_layers(num_frames=1000, first_silent=252)
    kept = [of_layer.before.num_kept for of_layer in columns]
    assert kept[0] < 270 and kept[2] < 140 and kept[4] < 100
    assert columns[-1].after.num_left_out > 0
    assert columns[-1].after.counts.sum() == 32


@given(
    strides=st.sampled_from(ANY_STRIDES),
    num_frames=st.integers(1, 800),
    first_silent=st.integers(0, 850),
)
@settings(deadline=None, max_examples=200)
def test_columns_that_are_left_out_make_no_difference_to_any_layer(
    strides, num_frames, first_silent
):
    """By convolutions in time alone, each of which sees the mean of what it gives as a gate would."""
    rng = np.random.default_rng(0)
    whole = rng.standard_normal(num_frames)
    whole[first_silent:] = 0.7
    columns = silent_end.columns_of_layers(num_frames, first_silent, strides)
    part, given = whole[: columns[0].before.num_kept], columns[0].before
    sizes = zip(mobilenet.kernel_sizes(), mobilenet.layer_strides(strides), strict=True)
    for (kernel_size, stride), of_layer in zip(sizes, columns, strict=True):
        put_back = np.ones(len(part), int)
        if num_put_back := given.num_left_out - of_layer.before.num_left_out:
            assert num_put_back > 0
            put_back[given.repeated] += num_put_back
        part, given = np.repeat(part, put_back), of_layer.after
        assert len(part) == of_layer.before.num_kept
        kernel = rng.standard_normal(kernel_size) / kernel_size
        part, whole = (convolved(x, kernel, stride) for x in (part, whole))
        assert len(part) == given.num_kept
        means = np.average(part, weights=given.counts), np.mean(whole)
        part, whole = (np.tanh(x + 0.1 + mean) for x, mean in zip((part, whole), means))
    counts = np.ones(len(part), int) if given.counts is None else given.counts.astype(int)
    np.testing.assert_allclose(np.repeat(part, counts), whole, rtol=0, atol=1e-12)


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Padded by zeros on both sides, as torch does."""
    padded = np.pad(x, len(kernel) // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, len(kernel))[::stride] @ kernel
