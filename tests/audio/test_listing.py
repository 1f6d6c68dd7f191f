"""What a folder holds: each visible name is either read, or left out and said to be."""

import os

import pytest

from qvae_jax.audio import kinds, listing
from qvae_jax.audio.listing import FOREIGN, LINKED_FOLDERS, NO_FILES, OTHER_FILES
from qvae_jax.system.errors import UserError


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_sounds_of_all_folders_are_listed_sorted(tmp_path):
    names = [f"sub/deep/x{suffix}" for suffix in kinds.READABLE] + ["b.WAV", "a, b [c].wav"]
    fill(tmp_path, *names)
    (tmp_path / "folder.wav").mkdir()
    found, left_out = listing.list_audio_files(tmp_path)
    assert found == sorted(tmp_path / name for name in names) and left_out == {}


def test_what_is_left_out_is_known_by_its_kind(tmp_path):
    fill(tmp_path, "a.wav", "hum.M4A", "sub/hum.webm", "sub/hum.mp4", "notes.txt", "wav")
    fill(tmp_path, "sub/hum", "b.wav.part", "c.wav.crdownload", "elsewhere/d.wav")
    os.symlink(tmp_path / "elsewhere", tmp_path / "link")
    os.symlink(tmp_path, tmp_path / "elsewhere" / "loop")
    os.symlink("absent.wav", tmp_path / "dangling.wav")
    os.symlink("circle.wav", tmp_path / "circle.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    found, left_out = listing.list_audio_files(tmp_path)
    assert found == [tmp_path / "a.wav", tmp_path / "elsewhere" / "d.wav"]
    assert left_out == {
        FOREIGN: ["hum.M4A", "sub/hum.mp4", "sub/hum.webm"],
        OTHER_FILES: ["b.wav.part", "c.wav.crdownload", "notes.txt", "sub/hum", "wav"],
        LINKED_FOLDERS: ["elsewhere/loop", "link"],
        NO_FILES: ["circle.wav", "dangling.wav", "pipe.wav"],
    }


def test_what_is_hidden_or_a_systems_own_is_not_mentioned(tmp_path):
    fill(tmp_path, "a.wav", "._a.wav", ".DS_Store", "Thumbs.db", "sub/desktop.ini")
    fill(tmp_path, ".cache/c.wav", "__MACOSX/._a.wav", "__MACOSX/b.wav")
    assert listing.list_audio_files(tmp_path) == ([tmp_path / "a.wav"], {})


@pytest.mark.parametrize("outside", ["out", "sub/out", "link"])
def test_one_folder_may_be_left_alone(tmp_path, outside):
    fill(tmp_path, "a.wav", "out/b.wav", "out/manifest.json", "sub/out/b.wav", "sub/out/x.json")
    os.symlink("out", tmp_path / "link")
    found, left_out = listing.list_audio_files(tmp_path, outside=tmp_path / outside)
    other = "out" if outside == "sub/out" else "sub/out"
    assert found == [tmp_path / "a.wav", tmp_path / other / "b.wav"]
    assert all(name.startswith((other, "link")) for names in left_out.values() for name in names)


def test_a_folder_whose_files_may_not_be_looked_at_is_named(tmp_path, monkeypatch):
    fill(tmp_path, "a.wav")
    look = os.stat

    def refuse(path, *arguments, **options):  # as for a folder of mode 444, which stops not root
        if str(path).endswith("a.wav"):
            raise PermissionError(13, "Permission denied", path)
        return look(path, *arguments, **options)

    monkeypatch.setattr("os.stat", refuse)
    with pytest.raises(UserError, match=r"a.wav cannot be looked at \(Permission denied\)"):
        listing.list_audio_files(tmp_path)


def test_a_link_to_a_folder_is_read_where_it_is_named(tmp_path):
    fill(tmp_path, "elsewhere/d.wav")
    os.symlink("elsewhere", tmp_path / "link")
    assert listing.list_audio_files(tmp_path / "link")[0] == [tmp_path / "link" / "d.wav"]


@pytest.mark.parametrize(
    ("left_out", "line"),
    [
        (
            {FOREIGN: ["my hum.m4a"]},
            "left out of in: 1 file of a kind that libsndfile does not read ('my hum.m4a'): convert "
            "to WAV first, as with `ffmpeg -i 'my hum.m4a' 'my hum.wav'`",
        ),
        (
            {OTHER_FILES: ["a", "b", "c", "d"]},
            "left out of in: 4 files not named as sounds are ('a', 'b', 'c', …)",
        ),
        (
            {LINKED_FOLDERS: ["a"]},
            "left out of in: 1 link to folders, which are not followed ('a'): name the folders too",
        ),
        ({NO_FILES: ["a", "b\n"]}, r"left out of in: 2 names with no file behind ('a', 'b\n')"),
    ],
)
def test_each_kind_is_a_line(left_out, line):
    assert listing.notes("in", left_out | {"folders": []}) == [line]


@pytest.mark.parametrize(
    ("names", "folder", "said"),
    [
        ([], "absent", "does not exist"),
        (["file.wav"], "file.wav", "is not a folder"),
        ([], ".", "holds no audio file that can be read; put some there"),
        (["a.m4a"], ".", r"but 1 file of a kind .*'a.m4a'.*`ffmpeg -i a.m4a a.wav`; put"),
        (["a.m4a", "b.txt"], ".", r"but 1 file of .*` and 1 file not named as .*'b.txt'.; put"),
    ],
)
def test_folders_without_sounds_are_refused(tmp_path, names, folder, said):
    fill(tmp_path, *names)
    with pytest.raises(UserError, match=said) as raised:
        listing.list_audio_files(tmp_path / folder)
    assert "\n" not in str(raised.value)
