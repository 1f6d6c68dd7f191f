"""Files and folders that appear whole or not at all."""

import json
import os
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.system import files
from qvae_jax.system.errors import UserError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "new" / "folders" / "file.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), UserError("no")])
def test_an_exception_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(error)), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_a_full_disk_is_the_users_to_mend(tmp_path):
    path = tmp_path / "file.txt"
    with pytest.raises(UserError, match="file.txt.*No space left on device.*free some space"):
        with files.replacing(path):
            raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("x" * 255)
    with files.replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("below", ["file/name", "file/folder/name"])
def test_a_place_below_a_file_cannot_be_written(tmp_path, below):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=str(tmp_path / "file")):
        files.write_json(tmp_path / below, 1)
    with pytest.raises(UserError, match=str(tmp_path / "file")):
        files.make_folder(tmp_path / below)
    with pytest.raises(UserError, match=str(tmp_path / "file")), files.new_folder(tmp_path / below):
        pytest.fail("the block must not run")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not pathlib.Path("/proc").is_dir(), reason="needs Linux's /proc")
def test_a_file_system_that_takes_no_files():
    with pytest.raises(UserError, match="/proc/results"):
        files.make_folder("/proc/results")


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UserError, match="not writable"):
        files.make_folder(tmp_path)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_new_folder_appears_at_the_end_of_the_block(tmp_path, is_there):
    path = tmp_path / "folder"
    if is_there:
        path.mkdir()
    with files.new_folder(path) as temporary:
        (temporary / "file").write_text("x")
        assert not (path / "file").exists()
    assert (path / "file").read_text() == "x" and os.listdir(tmp_path) == ["folder"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_new_folder_is_not_there_after_an_exception(tmp_path):
    with pytest.raises(ValueError), files.new_folder(tmp_path / "folder") as temporary:
        (temporary / "file").write_text("x")
        raise ValueError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_new_folder_replaces_nothing(tmp_path, kind):
    path = tmp_path / "taken"
    path.write_text("kept") if kind == "file" else (path / "inner").mkdir(parents=True)
    with pytest.raises(UserError, match="already exists"), files.new_folder(path):
        pytest.fail("the block must not run")
    assert path.read_text() == "kept" if kind == "file" else os.listdir(path) == ["inner"]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(JSON_VALUES)
def test_json_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value


def test_json_is_readable_and_holds_any_file_name(tmp_path):
    path, name = tmp_path / "names.json", os.fsdecode(b"caf\xe9 \xc3\xa9.wav")
    files.write_json(path, {"name": name})
    assert "é.wav" in path.read_text("utf-8")
    assert files.read_json(path) == {"name": name}


def test_a_byte_order_mark_is_no_part_of_json(tmp_path):
    path = tmp_path / "edited.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert files.read_json(path) == {"a": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1} x', b"[" * 100_000])
def test_what_is_not_json_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="broken.json is not readable JSON"):
        files.read_json(path)
    with pytest.raises(UserError, match="absent.json"):
        files.read_json(tmp_path / "absent.json")


def test_json_that_cannot_be_written_leaves_the_old(tmp_path):
    path = tmp_path / "value.json"
    files.write_json(path, 1)
    with pytest.raises(TypeError):
        files.write_json(path, object())
    assert json.loads(path.read_text()) == 1 and os.listdir(tmp_path) == ["value.json"]
