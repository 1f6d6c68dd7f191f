"""The door to data sets: what a folder holds, and which reference belongs to a file."""

import pathlib
import re
import shutil

import pytest

from qvae_jax.data import layouts, vimsketch
from qvae_jax.system.errors import UserError

PACKAGE = pathlib.Path(vimsketch.__file__).parents[1]
# The layout itself, what writes a data set in it, and what fetches and examines one.
KNOW_THE_LAYOUT = (
    "data/vimsketch", "data/synthetic", "data/health_report", "data/problems",
    "modes/doctor", "modes/download",
)  # fmt: skip


def imitations(data_set) -> list[pathlib.Path]:
    return sorted((data_set / "vocal_imitations").iterdir())


def test_a_folder_in_vimsketchs_layout_is_read(data_set):
    assert layouts.read_index(data_set) == vimsketch.read_index(data_set)
    with pytest.raises(UserError, match="does not hold references/ and vocal_imitations/"):
        layouts.read_index(data_set / "references")


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


def test_nothing_else_knows_where_files_lie():
    folders = re.compile(r"IMITATIONS_FOLDER|REFERENCES_FOLDER|\"vocal_imitations")
    knowing = [
        name
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in [path.relative_to(PACKAGE).as_posix()]
        if folders.search(path.read_text("utf-8")) and not name.startswith(KNOW_THE_LAYOUT)
    ]
    assert knowing == []
