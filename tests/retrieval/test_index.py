"""An index is the same whatever happened on the way to it, and no sound is heard twice."""

import os
import pathlib
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import compiling
import sound_folder
from hearing import Hearing
from qvae_jax.retrieval import index, parts, reading
from qvae_jax.system import caches
from qvae_jax.system.errors import UserError

REPOSITORY = pathlib.Path(__file__).parents[2]
DURATIONS_S = {"a": 0.3, "b": 0.7, "c": 0.1, "d": 0.2, "e": 0.4}
AWKWARD = ["new\nline.wav", "\udcff\u202e.wav", "<b>\"&'.wav", "--a, b.wav", "犬 🐶.wav"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv(caches.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def library(tmp_path) -> pathlib.Path:
    return sound_folder.write(tmp_path / "library", **DURATIONS_S)


def indexed(library, hearing=None, said=None) -> index.Index:
    return index.indexed(library, hearing or Hearing(), say=[].append if said is None else said)


def names(found: index.Index) -> list[str]:
    return [entry.name for entry in found.entries]


def kept(cache: pathlib.Path) -> dict[str, bytes]:
    """All that is kept in the cache folder, but for locks."""
    paths = [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(cache)): path.read_bytes() for path in paths}


def test_an_index_holds_what_the_encoder_makes_of_each_sound(library):
    found = indexed(library)
    assert names(found) == [f"{name}.wav" for name in DURATIONS_S]
    assert [round(entry.duration_s, 4) for entry in found.entries] == list(DURATIONS_S.values())
    for row, entry in enumerate(found.entries):
        assert entry.size_bytes == found.path(row).stat().st_size
        front_end = Hearing().front_end
        samples = reading.read(found.path(row), front_end).samples
        np.testing.assert_array_equal(found.embeddings[row], Hearing().embed([samples], [""], 1)[0])


def test_what_has_not_changed_is_not_read_again(library, monkeypatch, cache):
    indexed(library)
    before, again = kept(cache), Hearing()
    monkeypatch.setattr(index, "read", lambda *_, **__: pytest.fail("it is read"))
    assert len(indexed(library, again).entries) == 5
    assert not again.heard and kept(cache) == before


def test_files_that_came_went_changed_or_moved(library, cache):
    indexed(library)
    sound_folder.write(library / "deeper", f=0.2)
    (library / "a.wav").unlink()
    (library / "b.wav").rename(library / "deeper" / "z.wav")
    os.utime(library / "c.wav", ns=(0, 0))
    sound_folder.write_samples(library / "d.wav", sound_folder.noise(9, 0.6))
    again = Hearing()
    found = indexed(library, again)
    assert sorted(again.heard) == ["d.wav", "deeper/f.wav"]
    assert names(found) == ["c.wav", "d.wav", "deeper/f.wav", "deeper/z.wav", "e.wav"]
    incremental = kept(cache)
    shutil.rmtree(cache)
    indexed(library)
    assert kept(cache) == incremental


@pytest.mark.parametrize("name", AWKWARD)
def test_any_name_is_found_again(library, name):
    (library / "a.wav").rename(library / name)
    found = indexed(library)
    assert name in names(found)
    assert found.path(names(found).index(name)).read_bytes()
    again = Hearing()
    assert names(indexed(library, again)) == names(found) and not again.heard


def test_two_names_that_differ_in_suffix_or_unicode_form_are_two_sounds(library):
    for name in ("a.flac", "u\u0308.wav", "\u00fc.wav"):
        sound_folder.write_samples(library / name, sound_folder.noise(list(name.encode()), 0.2))
    assert len(indexed(library).entries) == 8


class Killed(BaseException):
    """As of a kill: nothing catches it."""


@pytest.mark.parametrize("step", range(1, 12))
def test_a_kill_at_any_step_changes_nothing_in_the_end(library, cache, monkeypatch, step):
    monkeypatch.setattr(index, "PIECE_FILES", 2)
    steps = []

    def counted(function):
        def called(*arguments, **options):
            steps.append(function)
            if len(steps) == step:
                raise Killed
            return function(*arguments, **options)

        return called

    with monkeypatch.context() as dying:
        dying.setattr(os, "replace", counted(os.replace))
        dying.setattr(pathlib.Path, "unlink", counted(pathlib.Path.unlink))
        dying.setattr(Hearing, "embed", counted(Hearing.embed))
        with pytest.raises(Killed):
            indexed(library)
    again = Hearing()
    indexed(library, again)
    num_embedded = steps.count(Hearing.embed)
    assert len(again.heard) <= 5 - 2 * max(0, num_embedded - 1)  # of pieces of two, one is lost
    after_kill = kept(cache)
    shutil.rmtree(cache)
    indexed(library)
    assert kept(cache) == after_kill


def test_a_damaged_index_is_made_again_and_that_is_said(library, cache):
    indexed(library)
    whole = kept(cache)
    (path,) = cache.rglob("*.npy")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    said, again = [], Hearing()
    indexed(library, again, said.append)
    assert len(said) == 1
    assert "is damaged, cut short or of another version: it is made again" in said[0]
    assert len(again.heard) == 5 and kept(cache) == whole


def test_an_index_of_another_encoder_is_made_anew_and_that_is_said(library):
    said = []
    indexed(library, Hearing("a" * 64), said.append)
    assert not said
    other = Hearing("b" * 64)
    indexed(library, other, said.append)
    assert len(other.heard) == 5
    assert len(said) == 1 and "is of another encoder: this one's is made anew" in said[0]
    for digest in "ab":
        again = Hearing(digest * 64)
        indexed(library, again, said.append)
        assert not again.heard and len(said) == 1


def test_what_cannot_be_used_is_left_out_and_named(library):
    (library / "noise.wav").write_bytes(b"no sound")
    sound_folder.write_samples(library / "silent.wav", np.zeros(5_000))
    (library / "text.txt").touch()
    said = []
    found = indexed(library, said=said.append)
    assert names(found) == [f"{name}.wav" for name in DURATIONS_S]
    assert set(found.left_out) == {"noise.wav", "silent.wav"}
    assert "is silent in its first 0.5 s" in found.left_out["silent.wav"]
    assert len(said) == 2 and "text.txt" in said[0]
    assert "2 files that cannot be used ('noise.wav', 'silent.wav')" in said[1]


def test_a_library_without_a_readable_file_is_one_line(tmp_path):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "a.wav").write_bytes(b"no sound")
    with pytest.raises(
        UserError, match="holds 1 sound, of which none can be read: .*a.wav"
    ) as told:
        indexed(tmp_path / "library")
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="does not exist"):
        indexed(tmp_path / "absent")


def test_files_that_vanish_or_change_meanwhile_are_named_and_the_others_kept(
    library, monkeypatch, cache
):
    read = windows_read = reading.windows.read_sound

    def changing(path, *arguments, **options):
        if path.name == "b.wav":
            (library / "c.wav").unlink()
        samples = windows_read(path, *arguments, **options)
        if path.name == "d.wav":
            sound_folder.write_samples(path, sound_folder.noise(3, 0.9))
        return samples

    with monkeypatch.context() as busy:
        busy.setattr(reading.windows, "read_sound", changing)
        found = indexed(library)
    assert read is reading.windows.read_sound
    assert names(found) == ["a.wav", "b.wav", "e.wav"]
    assert "c.wav cannot be looked at" in found.left_out["c.wav"]
    assert "d.wav changed while it was read" in found.left_out["d.wav"]
    again = Hearing()
    assert names(indexed(library, again)) == ["a.wav", "b.wav", "d.wav", "e.wav"]
    assert again.heard == ["d.wav"]


def test_two_at_once_make_one_index(library, cache):
    hearings = [Hearing(), Hearing()]
    both = [threading.Thread(target=indexed, args=(library, hearing)) for hearing in hearings]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(hearings[0].heard + hearings[1].heard) == [f"{name}.wav" for name in DURATIONS_S]
    together = kept(cache)
    shutil.rmtree(cache)
    indexed(library)
    assert kept(cache) == together


def test_a_written_part_is_an_index(library):
    """As the benchmark's stand-in for a large library is."""
    found = indexed(library)
    about = {"version": index.VERSION, "encoder": "a" * 64, "dim": 8, "library": str(library)}
    (whole,), _ = parts.read(index.folder_of(about), about)
    np.testing.assert_array_equal(whole.embeddings, found.embeddings)


def test_twenty_kills_of_a_process_change_nothing_in_the_end(tmp_path, cache):
    durations_s = {f"sound_{number:03d}": 0.3 for number in range(120)}
    library = sound_folder.write(tmp_path / "many", **durations_s)
    program = [sys.executable, str(REPOSITORY / "tests/support/killed_index.py"), str(library)]
    environment = compiling.environment(PYTHONPATH=str(REPOSITORY))
    killed = subprocess.run(
        [*program, "20"], env=environment, capture_output=True, text=True, check=False
    )
    assert killed.returncode == 0, killed.stderr
    after_kills = kept(cache)
    shutil.rmtree(cache)
    indexed(library)
    assert kept(cache) == after_kills
