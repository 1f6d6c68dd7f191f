import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.data.index import Index, Pair
from qvae_jax.data.splits import draw_pairs, split_pairs
from qvae_jax.data.vimsketch import index_from_names
from qvae_jax.system.errors import UserError

GOLDEN_SPLITS = Path(__file__).resolve().parents[1] / "golden" / "splits.json"


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN_SPLITS.read_text())


@pytest.fixture(scope="module")
def vimsketch_split(shared_dir, golden):
    names = [
        (shared_dir / "vimsketch_names" / name).read_text().split("\n")[:-1]
        for name in ("reference_file_names.csv", "vocal_imitation_file_names.csv")
    ]
    return split_pairs(
        index_from_names("VimSketch", *names),
        seed=golden["seed"],
        train_sound_ratio=golden["train_sound_ratio"],
        train_imitation_ratio=golden["train_imitation_ratio"],
    )


def _index(num_imitations_of_each_sound: list[int]) -> Index:
    references = [f"{i}_sound{i}.wav" for i in range(len(num_imitations_of_each_sound))]
    imitations = [
        f"{j}_sound{i}.wav"
        for i, num in enumerate(num_imitations_of_each_sound)
        for j in range(num)
    ]
    return index_from_names("anywhere", references, imitations)


def test_counts_are_the_originals(vimsketch_split, golden):
    counts = {
        "n_train_sounds": len(vimsketch_split.train_sounds),
        "n_extrapolation_sounds": len(vimsketch_split.extrapolation_sounds),
        "n_train_pairs": len(vimsketch_split.train),
        "n_interpolation_pairs": len(vimsketch_split.interpolation),
        "n_extrapolation_pairs": len(vimsketch_split.extrapolation),
    }
    assert counts == {name: golden[name] for name in counts}
    assert counts["n_train_sounds"] + counts["n_extrapolation_sounds"] == golden["n_sounds"]


@pytest.mark.parametrize(
    ("part", "golden_name"),
    [
        ("train_sounds", "train_sounds"),
        ("extrapolation_sounds", "extrapolation_sounds"),
        ("train", "train_imitations"),
        ("interpolation", "interpolation_imitations"),
    ],
)
def test_entries_and_their_order_are_the_originals(vimsketch_split, golden, part, golden_name):
    names = [
        entry.imitation if isinstance(entry, Pair) else f"{entry}.wav"
        for entry in getattr(vimsketch_split, part)
    ]
    assert names[:3] == golden[f"first_{golden_name}"]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert digest == golden[f"sha256_{golden_name}"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    nums=st.lists(st.integers(0, 12), min_size=1, max_size=15).filter(any),
    seed=st.integers(0, 2**32 - 1),
    sound_ratio=st.floats(0, 1),
    imitation_ratio=st.floats(0, 1),
)
def test_each_pair_lies_in_one_part_and_no_sound_leaks(nums, seed, sound_ratio, imitation_ratio):
    index = _index(nums)
    split = split_pairs(
        index, seed=seed, train_sound_ratio=sound_ratio, train_imitation_ratio=imitation_ratio
    )
    parts = split.train + split.interpolation + split.extrapolation
    assert sorted(pair.imitation for pair in parts) == sorted(index.imitations)
    assert {pair.key for pair in split.train + split.interpolation} == set(split.train_sounds)
    assert {pair.key for pair in split.extrapolation} == set(split.extrapolation_sounds)
    assert not set(split.train_sounds) & set(split.extrapolation_sounds)
    num_sounds = sum(num > 0 for num in nums)
    assert len(split.train_sounds) == int(sound_ratio * num_sounds)


def test_the_same_seed_repeats_a_split_and_another_changes_it():
    index = _index([10] * 10)
    assert split_pairs(index, seed=1) == split_pairs(index, seed=1)
    assert split_pairs(index, seed=1).train != split_pairs(index, seed=2).train


@pytest.mark.parametrize(
    ("nums", "sizes"),
    [([1], (0, 0, 1)), ([5], (0, 0, 5)), ([1, 1], (0, 1, 1)), ([2, 2], (1, 1, 2))],
)
def test_tiny_sets_leave_parts_empty(nums, sizes):
    split = split_pairs(_index(nums))
    assert (len(split.train), len(split.interpolation), len(split.extrapolation)) == sizes


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**32}, "seed 4294967296"),
        ({"train_sound_ratio": 1.5}, "train_sound_ratio"),
        ({"train_imitation_ratio": -0.1}, "train_imitation_ratio"),
        ({"train_sound_ratio": float("nan")}, "train_sound_ratio"),
    ],
)
def test_split_refuses_values_out_of_range(arguments, named):
    with pytest.raises(UserError, match=named):
        split_pairs(_index([3]), **arguments)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(num_available=st.integers(1, 30), num_pairs=st.integers(1, 40), seed=st.integers(0, 999))
def test_draw_pairs_gives_distinct_pairs_in_order(num_available, num_pairs, seed):
    pairs = _index([num_available]).pairs
    drawn = draw_pairs(pairs, num_pairs, seed)
    assert len(drawn) == min(num_pairs, num_available)
    positions = [pairs.index(pair) for pair in drawn]
    assert positions == sorted(set(positions))
    assert drawn == draw_pairs(pairs, num_pairs, seed)


def test_draw_pairs_depends_on_the_seed():
    pairs = _index([100]).pairs
    assert draw_pairs(pairs, 5, seed=0) != draw_pairs(pairs, 5, seed=1)


@pytest.mark.parametrize(("num_pairs", "seed"), [(0, 0), (-3, 0), (1, -1)])
def test_draw_pairs_refuses_values_out_of_range(num_pairs, seed):
    with pytest.raises(UserError, match="set it to"):
        draw_pairs(_index([3]).pairs, num_pairs, seed)
