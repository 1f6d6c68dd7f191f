"""The record of a run's split: what it holds, and that a run goes on with the same files only."""

import json

import numpy as np
import pytest

from qvae_jax.data.batches import Examples
from qvae_jax.data.split_record import SPLIT_FILE, check_split, record_split
from qvae_jax.data.vimsketch import Pair
from qvae_jax.system.errors import UserError


def parts(**numbers: list[int]) -> dict[str, Examples]:
    """Parts of pairs of these numbers; imitation n belongs to reference n % 3."""
    nothing = np.zeros((0,))
    return {
        name: Examples(
            tuple(Pair(f"{n}_ü, {n % 3}.wav", f"0_{n % 3}.wav", f"{n % 3}.wav") for n in of_part),
            *[nothing] * 4,
        )
        for name, of_part in numbers.items()
    }


def test_the_record_tells_all(tmp_path):
    record_split(tmp_path, parts(train=[1, 2], interpolation=[5]), {"z.wav": "damaged"})
    assert json.loads((tmp_path / SPLIT_FILE).read_text("utf-8")) == {
        "parts": {
            "train": {"1_ü, 1.wav": "0_1.wav", "2_ü, 2.wav": "0_2.wav"},
            "interpolation": {"5_ü, 2.wav": "0_2.wav"},
        },
        "left_out": {"z.wav": "damaged"},
    }
    check_split(tmp_path, parts(train=[1, 2], interpolation=[5]))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (dict(train=[1], interpolation=[5]), "'2_ü, 2.wav' is no longer in train;"),
        (dict(train=[1, 2, 3], interpolation=[5]), "'3_ü, 0.wav' is new in train;"),
        (dict(train=[1, 2]), "'5_ü, 2.wav' is no longer in interpolation;"),
        (dict(train=[1, 2], interpolation=[5], extrapolation=[7]), "'7_ü, 1.wav' is new in extra"),
        (dict(train=[1, 5], interpolation=[2]), "no longer in train and 3 more differences"),
        (dict(train=[2, 1], interpolation=[5]), "another order"),
    ],
)
def test_another_split_is_refused_by_name(tmp_path, found, message):
    record_split(tmp_path, parts(train=[1, 2], interpolation=[5]), {})
    with pytest.raises(UserError, match=message) as raised:
        check_split(tmp_path, parts(**found))
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["[]", "{}", '{"parts": []}', '{"parts": {"train": 3}}', "{"])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / SPLIT_FILE).write_text(content)
    with pytest.raises(UserError, match=f"{SPLIT_FILE} is .*damaged"):
        check_split(tmp_path, parts(train=[1]))


def test_a_run_without_a_record_is_not_checked(tmp_path):
    check_split(tmp_path, parts(train=[1]))
