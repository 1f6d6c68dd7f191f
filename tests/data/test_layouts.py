"""The door to data sets: what a folder holds."""

import pathlib
import re

import pytest

from qvae_jax.data import layouts, vimsketch
from qvae_jax.system.errors import UserError

PACKAGE = pathlib.Path(vimsketch.__file__).parents[1]
# The layout itself, what writes a data set in it, and what fetches and examines one.
KNOW_THE_LAYOUT = (
    "data/vimsketch", "data/synthetic", "data/health_report", "data/problems",
    "modes/doctor", "modes/download",
)  # fmt: skip


def test_a_folder_in_vimsketchs_layout_is_read(data_set):
    assert layouts.read_index(data_set) == vimsketch.read_index(data_set)
    with pytest.raises(UserError, match="does not hold references/ and vocal_imitations/"):
        layouts.read_index(data_set / "references")


def test_nothing_else_knows_where_files_lie():
    folders = re.compile(r"IMITATIONS_FOLDER|REFERENCES_FOLDER|\"vocal_imitations")
    knowing = [
        name
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in [path.relative_to(PACKAGE).as_posix()]
        if folders.search(path.read_text("utf-8")) and not name.startswith(KNOW_THE_LAYOUT)
    ]
    assert knowing == []
