"""Folders that are filled at once, by one process at a time, and never with another's loss."""

import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from qvae_jax.system import output_folders
from qvae_jax.system.errors import UserError

LAST = "list.json"

HOLDER = """
import os, pathlib, signal, sys
from qvae_jax.system import output_folders
path, moment = pathlib.Path(sys.argv[1]), sys.argv[2]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
moves, rename = 0, os.rename
def counted(source, target):
    global moves
    rename(source, target)
    moves += path in (pathlib.Path(target).parent, pathlib.Path(source).parent)
    if moment == f"after move {moves}":
        die()
os.rename = counted
if moment == "before moving":
    output_folders._move_in = die
with output_folders.held(path):
    with output_folders.filling(path, last="list.json", removed=["a", "b", "list.json"]) as folder:
        for name in ("a", "c", "list.json"):
            (folder / name).write_text("new")
        if moment == "staging":
            die()
        if moment == "wait":
            print("held", flush=True)
            sys.stdin.read()
"""


def fill(path, *names: str, text: str = "new", removed=(), error=None) -> None:
    """Fills a folder with files of this text."""
    with output_folders.held(path):
        with output_folders.filling(path, last=LAST, removed=removed) as folder:
            for name in names:
                (folder / name).write_text(text)
            if error is not None:
                raise error


def contents(path) -> dict[str, str]:
    return {each.name: each.read_text() for each in path.iterdir()}


@pytest.fixture
def there(tmp_path):
    """A folder with two files of ours, their list, and one of the user's."""
    path = tmp_path / "there"
    fill(path, "a", "b", LAST, text="old")
    (path / "mine").write_text("mine")
    return path


EARLIER = {"a": "old", "b": "old", LAST: "old", "mine": "mine"}
LATER = {"a": "new", "c": "new", LAST: "new", "mine": "mine"}


@pytest.mark.parametrize("place", ["new", "new/folders", "empty"])
def test_a_folder_is_filled_at_the_end_of_the_block(tmp_path, place):
    (tmp_path / "empty").mkdir()
    path = tmp_path / place
    with output_folders.held(path), output_folders.filling(path, last=LAST) as folder:
        (folder / "made").write_text("new")
        assert not (path / "made").exists()
    assert contents(path) == {"made": "new"}


def test_what_is_removed_goes_and_nothing_else(there):
    fill(there, "a", "c", LAST, removed=["a", "b", LAST, "gone already"])
    assert contents(there) == LATER


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), UserError("no")])
def test_an_exception_leaves_what_was_there(tmp_path, there, error):
    with pytest.raises(type(error)):
        fill(there, "a", "c", removed=["a", "b"], error=error)
    assert contents(there) == EARLIER
    with pytest.raises(type(error)):
        fill(tmp_path / "new" / "folders", "a", error=error)
    assert os.listdir(tmp_path) == ["there"]


def test_an_error_names_the_folder_and_not_where_its_files_are_until_then(there):
    with pytest.raises(UserError, match=f"^{there}/a is full$"), output_folders.held(there):
        with output_folders.filling(there, last=LAST) as folder:
            raise UserError(f"{folder}/a is full")


def test_an_interrupt_while_files_move_waits_until_they_have(there, monkeypatch):
    rename, moved = os.rename, []

    def interrupted(source, target):
        rename(source, target)
        if pathlib.Path(target) == there / "a" and not moved:
            moved.append(target)
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(there, "a", "c", LAST, removed=["a", "b", LAST])
    assert contents(there) == LATER


def test_the_file_that_tells_of_the_others_comes_last(there, monkeypatch):
    rename, moved = os.rename, []
    monkeypatch.setattr(
        os, "rename", lambda *pair: (rename(*pair), moved.append(pathlib.Path(pair[1])))
    )
    fill(there, "z", LAST, "a")
    assert [each.name for each in moved if each.parent == there][1:-1] == ["a", "z", LAST]


@pytest.mark.parametrize("fails", ["away b", "away list.json", "in a", "in c", "in list.json"])
def test_a_file_that_cannot_be_moved_leaves_all_as_it_was(there, monkeypatch, fails):
    """As one of another user in a folder such as /tmp."""
    rename, failed = os.rename, []

    def refused(source, target):
        source, target = pathlib.Path(source), pathlib.Path(target)
        ways = {f"away {source.name}": source.parent, f"in {target.name}": target.parent}
        if ways.get(fails) == there and not failed:
            failed.append(target)
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(UserError, match="there cannot be written .Operation not permitted"):
        fill(there, "a", "c", LAST, removed=["a", "b", LAST])
    assert failed and contents(there) == EARLIER
    fill(there, "d")  # which completes nothing of it
    assert contents(there) == EARLIER | {"d": "new"}


def started(path, moment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("staging", EARLIER),
        ("before moving", LATER),
        *((f"after move {number}", LATER) for number in range(1, 9)),  # there are eight
    ],
)
def test_after_a_kill_the_next_to_hold_the_folder_finds_all_or_nothing(there, moment, expected):
    with started(there, moment) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    with output_folders.held(there):
        found = contents_of_files(there)
        assert found == expected
    assert contents(there) == expected


def contents_of_files(path) -> dict[str, str]:
    """Without the lock, which is there while the folder is held."""
    return {
        each.name: each.read_text()
        for each in path.iterdir()
        if each.is_file() and not each.name.startswith(".")
    }


def test_another_process_is_refused_and_told_by_whom(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "new"
    with started(path, "wait") as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"is being written to by process {process.pid} on"):
            fill(path, "b")
        process.communicate()
    assert contents(path) == {"a": "new", "c": "new", LAST: "new"}


def test_another_process_waits_where_it_says_so(tmp_path):
    pytest.importorskip("fcntl")
    told = []
    with started(tmp_path / "new", "wait") as process:
        assert process.stdout.readline() == "held\n"

        def tell(holder: str) -> None:
            told.append(holder)
            process.communicate()

        with output_folders.held(tmp_path / "new", tell):
            assert contents_of_files(tmp_path / "new").keys() == {"a", "c", LAST}
    assert told and f"process {process.pid} on" in told[0]


def test_one_that_waited_for_a_folder_that_is_gone_makes_it_again(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "new"
    with started(path, "wait") as process:
        assert process.stdout.readline() == "held\n"

        def fail(holder: str) -> None:
            process.kill()
            process.communicate()
            shutil.rmtree(path)  # as at the end of a block that has failed

        with output_folders.held(path, fail):
            assert path.is_dir()


@pytest.mark.parametrize("kind", ["file", "below a file", "dangling link"])
def test_what_cannot_be_a_folder_is_refused(tmp_path, kind):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    place = {"file": "file", "below a file": "file/below", "dangling link": "link"}[kind]
    with pytest.raises(UserError, match=str(tmp_path / place)) as raised:
        fill(tmp_path / place, "a")
    assert "\n" not in str(raised.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_a_link_to_a_folder_is_that_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    fill(tmp_path / "link", "a")
    assert contents(tmp_path / "real") == {"a": "new"}
    assert (tmp_path / "link").is_symlink()


def test_a_full_disk_is_the_users_to_mend(there, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(UserError, match="there cannot be written .No space left"):
        fill(there, "a", removed=["b"])
    monkeypatch.undo()
    assert contents(there) == EARLIER


def test_nothing_of_the_users_is_in_the_way(there):
    (there / "folder").mkdir()
    output_folders.require_free(there, ["a", "new"], own=["a"])
    with pytest.raises(UserError, match="there/a is there already.*move it away or name another"):
        output_folders.require_free(there, ["a"])
    with pytest.raises(UserError, match="there/folder is a folder"):
        output_folders.require_free(there, ["folder"], own=["folder"])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/", "a\0", 1, None, ["a"]])
def test_what_is_no_name_of_a_file(name):
    assert not output_folders.is_file_name(name)
    assert output_folders.is_file_name("a b.wav")
