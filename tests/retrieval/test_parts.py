"""Parts of an index: read as they were written, or not at all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.retrieval import parts
from qvae_jax.retrieval.parts import Entry
from qvae_jax.system.errors import UserError

ABOUT = {"version": 1, "encoder": "e", "library": "/a \udcff\n"}
NAMES = ["a.wav", "b\n\x1b[31m.wav", "<b>\"'.wav", "\udcff\u202e.wav", "犬/🐶.wav"]
ENTRIES = [Entry(name, 10 + i, 10**18 + i, f"{i:064x}", 1.5 * i) for i, name in enumerate(NAMES)]
ROWS = np.random.default_rng(0).standard_normal((len(NAMES), 7)).astype(np.float32)


def write(folder, **about):
    folder.mkdir(exist_ok=True)
    return parts.write(folder, ABOUT | about, ENTRIES, [ROWS[:3], ROWS[3:]])


def test_a_part_is_read_as_it_was_written(tmp_path):
    written = write(tmp_path)
    (read,), num_others = parts.read(tmp_path, ABOUT)
    assert list(read.entries) == ENTRIES and read.stem == written.stem and num_others == 0
    for part in (written, read):
        assert isinstance(part.embeddings, np.memmap) and part.embeddings.dtype == np.float32
        np.testing.assert_array_equal(part.embeddings, ROWS)


def test_a_part_of_something_else_is_not_read(tmp_path):
    write(tmp_path, encoder="another")
    assert parts.read(tmp_path, ABOUT) == ([], 1)


def test_the_same_is_written_in_the_same_bytes(tmp_path):
    write(tmp_path / "a"), write(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@settings(max_examples=60)
@given(data=st.data())
def test_a_part_that_anything_has_changed_is_not_read(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("part")
    stem = write(folder).stem
    path = folder / f"{stem}{data.draw(st.sampled_from(['.json', '.npy']))}"
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    change = data.draw(st.sampled_from(["byte", "cut", "grown", "gone"]))
    if change == "byte":
        content[place] ^= data.draw(st.integers(1, 255))
    elif change == "cut":
        del content[place:]
    elif change == "grown":
        content += b"\0"
    path.write_bytes(content) if change != "gone" else path.unlink()
    is_there = change == "gone" and path.suffix == ".json"
    assert parts.read(folder, ABOUT) == ([], 0 if is_there else 1)


def test_all_but_one_part_are_removed_and_what_kills_left(tmp_path):
    kept, _ = write(tmp_path).stem, write(tmp_path, encoder="another")
    (tmp_path / ".0123.tmp").touch()
    (tmp_path / parts.NEW_FILE).touch()
    parts.keep_only(tmp_path, kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{kept}.json", f"{kept}.npy"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match="gone"):
        parts.write(tmp_path / "gone", ABOUT, ENTRIES, [ROWS])
