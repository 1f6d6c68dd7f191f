"""Names of the files of generated sounds: none twice, none too long, none of an input."""

import dataclasses
import pathlib

import pytest

from qvae_jax.generation import naming
from qvae_jax.generation.inputs import Source
from qvae_jax.generation.requests import Before, LatentRequest
from qvae_jax.system.errors import UserError


def sources(*paths) -> list[Source]:
    return [Source(path, str(path), path.stem) for path in map(pathlib.Path, paths)]


def test_a_stem_has_its_place_before_it():
    assert naming.stems(sources("a/x.wav", "b/x.wav")) == ["01_x", "02_x"]
    assert naming.stems(sources(*["x.wav"] * 100))[8:10] == ["009_x", "010_x"]


@pytest.mark.parametrize("stem", ["a" * 300, "ü" * 120, "犬" * 90])
def test_a_long_stem_is_cut_between_its_characters(stem):
    (found,) = naming.stems(sources(f"{stem}.wav"))
    assert len(found.encode()) <= naming.LONGEST_STEM + 3 and stem.startswith(found[3:])


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, ["01_x_generated.wav", "02_y_generated.wav"]),
        (
            {"variations": 2, "temperature": 1.0},
            [f"{stem}_variation{n:02d}_generated.wav" for stem in ("01_x", "02_y") for n in (1, 2)],
        ),
        ({"interpolate": 2}, [f"interpolation{n:02d}_generated.wav" for n in (1, 2)]),
        (
            {"walk_dimension": 9, "walk_steps": 2},
            [f"{stem}_walk{n:02d}_generated.wav" for stem in ("01_x", "02_y") for n in (1, 2)],
        ),
        ({"prior_samples": 1}, ["prior01_generated.wav"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_each_sound_is_called_after_what_it_is_made_of(request_, expected):
    assert naming.sound_names(["01_x", "02_y"], LatentRequest(**request_), "wav") == expected


def test_the_format_ends_the_name():
    assert naming.sound_names(["01_x"], LatentRequest(), "flac") == ["01_x_generated.flac"]


def test_numbers_go_on_after_what_is_there():
    before = Before(inputs=98, sounds=7)
    stems = naming.stems(sources("x.wav", "y.wav"), before.inputs)
    assert stems == ["099_x", "100_y"]
    for asked, expected in [
        ({}, ["099_x_generated.wav", "100_y_generated.wav"]),
        ({"interpolate": 2}, ["interpolation08_generated.wav", "interpolation09_generated.wav"]),
    ]:
        assert naming.sound_names(stems, LatentRequest(**asked), "wav", before) == expected
    prior = LatentRequest(prior_samples=1)
    assert naming.sound_names([], prior, "wav", before) == ["prior08_generated.wav"]


def test_the_files_that_will_be_written(tmp_path):
    alone, paired = sources("x.wav", "y.wav")
    found = [alone, dataclasses.replace(paired, reference=tmp_path / "z.wav")]
    assert naming.file_names(found, ["01_x", "02_y"], ["a.flac"]) == [
        "a.flac", "01_x_input.wav", "02_y_input.wav", "02_y_reference.wav",
    ]  # fmt: skip


def test_the_curves_of_a_sound_are_called_as_it_is():
    names = ["01_x_variation02_generated.flac", "prior01_generated.wav"]
    assert naming.steered_names(names) == [
        "01_x_variation02_curves.csv",
        "01_x_variation02_curves.png",
        "prior01_curves.csv",
        "prior01_curves.png",
    ]


@pytest.mark.parametrize(
    "name",
    ["01_x_generated.wav", "01_x_input.wav", "01_x_reference.wav", "01_x_curves.csv"],
)
def test_an_output_in_an_inputs_place_is_refused(tmp_path, name):
    arguments = (["01_x"], ["01_x_generated.wav"], tmp_path / "." / "sub" / "..")
    naming.require_inputs_kept([tmp_path / "x.wav"], *arguments)
    with pytest.raises(UserError, match=f"{name} is an input and would be overwritten"):
        naming.require_inputs_kept([tmp_path / name], *arguments)


def test_an_input_among_what_is_removed_is_refused(tmp_path):
    arguments = ([tmp_path / "x.wav"], ["01_x"], ["01_x_generated.wav"], tmp_path)
    naming.require_inputs_kept(*arguments, removed=["y.wav"])
    with pytest.raises(UserError, match="x.wav is an input and would be overwritten"):
        naming.require_inputs_kept(*arguments, removed=["y.wav", "x.wav"])
