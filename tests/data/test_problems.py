"""Each problem is found in the files that have it, and in no others."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.audio.levels import LOUDEST_PEAK
from qvae_jax.data import problems
from qvae_jax.data.examine import Examination
from qvae_jax.data.vimsketch import Contents

R, I = "references", "vocal_imitations"
HEALTHY = Examination(
    duration_s=1.0,
    sample_rate_hz=44_100,
    num_channels=1,
    encoding="WAV PCM_16",
    peak=0.5,
    swing=0.5,
    sound_digest="one",
)
NOTHING = Contents(None, {R: {}, I: {}})


def contents(references: list[str], imitations: list[str], *, is_listed: bool) -> Contents:
    names = {R: references, I: imitations}
    present = {folder: {"sounds": sorted(set(listed))} for folder, listed in names.items()}
    return Contents(names if is_listed else None, present)


def found(contents: Contents, examined: dict[str, Examination]) -> dict[str, list[str]]:
    every = problems.find_problems(contents, examined)
    assert every.keys() == problems.PROBLEMS.keys()
    return {problem: files for problem, files in every.items() if files}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"fault": "It is cut short."}, "unreadable"),
        ({"is_finite": False}, "not_finite"),
        # Of such a file no level is known.
        ({"is_finite": False, "peak": 0.0, "swing": 0.0}, "not_finite"),
        ({"swing": problems.SILENT_PEAK}, "silent"),
        ({"swing": 1.01 * problems.SILENT_PEAK}, None),
        ({"duration_s": 0.99 * problems.SHORTEST_S}, "short"),
        ({"duration_s": problems.SHORTEST_S}, None),
        ({"clipped_share": 1.01 * problems.CLIPPED_SHARE}, "clipped"),
        ({"clipped_share": problems.CLIPPED_SHARE}, None),
        ({"peak": 1.01 * LOUDEST_PEAK}, "beyond_scale"),
        ({"peak": LOUDEST_PEAK}, None),
        ({"is_cancelled": True}, "cancelled"),
        ({"goes_on": True}, "goes_on"),
        ({"num_channels": 2}, "multichannel"),
        ({"sample_rate_hz": 12_345}, "odd_rate"),
        ({"sample_rate_hz": 192_000}, None),
    ],
)
def test_what_reading_a_file_showed(changes, problem):
    examined = {"a/x.wav": dataclasses.replace(HEALTHY, **changes)}
    assert found(NOTHING, examined) == ({problem: ["a/x.wav"]} if problem else {})


def test_of_a_file_that_cannot_be_read_nothing_else_is_said():
    unreadable = Examination(fault="It is empty.")  # 0 s at 0 Hz, without a sample
    assert found(NOTHING, {"a/x": unreadable, "a/y": unreadable}) == {"unreadable": ["a/x", "a/y"]}


def test_the_first_of_equal_sounds_is_no_duplicate():
    other = dataclasses.replace(HEALTHY, sound_digest="two")
    examined = {"a/1": HEALTHY, "a/2": other, "b/1": HEALTHY, "b/2": HEALTHY, "b/3": other}
    assert problems.duplicate_groups(examined) == [["a/1", "b/1", "b/2"], ["a/2", "b/3"]]
    assert found(NOTHING, examined) == {"duplicates": ["b/1", "b/2", "b/3"]}


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize(
    ("references", "imitations", "expected"),
    [
        (["1_a.wav"], ["1_a.wav", "2_a.wav"], {}),
        (["a.wav"], ["1_.wav"], {"without_key": [f"{R}/a.wav", f"{I}/1_.wav"]}),
        (["1_a.wav"], ["1_a.wav", "b.wav"], {"without_key": [f"{I}/b.wav"]}),
        (["1_a.wav", "2_a.wav"], ["1_a.wav"], {"same_key": [f"{R}/1_a.wav", f"{R}/2_a.wav"]}),
        (["1_a.wav", "2_a.mp3"], ["1_a.wav"], {"same_key": [f"{R}/1_a.wav", f"{R}/2_a.mp3"]}),
        (["1_a.wav"], ["1_a.flac", "2_a.wav"], {}),
        (["1_\u00f6.wav"], ["1_o\u0308.wav"], {}),
        (["1_a.wav"], ["1_a.flac", "1_a.wav"], {"same_name": [f"{I}/1_a.flac", f"{I}/1_a.wav"]}),
        (["1_a.wav"], ["1_a.wav", "2_b.wav"], {"without_reference": [f"{I}/2_b.wav"]}),
        (["1_a.wav", "2_b.wav"], ["1_a.wav"], {"without_imitation": [f"{R}/2_b.wav"]}),
    ],
)
def test_what_the_names_do_not_pair(references, imitations, expected, is_listed):
    assert found(contents(references, imitations, is_listed=is_listed), {}) == expected


def test_where_lists_and_folders_differ():
    differing = Contents(
        {R: ["1_a.wav", "2_a b.wav"], I: ["1_a.wav", "1_a.wav", "2_a b.wav"]},
        {R: {"sounds": ["1_a.wav", "2_a b.wav", "3_c.wav"]}, I: {"sounds": ["1_a.wav"]}},
    )
    assert found(differing, {}) == {
        "absent": [f"{I}/2_a b.wav"],
        "unlisted": [f"{R}/3_c.wav"],
        "listed_twice": [f"{I}/1_a.wav"],
    }


def test_what_is_no_sound_is_left_out_each_kind_for_itself():
    there = {
        "sounds": ["1_a.wav"],
        "foreign": ["1_b.m4a"],
        "other_files": ["x.txt"],
        "folders": ["f"],
    }
    contents = Contents(None, {R: there, I: {"sounds": ["1_a.wav"], "no_files": ["l.wav"]}})
    expected = {
        "foreign": [f"{R}/1_b.m4a"],
        "other_files": [f"{R}/x.txt"],
        "folders": [f"{R}/f"],
        "no_files": [f"{I}/l.wav"],
    }
    assert found(contents, {}) == expected
    listed = dataclasses.replace(contents, listed={R: ["1_a.wav"], I: ["1_a.wav"]})
    unlisted = {"unlisted": [f"{R}/1_b.m4a", f"{R}/x.txt"], **expected}
    assert found(listed, {}) == {k: unlisted[k] for k in ("unlisted", "folders", "no_files")}


_NAMES = st.lists(st.text(alphabet="_ab.", max_size=4), max_size=6)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(_NAMES, _NAMES, st.sets(st.text(alphabet="_ab.", max_size=4)), st.booleans())
def test_any_names_are_sorted_into_problems(references, imitations, present, is_listed):
    listed = {R: references, I: imitations}
    folders = {R: present, I: present | set(imitations)}
    there = {folder: {"sounds": sorted(names)} for folder, names in folders.items()}
    every = problems.find_problems(Contents(listed if is_listed else None, there), {})
    assert every.keys() == problems.PROBLEMS.keys()
    paths = {
        f"{folder}/{name}" for folder in folders for name in {*folders[folder], *listed[folder]}
    }
    assert all(path in paths for files in every.values() for path in files)
    if not is_listed:
        assert not (every["absent"] or every["unlisted"] or every["listed_twice"])
