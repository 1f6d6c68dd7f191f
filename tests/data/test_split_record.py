"""The record of a run's split: what it holds, and how a data set that has changed is read by it."""

import json

import numpy as np
import pytest

from qvae_jax.data import vimsketch
from qvae_jax.data.batches import Examples
from qvae_jax.data.index import Pair
from qvae_jax.data.split_record import (
    SPLIT_FILE,
    SplitRecord,
    record_split,
    recorded_split,
    unrecorded_split,
)
from qvae_jax.system.errors import UserError

REFERENCES = ["0_0.wav", "0_1.wav", "0_2.wav"]


def pair(number: int) -> Pair:
    """Imitation n belongs to reference n % 3."""
    return Pair(f"{number}_{number % 3}.wav", f"0_{number % 3}.wav", f"{number % 3}")


def parts(**numbers: list[int]) -> dict[str, Examples]:
    """Parts of pairs of these numbers."""
    nothing = np.zeros((0,))
    return {
        name: Examples(tuple(map(pair, of_part)), *[nothing] * 4)
        for name, of_part in numbers.items()
    }


def index_of(*numbers: int, references=REFERENCES):
    return vimsketch.index_from_names("set", references, [pair(n).imitation for n in numbers])


@pytest.fixture
def record(tmp_path) -> SplitRecord:
    record_split(tmp_path, parts(train=[2, 1], interpolation=[5]), {"z.wav": "damaged"})
    return recorded_split(tmp_path)


def test_the_record_tells_all(tmp_path, record):
    found = {
        "parts": {
            "train": {"2_2.wav": "0_2.wav", "1_1.wav": "0_1.wav"},
            "interpolation": {"5_2.wav": "0_2.wav"},
        },
        "left_out": {"z.wav": "damaged"},
    }
    assert json.loads((tmp_path / SPLIT_FILE).read_text("utf-8")) == found
    assert (record.parts, record.left_out) == (found["parts"], found["left_out"])


def test_names_of_any_kind_come_back(tmp_path):
    names = ["1_ü, 1.wav", "1_犬 🐶.wav", '1_"quoted".wav', "1_a\nb.wav"]
    pairs = {name: Examples((Pair(name, name, name),), *[np.zeros(0)] * 4) for name in names}
    for name, examples in pairs.items():
        record_split(tmp_path, {"train": examples}, {name: name})
        assert recorded_split(tmp_path).parts == {"train": {name: name}}


def test_the_pairs_are_the_records_in_its_order_whatever_was_added(record):
    index = index_of(0, 1, 2, 3, 4, 5, 6)
    assert record.pairs("train", index) == (pair(2), pair(1))
    assert record.pairs("interpolation", index) == (pair(5),)
    assert record.pairs("extrapolation", index) == ()
    assert record.added_since(index) == [pair(n).imitation for n in (0, 3, 4, 6)]


def test_what_was_left_out_was_not_added(tmp_path):
    left_out = {"3_0.wav": "damaged", "0_1.wav": "damaged"}  # an imitation, and a reference
    record_split(tmp_path, parts(train=[2]), left_out)
    index = index_of(0, 1, 2, 3, 4)
    assert recorded_split(tmp_path).added_since(index) == ["0_0.wav"]


@pytest.mark.parametrize(
    ("index", "part", "message"),
    [
        (index_of(1, 5), "train", "'2_2.wav' is no longer in train; restore"),
        (index_of(0, 5), "train", "'2_2.wav' is no longer in train and 1 more difference;"),
        (index_of(1, 2), "interpolation", "'5_2.wav' is no longer in interpolation;"),
        (
            index_of(1, 2, 5, references=REFERENCES[:2]),
            "interpolation",
            "'0_2.wav', the reference of '5_2.wav' in interpolation, is gone;",
        ),
        (
            index_of(1, 2, 5, references=["0_1.wav", "9_2.wav", "0_2.x"]),
            "train",
            "'0_2.wav', the reference of '2_2.wav' in train, is gone;",
        ),
    ],
)
def test_what_is_gone_is_named(tmp_path, record, index, part, message):
    with pytest.raises(UserError, match=message) as raised:
        record.pairs(part, index)
    assert str(tmp_path / SPLIT_FILE) in str(raised.value) and "\n" not in str(raised.value)


def test_an_imitation_with_another_reference_is_named(tmp_path):
    moved = Pair("1_1.wav", "0_2.wav", "1.wav")
    record_split(tmp_path, {"train": Examples((moved,), *[np.zeros(0)] * 4)}, {})
    message = "'1_1.wav' in train has the reference '0_1.wav' instead of '0_2.wav'"
    with pytest.raises(UserError, match=message):
        recorded_split(tmp_path).pairs("train", index_of(1, 2))


def test_a_pair_that_could_not_be_read_again_is_named(record):
    record.require_all(parts(train=[1, 2], interpolation=[5], extrapolation=[]))
    with pytest.raises(UserError, match="'1_1.wav' is no longer in train and 1 more"):
        record.require_all(parts(train=[2]))


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"parts": []}',
        '{"parts": {"train": 3}, "left_out": {}}',
        '{"parts": {"train": {"a": 3}}, "left_out": {}}',
        '{"parts": {"train": {}}}',
        '{"parts": {"train": {}}, "left_out": []}',
        '{"parts": {"interpolation": {}}, "left_out": {}}',
        '{"parts": {"train": {}, "other": {}}, "left_out": {}}',
        "{",
    ],
)
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / SPLIT_FILE).write_text(content)
    with pytest.raises(UserError, match=f"{SPLIT_FILE} is .*damaged"):
        recorded_split(tmp_path)


def test_a_run_without_a_record_says_so(tmp_path, capsys):
    assert recorded_split(tmp_path) is None
    told = capsys.readouterr().out
    assert f"{tmp_path} holds no split.json" in told and told.count("\n") == 1


def test_pairs_without_a_record_are_read_as_if_they_had_one(tmp_path):
    found = unrecorded_split(tmp_path, {"train": (pair(2), pair(1)), "interpolation": (pair(5),)})
    assert found.pairs("train", index_of(1, 2, 5)) == (pair(2), pair(1))
    assert not (tmp_path / SPLIT_FILE).exists()


def test_a_data_set_in_another_format_or_unicode_form_is_the_same(tmp_path):
    pairs = (Pair("1_\u00f6.wav", "0_\u00f6.wav", "\u00f6"), Pair("2_a.wav", "0_a.wav", "a"))
    record_split(tmp_path, {"train": Examples(pairs, *[np.zeros(0)] * 4)}, {"3_a.wav": "damaged"})
    index = vimsketch.index_from_names(
        "set", ["0_o\u0308.flac", "0_a.wav"], ["1_o\u0308.wav", "2_a.FLAC", "3_a.flac", "4_a.flac"]
    )
    found = recorded_split(tmp_path).pairs("train", index)
    assert [(pair.imitation, pair.reference) for pair in found] == [
        ("1_o\u0308.wav", "0_o\u0308.flac"),
        ("2_a.FLAC", "0_a.wav"),
    ]
    recorded_split(tmp_path).require_all({"train": Examples(found, *[np.zeros(0)] * 4)})
    assert recorded_split(tmp_path).added_since(index) == ["4_a.flac"]
