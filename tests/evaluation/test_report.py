"""A result of an evaluation on disk: read back as it was, or refused in one line."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qvae_jax.evaluation import report
from qvae_jax.evaluation.embedding import Embedder
from qvae_jax.evaluation.statistics import Estimate
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

SOUND = {"mel": Estimate(1.5, 1.0, 2.0), "mrr": Estimate(0.5, float("nan"), float("nan"))}
RESULT = report.result(
    part="interpolation",
    num_examples=7,
    num_references=3,
    model={"workdir": "run", "step": 6},
    embedder=Embedder("an embedder", True, lambda sounds: sounds),
    latent_dim=4,
    baselines_from="training references",
    estimates={"model": SOUND, "silence": SOUND | {"mel": Estimate(1.0, 0.5, 1.25)}},
)


def changed(path: tuple, value) -> dict:
    """The result with another value at a place."""
    result = copy.deepcopy(RESULT)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return result


def test_a_result_is_read_back(tmp_path):
    files.write_json(tmp_path / "found.json", RESULT)
    found = report.read(tmp_path / "found.json")
    assert found == RESULT
    systems, rows = report.table(found)
    assert systems == ["model", "silence"]
    assert [row[1:] for row in rows if row[0] == "mel loss ↓"] == [
        ["1.500 [1.000, 2.000]", "1.000 [0.500, 1.250]"]
    ]
    assert [row[1:] for row in rows if row[0] == "mean reciprocal rank ↑"] == [["0.500"] * 2]
    assert [row[1:] for row in rows if row[0] == "spectral loss ↓"] == [["–"] * 2]
    assert report.about_silence(found) == "A silent output beats the model in: mel loss."


@pytest.mark.parametrize(
    "found",
    [
        3,
        [],
        {},
        changed(("part",), 3),
        changed(("num_pairs",), 1.5),
        changed(("num_references",), -1),
        changed(("model",), "run"),
        changed(("silence_beats_the_model",), None),
        changed(("silence_beats_the_model",), ["luck"]),
        changed(("silence_beats_the_model",), [["mel"]]),
        changed(("systems",), []),
        changed(("systems", "model"), 3),
        changed(("systems", "model", "mel"), 1.5),
        changed(("systems", "model", "mel"), {"value": 1.5}),
        changed(("systems", "model", "mel", "low"), "1.0"),
        changed(("systems", "model", "mel", "value"), 10**400),
        changed(("systems", "model", "mel", "value"), True),
    ],
    ids=lambda found: "" if isinstance(found, dict) else str(found),
)
def test_what_is_no_result_is_refused(tmp_path, found):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match="found.json holds no result of an evaluation"):
        report.read(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PLACES = st.sampled_from(
    [
        *((name,) for name in RESULT),
        ("systems", "model"),
        ("systems", "model", "mel"),
        *(("systems", "model", "mel", name) for name in Estimate._fields),
    ]
)


@given(place=PLACES, value=JSON)
def test_whatever_is_read_can_be_shown(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("result") / "found.json"
    path.write_text(json.dumps(changed(place, value)))
    try:
        found = report.read(path)
    except UserError as error:
        assert str(path) in str(error)
        return
    systems, rows = report.table(found)
    assert all(len(row) == 1 + len(systems) for row in rows) and report.about_silence(found)


def test_what_silence_wins_is_told_by_each_measures_direction():
    estimate = lambda number: Estimate(number, number, number)
    model = {
        "mel": estimate(2.0),
        "mrr": estimate(0.5),
        "waveform": estimate(1.0),
        "kl": estimate(1),
    }
    silence = {"mel": estimate(1.0), "mrr": estimate(0.6), "waveform": estimate(1.0)}
    assert report.silence_wins({"model": model, "silence": silence}) == ["mel", "mrr"]
