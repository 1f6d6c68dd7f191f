"""A sound library: its files, its rows, and which of them are held out."""

import shutil

import numpy as np
import pytest

import sound_folder
from qvae_jax.data import library
from qvae_jax.data.cache import cached_array
from qvae_jax.data.library import PART, WINDOW_S, Surveyed, read_library, row_name
from qvae_jax.system.errors import UserError


def surveyed(folder, cache, windows_per_file=8) -> Surveyed:
    found = read_library(folder)
    recipe = library.survey_recipe(windows_per_file)
    paths = {file: found.path(file) for file in found.files}
    records = cached_array(cache / "survey.npy", paths, recipe, stop_on_bad_file=False)
    return library.surveyed(found, records)


def files_of(rows) -> set[str]:
    return {row.key for row in rows}


def test_files_are_found_in_all_folders_and_what_is_not_read_is_told(tmp_path):
    folder = sound_folder.write(tmp_path / "sounds", **{"a": 1, "drums/kick": 1, "drums/b 1.5": 1})
    shutil.copy(folder / "a.wav", folder / "a.flac")
    (folder / "drums" / "notes.txt").write_text("of the day")
    found = read_library(folder)
    assert found.files == ("a.flac", "drums/b 1.5.wav", "drums/kick.wav")
    assert found.same_name == ("a.wav",)
    told = "\n".join(found.notes())
    assert "1 file not named as sounds are ('drums/notes.txt')" in told
    assert "1 file with the name of another but for its suffix or Unicode form ('a.wav')" in told


def test_a_row_is_a_window_and_its_name_says_which(tmp_path):
    folder = sound_folder.write(tmp_path / "sounds", **{"drums/kick": 6.0})
    first, second, third = read_library(folder).rows({"drums/kick.wav": (1, 2, 3)})
    assert (first.imitation, first.reference) == ("drums/kick (1).wav",) * 2
    assert second.window.path == folder / "drums" / "kick.wav"
    assert (second.window.start_s, second.window.duration_s) == (WINDOW_S, WINDOW_S)
    assert third.number == 3 and third.key == "drums/kick.wav"


def test_no_two_windows_have_one_name():
    files = ["a.wav", "a (1).wav", "a (2).wav", "a (1) (1).wav", "b/a.wav", "a.b.wav"]
    names = [row_name(file, number) for file in files for number in (1, 2, 11)]
    assert len(set(names)) == len(names)


def test_a_file_stays_where_its_sound_puts_it(tmp_path):
    """Files that are added move none, equal ones stay together, and about a tenth is held out."""
    folder = sound_folder.write(tmp_path / "few", **{f"{n}": 0.01 for n in range(60)})
    few = surveyed(folder, tmp_path / "1")
    learnt, held_out = few.split(0.9)
    assert 0 < len(files_of(held_out)) < 15 and len(learnt) + len(held_out) == 60
    one = sorted(files_of(held_out))[0]
    shutil.copy(folder / one, folder / "copied.wav")
    sound_folder.write(folder, **{f"more/{n}": 0.011 for n in range(60, 80)})
    more_learnt, more_held_out = surveyed(folder, tmp_path / "2").split(0.9)
    assert files_of(learnt) <= files_of(more_learnt)
    assert files_of(held_out) | {"copied.wav"} <= files_of(more_held_out)
    assert len(few.split(1.0)[1]) == len(few.split(0.0)[0]) == 0


def test_all_windows_of_a_file_are_in_one_part(tmp_path):
    folder = sound_folder.write(tmp_path / "long", **{f"{n}": 6.0 for n in range(8)})
    learnt, held_out = surveyed(folder, tmp_path / "1").split(0.5)
    assert learnt and held_out and not files_of(learnt) & files_of(held_out)
    assert [row.number for row in learnt] == [1, 2] * len(files_of(learnt))
    assert len(surveyed(folder, tmp_path / "2", windows_per_file=1).split(0.5)[0]) * 2 == len(
        learnt
    )


def test_sounds_to_hold_out_are_held_out(tmp_path):
    found = surveyed(sound_folder.write(tmp_path / "s", a=1, b=1, c=1), tmp_path / "1")
    learnt, held_out = found.split(1.0, {found.sounds["b.wav"]})
    assert files_of(held_out) == {"b.wav"} and files_of(learnt) == {"a.wav", "c.wav"}


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9])
def test_a_single_sound_is_learnt_from(tmp_path, ratio):
    folder = sound_folder.write(tmp_path / "s", a=1)
    shutil.copy(folder / "a.wav", folder / "again.wav")
    learnt, held_out = surveyed(folder, tmp_path / "1").split(ratio)
    assert files_of(learnt) == {"a.wav", "again.wav"} and held_out == ()


def test_what_takes_no_part_is_counted_and_named(tmp_path):
    folder = sound_folder.write(tmp_path / "s", a=1, b=30.0, click=0.0005)
    sound_folder.write_samples(folder / "nothing.wav", np.zeros(9_000))
    sound_folder.write_samples(
        folder / "pause.wav", np.r_[sound_folder.noise(1, 1), np.zeros(90_000)]
    )
    (folder / "bad.wav").write_bytes(b"no sound")
    found = surveyed(folder, tmp_path / "1")
    assert found.windows == {"a.wav": (1,), "b.wav": tuple(range(1, 9)), "pause.wav": (1,)}
    told = found.notes()
    assert told[:4] == [
        f"left out of {folder}: 1 file of silence ('nothing.wav')",
        f"left out of {folder}: 1 file shorter than 1 ms ('click.wav')",
        f"left out of {folder}: 1 silent window of other files",
        f"left out of {folder}: what lies behind the last window of 1 file (data.windows_per_file)",
    ]
    assert told[4].startswith("left out bad.wav: ") and len(told) == 5
    assert found.left_out.keys() == {"nothing.wav", "click.wav", "bad.wav"}


def test_a_thousand_clicks_shorter_than_a_frame_are_sounds(tmp_path):
    folder = sound_folder.write(tmp_path / "s", **{f"{n}": 0.005 for n in range(1000)})
    assert len(surveyed(folder, tmp_path / "1").windows) == 1000


def test_a_library_of_silence_is_refused(tmp_path):
    sound_folder.write_samples(tmp_path / "s" / "a.wav", np.zeros(9_000))
    sound_folder.write(tmp_path / "s", click=0.0005)
    with pytest.raises(UserError, match="of 2 files 1 is silent and 1 is shorter than 1 ms.") as e:
        surveyed(tmp_path / "s", tmp_path / "1")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_folder_that_is_missing_or_holds_no_sound(tmp_path, make):
    make(tmp_path / "s")
    with pytest.raises(UserError, match="data.sounds_dir: The folder .*s (does not|holds no)"):
        read_library(tmp_path / "s")


def test_a_runs_own_folder_inside_the_library_is_no_part_of_it(tmp_path):
    folder = sound_folder.write(tmp_path / "s", **{"a": 1, "run/samples/generated": 1})
    assert read_library(folder, outside=folder / "run").files == ("a.wav",)
    assert PART == "library"
