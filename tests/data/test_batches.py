"""Batches: a pure function of (seed, step), fetched ahead without changing anything."""

import dataclasses
import pathlib
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waiting
from qvae_jax.data import batches, recipes
from qvae_jax.data.batches import Examples, evaluation_batches, prefetch, timed, training_indices
from qvae_jax.data.vimsketch import Pair

PROPERTY = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.fixture
def examples() -> Examples:
    """Seven examples whose rows lie in another order; input row r holds r, target row r −r."""
    rows = np.array([3, 1, 4, 0, 5, 9, 2])
    return Examples(
        pairs=tuple(Pair(f"{i}_x", "1_x", "x") for i in range(7)),
        inputs=np.arange(10, dtype=np.float16)[:, None] * np.ones((1, 2), np.float16),
        targets=-np.arange(10, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32),
        input_rows=rows,
        target_rows=rows[::-1].copy(),
    )


def test_a_batch_joins_inputs_and_targets_by_their_rows(examples):
    batch = examples.batch(np.array([0, 6]))
    np.testing.assert_array_equal(batch["inputs"], [[3, 3], [2, 2]])
    np.testing.assert_array_equal(batch["targets"], [[-2, -2, -2], [-3, -3, -3]])
    assert batch["inputs"].dtype == batch["targets"].dtype == np.float32
    assert len(examples) == 7


def test_every_input_comes_once_however_many_pairs_use_it(examples):
    shared = dataclasses.replace(examples, input_rows=np.array([3, 1, 3, 3, 5, 1, 2]))
    found = list(shared.distinct_inputs(3))
    assert [batch[:, 0].tolist() for batch in found] == [[1, 2, 3], [5]]
    assert all(batch.dtype == np.float32 for batch in found)


@pytest.fixture
def steered(examples) -> Examples:
    """The same with a gesture of each target; row r has the length 100 + r and curves of r."""
    gestures = np.zeros(10, recipes.GESTURE)
    gestures["length"] = 100 + np.arange(10)
    gestures["controls"] = np.arange(10)[:, None, None]
    rows = np.array([9, 8, 7, 6, 5, 4, 3])
    return dataclasses.replace(examples, gestures=gestures, gesture_rows=rows)


def test_a_steered_batch_has_each_targets_curves_and_length(examples, steered):
    assert examples.batch(np.array([0])).keys() == {"inputs", "targets"}
    batch = steered.batch(np.array([0, 6]))
    assert (batch["controls"].shape, batch["controls"].dtype) == ((2, 243, 4), np.float32)
    assert batch["controls"].flags.c_contiguous and batch["lengths"].flags.c_contiguous
    np.testing.assert_array_equal(batch["controls"][:, 0, 0], [9, 3])
    np.testing.assert_array_equal(batch["lengths"], np.array([109, 103], np.int32))
    last = list(evaluation_batches(steered, 4))[-1]
    np.testing.assert_array_equal(last["lengths"], [105, 104, 103, 109])  # padded by the first
    np.testing.assert_array_equal(last["valid"], [True, True, True, False])


def test_some_of_the_examples(steered):
    few = steered.at(np.array([5, 1]))
    assert [pair.imitation for pair in few.pairs] == ["5_x", "1_x"]
    for name, values in few.batch(np.arange(2)).items():
        np.testing.assert_array_equal(values, steered.batch(np.array([5, 1]))[name])


@pytest.mark.skipif(not pathlib.Path("/proc").is_dir(), reason="looks into /proc")
def test_a_memory_map_stays_on_disk(tmp_path):
    """Reading all of 64 MB, batch by batch, leaves none of it in the process's memory."""
    path = tmp_path / "rows.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float16, (256, 128, 1024))
    rows[:] = np.arange(256, dtype=np.float16)[:, None, None]
    del rows
    array = np.load(path, mmap_mode="r")
    order = np.random.default_rng(0).permutation(256)
    examples = Examples((Pair("1_x", "1_x", "x"),) * 256, array, array, order, order)
    for start in range(0, 256, 8):
        batch = examples.batch(np.arange(start, start + 8))
        np.testing.assert_array_equal(batch["inputs"][:, 0, 0], order[start : start + 8])
        np.testing.assert_array_equal(batch["inputs"], batch["targets"])
    lines = pathlib.Path("/proc/self/smaps").read_text().split("\n")
    mapped = next(number for number, line in enumerate(lines) if line.endswith(str(path)))
    resident_kb = next(int(li.split()[1]) for li in lines[mapped:] if li.startswith("Rss:"))
    assert resident_kb == 0


@PROPERTY
@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 2**32 - 1), st.integers(0, 10**9))
def test_indices_depend_on_seed_and_step_alone(num_examples, batch_size, seed, step):
    first = training_indices(num_examples, batch_size, seed, step)
    training_indices(num_examples, batch_size, seed, step + 17)
    np.testing.assert_array_equal(first, training_indices(num_examples, batch_size, seed, step))
    assert first.shape == (min(batch_size, num_examples),)
    assert len(set(first)) == len(first)
    assert set(first) <= set(range(num_examples))


@PROPERTY
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_a_pass_takes_each_example_at_most_once(num_examples, batch_size, seed, pass_number):
    steps = num_examples // min(batch_size, num_examples)
    first = pass_number * steps
    taken = np.concatenate(
        [training_indices(num_examples, batch_size, seed, first + i) for i in range(steps)]
    )
    assert len(set(taken)) == len(taken) == steps * min(batch_size, num_examples)
    if num_examples % batch_size == 0:
        assert sorted(taken) == list(range(num_examples))


def test_passes_and_seeds_have_orders_of_their_own():
    orders = {tuple(training_indices(30, 30, seed, step)) for seed in range(3) for step in range(3)}
    assert len(orders) == 9


@PROPERTY
@given(st.integers(1, 12))
def test_evaluation_takes_every_example_once_in_order(batch_size):
    rows = np.arange(7)
    examples = Examples(
        pairs=(Pair("1_x", "1_x", "x"),) * 7,
        inputs=np.arange(7.0)[:, None],
        targets=np.arange(7.0)[:, None],
        input_rows=rows,
        target_rows=rows,
    )
    batches = list(evaluation_batches(examples, batch_size))
    assert all(len(batch["inputs"]) == len(batch["valid"]) == batch_size for batch in batches)
    seen = np.concatenate([batch["inputs"][batch["valid"], 0] for batch in batches])
    np.testing.assert_array_equal(seen, np.arange(7.0))


def test_prefetch_keeps_the_order():
    def slow_at_first(i: int) -> int:
        time.sleep(0.02 if i < 5 else 0)
        return i * i

    assert list(prefetch(slow_at_first, 3, 40)) == [i * i for i in range(3, 40)]
    assert list(prefetch(slow_at_first, 5, 5)) == []


def test_prefetch_is_only_so_far_ahead():
    made = []
    feed = prefetch(made.append, 0, 100, depth=2)
    next(feed)
    # One was taken, two wait in the queue, and one waits for a place in it.
    waiting.until(lambda: len(made) >= 4)
    time.sleep(0.1)
    assert len(made) == 4
    feed.close()


def test_an_exception_comes_where_its_item_would_have_come():
    def make(i: int) -> int:
        if i == 3:
            raise ValueError("item 3")
        return i

    taken = []
    with pytest.raises(ValueError, match="item 3"):
        for item in prefetch(make, 0, 10):
            taken.append(item)
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("num_taken", [0, 1, 5])
def test_leaving_early_ends_the_thread(num_taken):
    before = set(threading.enumerate())
    feed = prefetch(lambda i: i, 0, 10**6)
    for _ in range(num_taken):
        next(feed)
    feed.close()
    assert set(threading.enumerate()) <= before


def test_no_thread_is_left_after_the_end_or_an_exception():
    before = set(threading.enumerate())
    list(prefetch(lambda i: i, 0, 5))
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda i: 1 // i, 0, 5))
    assert set(threading.enumerate()) <= before


def test_waiting_is_timed(monkeypatch):
    now_s = 7.0
    monkeypatch.setattr(batches.time, "perf_counter", lambda: now_s)

    def slow():
        nonlocal now_s
        for i in range(4):
            now_s += 0.5 if i == 2 else 0.0
            yield i

    found = []
    for item in timed(slow()):
        found.append(item)
        now_s += 8.0  # what is done with an item is no wait
    assert found == [(0, 0.0), (1, 0.0), (2, 0.5), (3, 0.0)]
    assert list(timed(iter(()))) == []


def test_examples_of_several_folders_are_one(examples):
    other = dataclasses.replace(examples.at(np.array([2, 5])), inputs=-examples.inputs)
    both = batches.joined([examples, other])
    assert len(both) == 9 and both.pairs == examples.pairs + other.pairs
    order = np.array([8, 0, 7, 6])
    batch = both.batch(order)
    for name in ("inputs", "targets"):
        apart = [part.batch(np.arange(len(part)))[name] for part in (examples, other)]
        np.testing.assert_array_equal(batch[name], np.concatenate(apart)[order])
    few = both.at(order).batch(np.arange(4))
    np.testing.assert_array_equal(few["inputs"], batch["inputs"])
    assert batches.joined([examples]) is examples
    assert len(both.inputs) == 20 and batch["inputs"].dtype == np.float32
