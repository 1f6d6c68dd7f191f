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

SOUND = {
    "mel": Estimate(1.5, 1.0, 2.0),
    "mrr": Estimate(0.5, float("nan"), float("nan")),
    "pitch_difference_pyin": Estimate(2.5, 1.5, 3.5),
}
RESULT = report.result(
    part="interpolation",
    trimmed=False,
    num_examples=7,
    num_references=3,
    model={"workdir": "run", "step": 6},
    embedder=Embedder("an embedder", True, False, lambda sounds: sounds),
    latent_dim=4,
    baselines_from="training references",
    estimates={"model": SOUND, "silence": SOUND | {"mel": Estimate(1.0, 0.5, 1.25)}},
    silence_wins=["mel"],
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
    reference, imitation = report.tables(found)
    assert reference.systems == imitation.systems == ["model", "silence"]
    rows = reference.rows
    assert [row[1:] for row in rows if row[0] == "mel loss ↓"] == [
        ["1.500 [1.000, 2.000]", "1.000 [0.500, 1.250]"]
    ]
    assert [row[1:] for row in rows if row[0] == "mean reciprocal rank ↑"] == [["0.500"] * 2]
    assert [row[0] for row in rows] == ["mel loss ↓", "mean reciprocal rank ↑"]
    assert [row[1:] for row in imitation.rows if row[0] == "pitch (pYIN), semitones ↓"] == [
        ["2.50 [1.50, 3.50]"] * 2
    ]
    expected = "A silent output wins, with 95 % confidence: mel loss."
    assert report.about_silence(found) == expected


def test_a_small_table_has_a_column_for_each_result():
    distance = {"multi_resolution_stft": {"value": 1.25, "low": None, "high": None}}
    nothing = {"multi_resolution_stft": {"value": None, "low": None, "high": None}}
    own = {"name": "its own", "independent_of_encoder": False, "independent_of_audioset": False}
    systems = {"model": distance | RANKED, "nearest": nothing}
    found = [
        {"part": "interpolation", "embedder": own, "systems": systems},
        {"part": "voices", "embedder": own, "trimmed": True, "systems": {"steered": {}}},
    ]
    assert report.brief(found) == [
        "                                         interpolation  voices, trimmed",
        "model: multi-resolution STFT distance ↓          1.250                –",
    ]
    assert report.brief([]) == [""]


RANKED = {
    "mrr": {"value": 0.5, "low": None, "high": None},
    "kernel_distance": {"value": 3.25, "low": None, "high": None},
}


def test_an_independent_judges_ranks_and_distances_are_in_the_small_table():
    judge = {"name": "aiSFX", "independent_of_encoder": True, "independent_of_audioset": True}
    systems = {name: RANKED for name in ("model", "steered", "nearest", "oracle", "silence")}
    assert report.brief([{"part": "pairs", "embedder": judge, "systems": systems}]) == [
        "                                      pairs",
        "model: mean reciprocal rank ↑         0.500",
        "steered: mean reciprocal rank ↑       0.500",
        "nearest: mean reciprocal rank ↑       0.500",
        "oracle: mean reciprocal rank ↑        0.500",
        "model: kernel distance, 100·MMD² ↓    3.250",
        "steered: kernel distance, 100·MMD² ↓  3.250",
        "nearest: kernel distance, 100·MMD² ↓  3.250",
        "oracle: kernel distance, 100·MMD² ↓   3.250",
        "Retrieval and distances of sets are by aiSFX: independent of the model's encoder and of "
        "AudioSet.",
    ]


@pytest.mark.parametrize(
    ("encoder", "audioset", "said"),
    [
        (True, True, "independent of the model's encoder and of AudioSet."),
        (True, False, "independent of the model's encoder, not independent of AudioSet."),
        (False, False, "not independent of the model's encoder nor of AudioSet."),
    ],
)
def test_what_embeds_and_of_what_that_is_independent_is_said(tmp_path, encoder, audioset, said):
    embedder = {
        "name": "aiSFX in a",
        "independent_of_encoder": encoder,
        "independent_of_audioset": audioset,
    }
    report.write_markdown(tmp_path / "found.md", RESULT | {"embedder": embedder})
    line = f"Retrieval and distances of sets are by aiSFX in a: {said}"
    assert line in (tmp_path / "found.md").read_text("utf-8").splitlines()


def test_where_silence_wins_nothing_nothing_is_said(tmp_path):
    found = RESULT | {"silence_beats_the_model": []}
    assert report.about_silence(found) == ""
    report.write_markdown(tmp_path / "found.md", found)
    assert "silent output wins" not in (tmp_path / "found.md").read_text("utf-8").split("## How")[0]


def test_a_result_without_adherence_is_one_table():
    systems = {name: {"mel": found["mel"]} for name, found in RESULT["systems"].items()}
    [table] = report.tables({**RESULT, "systems": systems})
    assert table.title == "Against the reference"
    assert report.tables({**RESULT, "systems": {"model": {}}}) == []


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
    for table in report.tables(found):
        assert all(len(row) == 1 + len(table.systems) for row in table.rows)
    assert bool(report.about_silence(found)) == bool(found["silence_beats_the_model"])
