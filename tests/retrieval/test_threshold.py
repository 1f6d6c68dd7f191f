"""The threshold below which a query is unlike everything: its promise, and its file."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sound_folder
from hearing import Hearing
from qvae_jax.retrieval import reading, threshold
from qvae_jax.retrieval.encoders import Encoders
from qvae_jax.system.errors import UserError

ENCODERS = Encoders(Hearing("a" * 64), Hearing("b" * 64))


def similarity_of(to_own) -> tuple[np.ndarray, np.ndarray]:
    """Of queries of two sounds in turn: as similar to their own as given, at 0 to the other."""
    own = np.arange(len(to_own)) % 2
    return np.where(own[:, None] == np.arange(2), np.array(to_own)[:, None], 0.0), own


@pytest.mark.parametrize(
    ("num_queries", "place"), [(1, 1), (8, 1), (19, 1), (38, 1), (39, 2), (199, 10)]
)
def test_it_is_the_lowest_similarity_that_promises_five_per_cent(num_queries, place):
    to_own = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, num_queries))
    found = threshold.fitted(*similarity_of(to_own), "these")
    assert found.similarity == pytest.approx(np.sort(to_own)[place - 1])
    assert found.false_alarm_rate == pytest.approx(place / (num_queries + 1))
    assert found.false_alarm_rate <= max(0.05, 1 / (num_queries + 1))
    assert found.detection_rate == 1.0 and found.num_queries == num_queries


def test_the_promise_is_kept_by_other_queries():
    """Of 2,000 draws of 59 queries and a new one, whatever the distribution."""
    rng = np.random.default_rng(0)
    drawn = rng.beta(2, 5, size=(2_000, 60))
    alarms = [new < threshold.fitted(*similarity_of(known), "").similarity for *known, new in drawn]
    rate = threshold.fitted(*similarity_of(drawn[0, :59]), "").false_alarm_rate
    assert rate == 3 / 60
    assert abs(np.mean(alarms) - rate) < 3 * np.sqrt(rate * (1 - rate) / 2_000)


def test_how_many_are_told_apart_is_measured_without_their_own_sounds():
    similarity = np.array([[0.5, 0.2], [0.6, 0.9], [0.4, 0.8]])
    found = threshold.fitted(similarity, np.array([0, 1, 1]), "")
    assert found.similarity == 0.5
    assert found.detection_rate == pytest.approx(2 / 3)  # 0.2 and 0.4 lie below, 0.6 does not
    assert threshold.fitted(similarity[:, :1], np.zeros(3, int), "").detection_rate is None


def embedded(path) -> np.ndarray:
    return Hearing().embed([reading.read(path, Hearing().front_end).samples], [""], 1)[0]


def test_pairs_are_heard_by_their_encoders(tmp_path):
    folder = sound_folder.write(tmp_path, a=0.3, b=0.4, c=0.5)
    a, b, c = (folder / f"{name}.wav" for name in "abc")
    hearing = Encoders(Hearing("a" * 64), Hearing("b" * 64))
    found = threshold.fit(hearing, [(a, a), (b, b), (c, b)], "these")
    assert hearing.imitation.heard == [str(a), str(b), str(c)]
    assert hearing.reference.heard == [str(a), str(b)]
    to_own = [float(embedded(c) @ embedded(b)), 1.0]  # and c to b, as noise is to noise
    assert found.similarity == pytest.approx(min(to_own), abs=1e-6) and found.num_queries == 3


FITTED = threshold.Threshold(0.4, 0.05, 0.5, 99, "the pairs")


def test_it_is_kept_for_its_encoders_alone(tmp_path):
    assert threshold.read(tmp_path, ENCODERS) is None
    threshold.write(tmp_path, ENCODERS, FITTED)
    assert threshold.read(tmp_path, ENCODERS) == FITTED
    assert threshold.read(tmp_path, Encoders(*reversed(ENCODERS))) is None


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@settings(max_examples=40)
@given(name=st.sampled_from([f.name for f in dataclasses.fields(FITTED)] + ["x"]), value=VALUES)
def test_a_damaged_file_is_refused_or_says_what_a_threshold_can(tmp_path_factory, name, value):
    folder = tmp_path_factory.mktemp("threshold")
    threshold.write(folder, ENCODERS, FITTED)
    path = folder / threshold.THRESHOLD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    try:
        found = threshold.read(folder, ENCODERS)
    except UserError as error:
        assert f"{path} is damaged: remove it" in str(error)
    else:
        assert abs(found.similarity) < 1.001 and 0 < found.false_alarm_rate < 1
        assert found.num_queries > 0


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / threshold.THRESHOLD_FILE).write_text("[")
    with pytest.raises(UserError, match="search_threshold.json is not readable JSON"):
        threshold.read(tmp_path, ENCODERS)
