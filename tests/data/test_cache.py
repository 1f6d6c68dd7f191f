"""The prepared cache: computes only what it must, and is whole or not there."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest

from qvae_jax import files
from qvae_jax.data import cache
from qvae_jax.data.cache import Recipe, cached_array
from qvae_jax.errors import UserError

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
        transform=lambda waveforms: 2 * waveforms[:, :3],
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


def values(cached: cache.CachedArray) -> dict[str, float]:
    return {name: float(cached.array[row][0]) for name, row in cached.rows.items()}


def test_each_source_has_its_row(path, sources, recipe):
    cached = cached_array(path, sources, recipe, batch_size=2)
    assert values(cached) == {name: 2.0 * number for number, name in enumerate(NAMES)}
    assert cached.array.shape == (5, 3) and cached.array.dtype == np.float32
    assert cached.bad == {}
    assert sorted(os.listdir(path.parent)) == ["rows.json", "rows.npy"]


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
        {"row_shape": (2,), "transform": lambda waveforms: waveforms[:, :2]},
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


def test_a_manifest_that_tells_of_more_rows_is_not_trusted(path, sources, recipe, loader):
    cached_array(path, sources, recipe)
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest["files"]["z.wav"] = [1, 2]
    path.with_suffix(".json").write_text(json.dumps(manifest))
    loader.loaded.clear()
    cached_array(path, sources, recipe)
    assert sorted(loader.loaded) == sorted(NAMES)


def test_a_kill_between_array_and_manifest_is_noticed(path, sources, recipe, loader, monkeypatch):
    cached_array(path, sources, recipe)
    rewrite(sources[0], "9")
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cached_array(path, sources, recipe)
    assert not path.with_suffix(".json").exists()
    loader.loaded.clear()
    assert values(cached_array(path, sources, recipe))[NAMES[0]] == 18
    assert sorted(loader.loaded) == sorted(NAMES)


def test_a_kill_before_the_array_is_in_place_leaves_the_old_cache(path, sources, recipe, loader):
    old = values(cached_array(path, sources[:4], recipe))

    def killed(waveforms):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_array(path, sources, dataclasses.replace(recipe, transform=killed))
    assert sorted(os.listdir(path.parent)) == ["rows.json", "rows.npy"]
    loader.loaded.clear()
    assert values(cached_array(path, sources[:4], recipe)) == old
    assert loader.loaded == []


def test_a_bad_file_stops_and_leaves_the_old_cache(path, sources, recipe, loader):
    old = values(cached_array(path, sources[:3], recipe))
    rewrite(sources[4], "bad")
    with pytest.raises(UserError, match="e.wav is bad"):
        cached_array(path, sources, recipe)
    assert sorted(os.listdir(path.parent)) == ["rows.json", "rows.npy"]
    assert values(cached_array(path, sources[:3], recipe)) == old


def test_a_bad_file_is_left_out_and_reported(path, sources, recipe):
    rewrite(sources[1], "bad")
    cached = cached_array(path, sources, recipe, stop_on_bad_file=False, batch_size=2)
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
    with pytest.raises(UserError, match="None of the 5 files"):
        cached_array(path, sources, recipe, stop_on_bad_file=False)
    assert os.listdir(path.parent) == []


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
    assert loader.loaded == [] and os.listdir(path.parent) == []
