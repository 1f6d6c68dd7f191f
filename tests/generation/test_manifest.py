"""Manifests: of one run as of several, what they list, and what is none."""

import copy
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.generation import manifest
from qvae_jax.generation.requests import Before, LatentRequest
from qvae_jax.system.errors import UserError

RUN = {
    "model": {"checkpoint": "x"},
    "settings": {"seed": 0},
    "inputs": [
        {"input": "a.wav", "place": 1, "heard": "01_a_input.wav", "reference": "01_a_reference.wav"}
    ],
    "outputs": [{"generated": "01_a_generated.flac", "reference": "01_a_reference.wav"}],
}
STEERED = {
    **RUN,
    "outputs": [
        {
            "generated": "01_a_generated.wav",
            "curves": "01_a_curves.csv",
            "picture": "01_a_curves.png",
        }
    ],
}
DRAWN = {
    **RUN,
    "inputs": [],
    "outputs": [{"generated": f"prior0{number}_generated.wav"} for number in (1, 2)],
}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*RUN, "runs"]), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("runs", [[RUN], [RUN, DRAWN], [DRAWN, RUN, STEERED]], ids=len)
def test_runs_come_back(tmp_path, runs):
    manifest.write(tmp_path, runs)
    assert manifest.read(tmp_path) == runs


def test_that_of_a_single_run_is_its_object(tmp_path):
    manifest.write(tmp_path, [RUN])
    assert json.loads((tmp_path / "manifest.json").read_text()) == RUN
    assert manifest.read(tmp_path / "elsewhere") == []


def test_each_file_is_listed_once():
    assert manifest.listed([RUN, DRAWN]) == [
        "01_a_input.wav",
        "01_a_reference.wav",
        "01_a_generated.flac",
        "prior01_generated.wav",
        "prior02_generated.wav",
        "manifest.json",
    ]
    assert manifest.listed([]) == []


def test_curves_are_listed_too():
    assert {"01_a_curves.csv", "01_a_curves.png"} <= set(manifest.listed([STEERED]))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, Before(inputs=2)),
        ({"prior_samples": 3}, Before(inputs=2, sounds=2)),
        ({"interpolate": 3}, Before(inputs=2)),
        ({"walk_dimension": 0}, Before(inputs=2)),
    ],
    ids=str,
)
def test_inputs_and_sounds_of_a_kind_are_counted(asked, expected):
    assert manifest.before([RUN, DRAWN, RUN], LatentRequest(**asked).kind) == expected


def test_one_that_names_no_files_of_inputs_is_taken_as_it_is(tmp_path):
    """As those were before inputs had numbers."""
    older = copy.deepcopy(RUN)
    older["inputs"] = [{"input": "a.wav"}]
    manifest.write(tmp_path, [older])
    assert manifest.before(manifest.read(tmp_path), None) == Before(inputs=1)
    assert "01_a_generated.flac" in manifest.listed([older])


def changed(*path, to) -> dict:
    """RUN with one value changed."""
    run = copy.deepcopy(RUN)
    *parents, last = path
    inner = run
    for key in parents:
        inner = inner[key]
    inner[last] = to
    return run


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [RUN],
        {"runs": []},
        {"runs": RUN},
        {"runs": [RUN, {}]},
        changed("model", to=None),
        changed("settings", to=[]),
        changed("inputs", to={}),
        changed("outputs", to=[1]),
        changed("outputs", 0, to={}),
        changed("outputs", 0, "generated", to="../01_a_generated.wav"),
        changed("outputs", 0, "generated", to="/etc/x.wav"),
        changed("outputs", 0, "generated", to="thesis.txt"),
        changed("outputs", 0, "generated", to="a\0.wav"),
        changed("outputs", 0, "reference", to=7),
        changed("outputs", 0, "curves", to="thesis.txt"),
        changed("outputs", 0, "picture", to="../a.png"),
        changed("inputs", 0, "heard", to="sub/x.wav"),
        changed("inputs", 0, "reference", to=".."),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_what_is_no_manifest_is_refused(tmp_path, value):
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="manifest.json is no manifest.*name another") as raised:
        manifest.read(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["folder", "dangling link", "cut short"])
def test_one_that_cannot_be_read_is_refused(tmp_path, kind):
    path = tmp_path / "manifest.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_text(json.dumps(RUN)[:-5])
    with pytest.raises(UserError, match="manifest.json is no manifest"):
        manifest.read(tmp_path)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(JSON_VALUES)
def test_any_json_is_a_manifest_or_refused(tmp_path_factory, value):
    folder = tmp_path_factory.getbasetemp()
    (folder / "manifest.json").write_text(json.dumps(value))
    try:
        runs = manifest.read(folder)
    except UserError:
        return
    for name in manifest.listed(runs):
        assert os.path.basename(name) == name
