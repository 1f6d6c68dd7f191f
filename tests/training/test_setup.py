"""Which parts a run validates and watches, when it stops early, and which batches it can take."""

import contextlib
import types

import pytest

import small_run
from qvae_jax.system.errors import UserError
from qvae_jax.training import devices, qvae_task, setup
from qvae_jax.training.setup import Setup
from qvae_jax.training.state import Progress


def of(*parts: str, patience_epochs: int = 0) -> Setup:
    """A set-up of which only the parts of its split and its patience are known."""
    early_stopping = types.SimpleNamespace(patience_epochs=patience_epochs)
    known = {
        "config": types.SimpleNamespace(early_stopping=early_stopping),
        "prepared": types.SimpleNamespace(parts=dict.fromkeys(parts)),
    }
    return Setup(**dict.fromkeys(Setup.__dataclass_fields__) | known)


@pytest.mark.parametrize(
    ("parts", "validated", "monitored"),
    [
        (("train",), ["train"], "train"),
        (("train", "extrapolation"), ["extrapolation"], "extrapolation"),
        (
            ("train", "extrapolation", "interpolation"),
            ["extrapolation", "interpolation"],
            "interpolation",
        ),
    ],
)
def test_held_out_parts_are_validated_and_the_first_of_them_is_watched(parts, validated, monitored):
    assert of(*parts).validated == validated and of(*parts).monitored == monitored


@pytest.mark.parametrize(
    ("patience_epochs", "stale_epochs", "stops"),
    [(0, 99, False), (3, 2, False), (3, 3, True), (3, 4, True)],
)
def test_a_run_stops_after_as_many_stale_epochs(patience_epochs, stale_epochs, stops):
    waiting = of("train", patience_epochs=patience_epochs)
    assert waiting.stops_early(Progress(1.0, stale_epochs)) == stops


def test_a_batch_holds_no_more_than_there_is_and_two_at_least(tmp_path):
    placement = devices.arrange()
    config = small_run.config(tmp_path, **{"training.batch_size": 8})
    assert setup._batch_size(config, 20, placement) == 8
    assert setup._batch_size(config, 6, placement) == 6
    with pytest.raises(UserError, match="1 example to train on.*at least 2: give more"):
        setup._batch_size(config, 1, placement)


@pytest.mark.parametrize(
    ("counts", "num_samples", "refused"),
    [
        ({"train": 4, "interpolation": 6}, 0, None),
        ({"train": 4, "interpolation": 5}, 0, r"interpolation holds a single pair \(5 in"),
        ({"train": 1}, 8, r"train holds a single pair \(1 in"),
        ({"train": 4}, 1, r"train holds a single pair \(1 in"),
    ],
)
def test_one_pair_has_no_batch_statistics(tmp_path, counts, num_samples, refused):
    config = small_run.config(tmp_path, **{"logging.num_samples": num_samples})
    parts = {part: range(count) for part, count in counts.items()}
    prepared = types.SimpleNamespace(parts=parts)
    expected = pytest.raises(UserError, match=refused) if refused else contextlib.nullcontext()
    with expected:
        qvae_task._check_batch_statistics(config, prepared, 2)
