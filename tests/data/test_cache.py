"""The prepared cache: computes only what it must, and is whole or not there."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import waiting
from qvae_jax.data import cache
from qvae_jax.data.cache import Recipe
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

NAMES = ["a.wav", "b.wav", "c, d.wav", "ä.wav", "e.wav"]


class Loader:
    """Reads a number from a file as a waveform of four samples; remembers which it has read."""

    def __init__(self):
        self.loaded = []

    def __call__(self, path: pathlib.Path) -> np.ndarray:
        self.loaded.append(path.name)
        text = path.read_text()
        if text == "bad":
            raise UserError(f"{path} is bad.")
        return np.full(4, float(text), np.float32)


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def recipe(loader) -> Recipe:
    return Recipe(
        load=loader,
        transform=lambda waveforms: 2 * np.stack(waveforms)[:, :3],
        row_shape=(3,),
        dtype=np.float32,
        parameters={"hop_length": 320, "window": [1, 2]},
    )


@pytest.fixture
def sources(tmp_path) -> list[pathlib.Path]:
    (tmp_path / "sources").mkdir()
    paths = [tmp_path / "sources" / name for name in NAMES]
    for number, path in enumerate(paths):
        path.write_text(str(number))
    return paths


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    return tmp_path / "cache" / "rows.npy"


def rewrite(source: pathlib.Path, text: str) -> None:
    """Changes a file so that it shows, even within the file system's resolution of time."""
    source.write_text(text)
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 10**9))


def cached_array(path, sources, recipe, **options) -> cache.CachedArray:
    """The rows of these files, by their own names."""
    return cache.cached_array(path, {s.name: s for s in sources}, recipe, **options)


def values(cached: cache.CachedArray) -> dict[str, float]:
    return {name: float(cached.array[row][0]) for name, row in cached.rows.items()}


def test_files_of_one_name_in_two_folders_have_rows_of_their_own(path, sources, recipe, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / NAMES[0]
    other.write_text("7")
    named = {f"sources/{NAMES[0]}": sources[0], f"other/{NAMES[0]}": other}
    for _ in range(2):  # computed, then read back
        assert list(values(cache.cached_array(path, named, recipe)).values()) == [0.0, 14.0]


def test_each_source_has_its_row(path, sources, recipe):
    cached = cached_array(path, sources, dataclasses.replace(recipe, batch_size=2))
    assert values(cached) == {name: 2.0 * number for number, name in enumerate(NAMES)}
    assert cached.array.shape == (5, 3) and cached.array.dtype == np.float32
    assert cached.bad == {}
    assert sorted(os.listdir(path.parent)) == [".lock", "rows.json", "rows.npy"]


def test_rows_are_found_in_another_unicode_form_or_by_names_with_suffixes(
    path, sources, recipe, loader, tmp_path
):
    first = cached_array(path, sources, recipe)
    manifest = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert list(manifest["rows"]) == [name.removesuffix(".wav") for name in NAMES]
    manifest["rows"] = {f"{name}.wav": row for name, row in manifest["rows"].items()}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    loader.loaded.clear()
    renamed = [
        source.rename(source.with_name("a\u0308.wav")) if source.name == "ä.wav" else source
        for source in sources
    ]
    assert values(cached_array(path, renamed, recipe)) == {
        source.name: 2.0 * number for number, source in enumerate(renamed)
    }
    assert loader.loaded == []
    converted = renamed[0].rename(renamed[0].with_name("a.flac"))
    rewrite(converted, "70")
    again = cached_array(path, [converted, *renamed[1:]], recipe)
    assert loader.loaded == ["a.flac"] and values(again)["a.flac"] == 140.0
    assert again.array.shape == first.array.shape


def test_names_that_count_as_one_are_never_given_one_row(path, sources, recipe):
    named = {"a.wav": sources[0], "a.flac": sources[1]}
    with pytest.raises(ValueError, match="count as one"):
        cache.cached_array(path, named, recipe)


def test_nothing_is_computed_twice(path, sources, recipe, loader):
    first = cached_array(path, sources, recipe)
    written = path.stat().st_mtime_ns
    loader.loaded.clear()
    second = cached_array(path, sources, recipe)
    assert loader.loaded == [] and path.stat().st_mtime_ns == written
    assert values(second) == values(first)


def test_only_a_changed_file_is_computed_again(path, sources, recipe, loader):
    cached_array(path, sources, recipe)
    loader.loaded.clear()
    rewrite(sources[1], "7")
    cached = cached_array(path, sources, recipe)
    assert loader.loaded == [NAMES[1]]
    assert values(cached) == {NAMES[0]: 0, NAMES[1]: 14, NAMES[2]: 4, NAMES[3]: 6, NAMES[4]: 8}


def test_a_part_of_the_sources_keeps_the_rows_of_the_others(path, sources, recipe, loader):
    cached_array(path, sources[:3], recipe)
    loader.loaded.clear()
    part = cached_array(path, [sources[4], sources[1]], recipe)
    assert loader.loaded == [NAMES[4]]
    assert values(part) == {NAMES[1]: 2, NAMES[4]: 8}
    loader.loaded.clear()
    assert values(cached_array(path, sources, recipe)) == {n: 2 * i for i, n in enumerate(NAMES)}
    assert loader.loaded == [NAMES[3]]


def test_rows_of_files_that_are_gone_do_no_harm(path, sources, recipe, loader):
    cached_array(path, sources, recipe)
    sources[0].unlink()
    loader.loaded.clear()
    assert set(cached_array(path, sources[1:], recipe).rows) == set(NAMES[1:])
    assert loader.loaded == []


def test_a_missing_source_is_an_error(path, sources, recipe):
    sources[2].unlink()
    with pytest.raises(UserError, match="c, d.wav cannot be found"):
        cached_array(path, sources, recipe)
    assert not path.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"hop_length": 160, "window": [1, 2]}},
        {"row_shape": (2,), "transform": lambda waveforms: np.stack(waveforms)[:, :2]},
        {"dtype": np.float16},
    ],
)
def test_another_recipe_computes_everything_again(path, sources, recipe, loader, change):
    cached_array(path, sources, recipe)
    loader.loaded.clear()
    other = dataclasses.replace(recipe, **change)
    cached = cached_array(path, sources, other)
    assert sorted(loader.loaded) == sorted(NAMES)
    assert cached.array.shape[1:] == other.row_shape and cached.array.dtype == other.dtype


def test_another_version_computes_everything_again(path, sources, recipe, loader, monkeypatch):
    cached_array(path, sources, recipe)
    loader.loaded.clear()
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    cached_array(path, sources, recipe)
    assert sorted(loader.loaded) == sorted(NAMES)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "{}", '{"parameters": 1}', '{"files": {}, "bad": {}}'],
)
def test_a_damaged_manifest_is_not_trusted(path, sources, recipe, loader, text):
    cached_array(path, sources, recipe)
    path.with_suffix(".json").write_text(text)
    loader.loaded.clear()
    assert values(cached_array(path, sources, recipe))[NAMES[4]] == 8
    assert sorted(loader.loaded) == sorted(NAMES)


@pytest.mark.parametrize("keep", [0, 40, 130])
def test_a_truncated_array_is_not_trusted(path, sources, recipe, loader, keep):
    cached_array(path, sources, recipe)
    path.write_bytes(path.read_bytes()[:keep])
    loader.loaded.clear()
    assert values(cached_array(path, sources, recipe))[NAMES[4]] == 8
    assert sorted(loader.loaded) == sorted(NAMES)


@pytest.mark.parametrize("row", [5, -1, 0, "x"], ids=["absent", "negative", "twice", "no number"])
def test_a_manifest_that_tells_of_rows_that_cannot_be_is_not_trusted(
    path, sources, recipe, loader, row
):
    cached_array(path, sources, recipe)
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest["rows"]["z.wav"] = [row, 1, 2]
    path.with_suffix(".json").write_text(json.dumps(manifest))
    loader.loaded.clear()
    cached_array(path, sources, recipe)
    assert sorted(loader.loaded) == sorted(NAMES)


@pytest.mark.parametrize("written", [0, 1], ids=["before it is struck off", "after"])
def test_a_changed_row_that_is_cut_off_is_computed_again(
    path, sources, recipe, loader, monkeypatch, written
):
    cached_array(path, sources, recipe)
    rewrite(sources[0], "9")
    num_written = 0

    def write_then_die(*arguments):
        nonlocal num_written
        if num_written == written:
            raise KeyboardInterrupt
        num_written += 1
        return write_json(*arguments)

    write_json = files.write_json
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", write_then_die)
        with pytest.raises(KeyboardInterrupt):
            cached_array(path, sources, recipe)
    loader.loaded.clear()
    assert values(cached_array(path, sources, recipe))[NAMES[0]] == 18
    assert loader.loaded == [NAMES[0]]


def test_an_array_without_a_manifest_is_not_trusted(path, sources, recipe, loader):
    cached_array(path, sources, recipe)
    path.with_suffix(".json").unlink()
    loader.loaded.clear()
    assert values(cached_array(path, sources, recipe))[NAMES[4]] == 8
    assert sorted(loader.loaded) == sorted(NAMES)


def test_a_kill_before_the_array_is_in_place_leaves_the_old_cache(path, sources, recipe, loader):
    old = values(cached_array(path, sources[:4], recipe))

    def killed(waveforms):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_array(path, sources, dataclasses.replace(recipe, transform=killed))
    assert sorted(os.listdir(path.parent)) == [".lock", "rows.json", "rows.npy"]
    loader.loaded.clear()
    assert values(cached_array(path, sources[:4], recipe)) == old
    assert loader.loaded == []


def test_a_bad_file_stops_and_what_was_finished_stays(path, sources, recipe, loader):
    cached_array(path, sources[:2], recipe)
    rewrite(sources[3], "bad")
    with pytest.raises(UserError, match="ä.wav is bad"):
        cached_array(path, sources, recipe)
    rewrite(sources[3], "3")
    loader.loaded.clear()
    assert values(cached_array(path, sources, recipe)) == {n: 2 * i for i, n in enumerate(NAMES)}
    assert loader.loaded == NAMES[3:]


def test_a_bad_file_is_left_out_and_reported(path, sources, recipe):
    rewrite(sources[1], "bad")
    recipe = dataclasses.replace(recipe, batch_size=2)
    cached = cached_array(path, sources, recipe, stop_on_bad_file=False)
    assert set(cached.rows) == set(NAMES) - {NAMES[1]}
    assert list(cached.bad) == [NAMES[1]] and "b.wav is bad" in cached.bad[NAMES[1]]
    assert values(cached)[NAMES[4]] == 8


def test_a_known_bad_file_does_not_make_the_array_anew(path, sources, recipe, loader):
    rewrite(sources[1], "bad")
    first = cached_array(path, sources, recipe, stop_on_bad_file=False)
    written = path.stat().st_ino
    loader.loaded.clear()
    second = cached_array(path, sources, recipe, stop_on_bad_file=False)
    assert (second.bad, values(second)) == (first.bad, values(first))
    assert loader.loaded == [NAMES[1]] and path.stat().st_ino == written


def test_a_known_bad_file_still_stops_where_it_should(path, sources, recipe):
    rewrite(sources[1], "bad")
    cached_array(path, sources, recipe, stop_on_bad_file=False)
    with pytest.raises(UserError, match="b.wav is bad"):
        cached_array(path, sources, recipe)


def test_a_mended_file_is_taken_up(path, sources, recipe):
    rewrite(sources[1], "bad")
    cached_array(path, sources, recipe, stop_on_bad_file=False)
    # The same size and time of change, as after a change of permissions.
    status = sources[1].stat()
    sources[1].write_text("123")
    os.utime(sources[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    cached = cached_array(path, sources, recipe, stop_on_bad_file=False)
    assert cached.bad == {} and values(cached)[NAMES[1]] == 246


def test_bad_files_that_are_not_asked_for_are_not_reported(path, sources, recipe):
    rewrite(sources[1], "bad")
    cached_array(path, sources, recipe, stop_on_bad_file=False)
    part = cached_array(path, sources[2:], recipe)
    assert part.bad == {} and set(part.rows) == set(NAMES[2:])


def test_without_any_readable_file_nothing_is_written(path, sources, recipe):
    for source in sources:
        rewrite(source, "bad")
    with pytest.raises(UserError, match="of 5 files none can be read"):
        cached_array(path, sources, recipe, stop_on_bad_file=False)
    assert os.listdir(path.parent) == [".lock"]


def test_a_folder_that_cannot_be_written(tmp_path, sources, recipe):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path}/file/rows.npy|{tmp_path}/file"):
        cached_array(tmp_path / "file" / "rows.npy", sources, recipe)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve space")
def test_a_full_disk_is_noticed_before_anything_is_computed(
    path, sources, recipe, loader, monkeypatch
):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="rows.npy.*No space left on device"):
        cached_array(path, sources, recipe)
    assert loader.loaded == [] and os.listdir(path.parent) == [".lock"]


def test_an_array_that_cannot_grow_keeps_its_rows(path, sources, recipe, loader, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    cached_array(path, sources[:3], recipe)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(UserError, match="rows.npy.*No space left on device"):
            cached_array(path, sources, recipe)
    loader.loaded.clear()
    assert len(values(cached_array(path, sources[:3], recipe))) == 3 and loader.loaded == []


def test_another_process_that_prepares_is_waited_for(path, sources, recipe, loader, capsys):
    """What it has finished meanwhile is not computed again."""
    fcntl = pytest.importorskip("fcntl")
    path.parent.mkdir()
    with open(path.parent / cache.LOCK_FILE, "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        found = []
        thread = threading.Thread(
            target=lambda: found.append(cached_array(path, sources, recipe)), daemon=True
        )
        thread.start()
        told = ""

        def waits() -> bool:
            nonlocal told
            told += capsys.readouterr().out
            return f"another process is preparing {path.parent}" in told

        waiting.until(waits)
        thread.join(0.1)
        assert thread.is_alive() and loader.loaded == []
        elsewhere = cached_array(path.parents[1] / "elsewhere" / "rows.npy", sources, recipe)
        for suffix in (".json", ".npy"):
            written = path.parents[1] / "elsewhere" / f"rows{suffix}"
            os.replace(written, path.with_suffix(suffix))
        loader.loaded.clear()
    thread.join(waiting.HANG_S)
    assert values(found[0]) == values(elsewhere) and loader.loaded == []


# --- What does not depend on how it was computed

# Writes the array of the files in a folder, slowly, and says when each row is finished.
COMPUTE = """
import pathlib, sys, time
import numpy as np
from qvae_jax.data import cache

def transform(waveforms):
    time.sleep(0.02)
    return np.stack([np.resize(waveform, 5000) for waveform in waveforms])

def load(path):
    return np.frombuffer(path.read_bytes(), np.uint8).astype(np.float32)

folder, path, batch_size = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
cache.COMMIT_INTERVAL_S = 0.03
recipe = cache.Recipe(load, transform, (5000,), np.float32, {}, batch_size)
print("begins", flush=True)
cached = cache.cached_array(path, {s.name: s for s in sorted(folder.iterdir())}, recipe)
print("done", flush=True)
"""


def compute_apart(folder: pathlib.Path, path: pathlib.Path, batch_size: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", COMPUTE, str(folder), str(path), str(batch_size)],
        cwd=pathlib.Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("batch_size", [1, 4])
def test_kills_at_any_moment_leave_the_same_array(tmp_path, batch_size):
    folder = tmp_path / "sources"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(30):
        (folder / f"{number:02d}").write_bytes(rng.bytes(50))
    undisturbed = tmp_path / "undisturbed" / "rows.npy"
    assert compute_apart(folder, undisturbed, batch_size).wait() == 0
    disturbed = tmp_path / "disturbed" / "rows.npy"
    finished, delay_s = [], 0.0
    while True:
        process = compute_apart(folder, disturbed, batch_size)
        assert process.stdout.readline() == "begins\n"
        try:
            process.wait(delay_s)
        except subprocess.TimeoutExpired:
            process.kill()
        rest = process.communicate()[0]
        manifest = disturbed.with_suffix(".json")
        rows = json.loads(manifest.read_text())["rows"] if manifest.exists() else {}
        assert set(finished) <= set(rows), "a finished row was lost"
        array = np.load(disturbed, mmap_mode="r") if rows else None
        for name, (row, *_) in rows.items():
            content = np.frombuffer((folder / name).read_bytes(), np.uint8)
            np.testing.assert_array_equal(array[row], np.resize(content, 5000))
        finished = list(rows)
        if rest == "done\n":
            break
        delay_s += 0.053
    assert disturbed.read_bytes() == undisturbed.read_bytes()
    assert disturbed.with_suffix(".json").read_bytes() == (
        undisturbed.with_suffix(".json").read_bytes()
    )


def test_what_a_killed_process_left_half_written_is_removed(path, sources, recipe):
    path.parent.mkdir()
    (path.parent / ".0123.tmp").write_bytes(bytes(100))
    cached_array(path, sources, recipe)
    assert sorted(os.listdir(path.parent)) == [".lock", "rows.json", "rows.npy"]
