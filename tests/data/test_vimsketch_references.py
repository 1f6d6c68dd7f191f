"""Which reference belongs to a file that someone has, by its name and where it lies."""

import os
import pathlib
import shutil

import pytest

from qvae_jax.data import layouts


def imitations(data_set) -> list[pathlib.Path]:
    return sorted((data_set / "vocal_imitations").iterdir())


def test_a_reference_is_found_in_the_data_set_that_a_file_lies_in(data_set, tmp_path):
    own = shutil.copytree(data_set, tmp_path / "own")
    stranger, keyless = (own / "vocal_imitations" / name for name in ("99_unknown.wav", "hum.wav"))
    elsewhere = shutil.copy(imitations(own)[0], tmp_path / imitations(own)[0].name)
    found = layouts.find_references([imitations(own)[4], stranger, elsewhere, keyless])
    assert found == [own / "references" / "001_sound 1, a_tone.wav", None, None, None]


def test_a_reference_is_found_in_the_data_set_that_is_named(data_set, tmp_path):
    same_name = tmp_path / imitations(data_set)[4].name
    other_name = tmp_path / "00099_sound 1, a_tone.wav"
    found = layouts.find_references([same_name, other_name], data_set)
    assert found == [data_set / "references" / "001_sound 1, a_tone.wav", None]
    assert layouts.find_references([same_name]) == [None]


def test_a_data_set_that_is_gone_has_no_references(tmp_path):
    assert layouts.find_references([tmp_path / "1_x.wav"], tmp_path / "absent") == [None]


@pytest.fixture
def mixed(tmp_path) -> pathlib.Path:
    """References of several formats and Unicode forms, and what is none; two of one key."""
    for name in (
        "1_Mo\u0308we.flac",
        "2_dog.WAV",
        "3_cat.wav",
        "4_cat.mp3",
        "5_owl.m4a",
        "6_owl.txt",
    ):
        (tmp_path / "set" / "references").mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / "references" / name).touch()
    (tmp_path / "set" / "references" / "._2_dog.wav").touch()
    (tmp_path / "set" / "vocal_imitations").mkdir()
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("01_M\u00f6we.wav", "1_Mo\u0308we.flac"),
        ("02_dog.mp3", "2_dog.WAV"),
        ("03_Dog.wav", None),
        ("04_owl.wav", None),
    ],
)
def test_the_reference_may_be_in_another_format_or_unicode_form(mixed, name, reference):
    path = mixed / "vocal_imitations" / name
    path.touch()
    expected = None if reference is None else mixed / "references" / reference
    assert layouts.find_references([path]) == [expected]
    copied = mixed.parent / pathlib.Path(name).with_suffix(".ogg")
    assert layouts.find_references([copied], mixed) == [expected]


def test_of_several_references_none_is_taken_and_that_is_said(mixed, capsys):
    path = mixed / "vocal_imitations" / "05_cat.wav"
    assert layouts.find_references([path]) == [None]
    told = capsys.readouterr().out
    assert told.startswith(f"{path} may imitate '3_cat.wav' and '4_cat.mp3': none")


def test_links_into_a_data_set_and_out_of_one_have_references(mixed):
    stored = mixed.parent / "objects" / "sha256-1234"  # as git-annex and DVC keep files
    stored.parent.mkdir()
    stored.touch()
    inside = mixed / "vocal_imitations" / "02_dog.wav"
    os.symlink(stored, inside)
    (mixed / "vocal_imitations" / "06_dog.wav").touch()
    outside = mixed.parent / "mine.wav"
    os.symlink(mixed / "vocal_imitations" / "06_dog.wav", outside)
    assert layouts.find_references([inside, outside]) == 2 * [mixed / "references" / "2_dog.WAV"]
