"""What has been found, as it is told: no name breaks its line, and nothing is claimed that is not known."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearing import Hearing
from qvae_jax.retrieval import finding
from qvae_jax.retrieval.encoders import Encoders
from qvae_jax.retrieval.finding import Found, Library
from qvae_jax.retrieval.index import Index
from qvae_jax.retrieval.parts import Entry
from qvae_jax.retrieval.threshold import Threshold
from qvae_jax.system import files

ANY_NAME = st.text(st.characters(exclude_characters="\0/"), min_size=1, max_size=12)
KNOWN = Threshold(0.5, 0.05, None, 40, "the pairs")


def found_as(name: str, similarity: float = 0.9) -> Found:
    return Found(1, name, pathlib.Path("/library") / name, similarity, 1.5, "0" * 64)


@settings(max_examples=100)
@given(names=st.lists(ANY_NAME, min_size=1, max_size=5))
def test_a_table_has_a_line_for_each_sound_whatever_its_name(names):
    lines = finding.table([found_as(name) for name in names]).split("\n")
    assert len(lines) == 1 + len(names)
    for line, name in zip(lines[1:], names):
        assert line.isprintable() and len(line.splitlines()) == 1
        shown = line[26:]
        assert shown in (name, repr(name)) and line[:26].split() == ["1", "0.900", "1.50"]


@settings(max_examples=50)
@given(name=ANY_NAME)
def test_any_name_is_the_same_in_json(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("json") / "found.json"
    files.write_json(path, found_as(name).facts)
    assert json.loads(path.read_bytes())["name"] == name


def library(threshold: Threshold | None) -> Library:
    """Eight sounds, each in a band of its own."""
    entries = [Entry(f"{band}.wav", 1, 1, "0" * 64, 0.5) for band in range(8)]
    index = Index(pathlib.Path("/library"), entries, np.eye(8, dtype=np.float32), {})
    return Library(index, Encoders(Hearing(), Hearing()), threshold)


def hum(band: int) -> np.ndarray:
    """A tone in a band, of 1 kHz each."""
    return np.sin(2 * np.pi * (1_000 * band + 500) * np.arange(8_000) / 16_000)


def test_each_query_finds_its_own():
    asked = library(None)
    found = asked.nearest([hum(2), hum(5), hum(7)], "abc", 2)
    assert [of_one[0].name for of_one in found] == ["2.wav", "5.wav", "7.wav"]
    assert [[one.rank for one in of_one] for of_one in found] == [[1, 2]] * 3
    assert found[0][0].path == pathlib.Path("/library/2.wav")


@pytest.mark.parametrize(
    ("threshold", "similarity", "unlike"),
    [(None, 0.1, None), (KNOWN, 0.49, True), (KNOWN, 0.5, False), (KNOWN, 0.9, False)],
)
def test_a_query_is_unlike_everything_below_the_threshold(threshold, similarity, unlike):
    asked, found = library(threshold), [found_as("a.wav", similarity)]
    assert asked.is_unlike(found) is unlike
    said = finding.told_unlike(asked, found)
    assert (said is not None) == bool(unlike)
    if said:
        assert said.startswith(
            "unlike anything in /library: the nearest lies at 0.490, below 0.500"
        )
        assert said.endswith(
            "(at most 5.0% of queries whose sound is there fall below, by 40 of the pairs)"
        )
