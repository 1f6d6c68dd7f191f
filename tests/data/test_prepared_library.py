"""Preparing a sound library, alone or beside pairs: rows, parts, record, room."""

import collections
import json
import shutil

import numpy as np
import pytest

import qvae_jax.data.prepared
import small_run
import sound_folder
from qvae_jax import configuration
from qvae_jax.audio.files import read_audio
from qvae_jax.data import recipes, split_record
from qvae_jax.data.prepared import prepare
from qvae_jax.system.errors import UserError

ALONE = {"data.dataset_dir": "", "data.train_file_ratio": 0.5}


@pytest.fixture
def sounds(tmp_path):
    """Six files, of which half are held out; "long" has two windows."""
    names = {name: 0.5 for name in ("a", "b", "drums/c", "d", "e")}
    return sound_folder.write(tmp_path / "sounds", long=6.0, **names)


def prepared(data_set, sounds, recorded=None, workdir=None, **changes):
    config = small_run.config(data_set, "fine_tuned", **changes)
    config.data.sounds_dir = str(sounds)
    model_config = configuration.model_config(config)
    layers = configuration.trained_layers(config, model_config)
    return prepare(config, model_config, None, workdir, layers, recorded)


def recorded(result, workdir):
    workdir.mkdir(exist_ok=True)
    split_record.record_split(workdir, result.parts, result.left_out)
    return split_record.recorded_split(workdir)


def names(result) -> dict[str, list[str]]:
    return {part: [row.imitation for row in each.pairs] for part, each in result.parts.items()}


def test_a_window_is_heard_itself_and_is_what_is_to_be_made(
    own_data_set, sounds, monkeypatch, capsys
):
    monkeypatch.setattr(qvae_jax.data.prepared, "needs_controls", lambda model_config: True)
    result = prepared(own_data_set, sounds, **ALONE)
    assert result.parts.keys() == {"train", "library"}
    assert sum(map(len, result.parts.values())) == 7
    for part in result.parts.values():
        batch = part.batch(np.arange(len(part)))
        for row, target, length in zip(part.pairs, batch["targets"], batch["lengths"]):
            file = read_audio(sounds / row.key, 22_050)
            window = file[(row.number - 1) * 59_049 :][:59_049]
            assert length == len(window)
            np.testing.assert_array_equal(target[:length], window)
            assert not target[length:].any()
        assert batch["controls"].shape == (len(part), 243, 4)
        assert batch["inputs"].shape == (len(part), 128, 100)
    assert "preparing 7 rows takes 0.00 GB more in" in capsys.readouterr().out


def test_pairs_and_windows_train_together(own_data_set, sounds):
    pairs = prepared(own_data_set, "", **{"data.train_file_ratio": 0.5})
    windows = prepared(own_data_set, sounds, **ALONE)
    both = prepared(own_data_set, sounds, **{"data.train_file_ratio": 0.5})
    assert both.parts.keys() == {"train", "interpolation", "extrapolation", "library"}
    train = both.parts["train"]
    assert train.pairs == pairs.parts["train"].pairs + windows.parts["train"].pairs
    batch = train.batch(np.arange(len(train))[::-1])
    for name, values in batch.items():
        apart = [part.parts["train"] for part in (pairs, windows)]
        expected = [part.batch(np.arange(len(part)))[name] for part in apart]
        np.testing.assert_array_equal(values, np.concatenate(expected)[::-1])


def test_preparing_again_reads_nothing(own_data_set, sounds, reads):
    prepared(own_data_set, sounds, **ALONE)
    assert collections.Counter(reads)["a.wav"] == 2  # as input and as target
    reads.clear()
    prepared(own_data_set, sounds, **ALONE)
    assert reads == []


def test_a_sound_held_out_as_a_reference_is_not_learnt_from_the_library(own_data_set, sounds):
    pairs = prepared(own_data_set, "")
    held_out = {pair.reference for pair in pairs.parts["extrapolation"].pairs}
    shutil.copytree(own_data_set / "references", sounds / "references")
    result = prepared(own_data_set, sounds, **{"data.train_file_ratio": 1.0})
    assert {row.key for row in result.parts["library"].pairs} == {
        f"references/{name}" for name in held_out
    }
    assert len(result.parts["train"].pairs) == 6 + 7 + 3


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"data.split": "all"}, {"train": 7}),
        ({"overfit.num_pairs": 3}, {"train": 3}),
        ({"data.windows_per_file": 1, "data.train_file_ratio": 1.0}, {"train": 6}),
    ],
)
def test_other_ways_to_divide(own_data_set, sounds, changes, counts):
    result = prepared(own_data_set, sounds, **ALONE | changes)
    assert {name: len(part) for name, part in result.parts.items()} == counts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.split": "folds", "data.folds_dir": "."}, "'folds', which divides pairs, but"),
        (
            {"data.dataset_dir": "absent"},
            "folder absent does not exist: .* set data.dataset_dir to ''",
        ),
        ({"data.train_file_ratio": 0.0}, "leaves no file to train on .it has 6 files"),
    ],
)
def test_what_makes_no_sense_of_a_library_alone(own_data_set, sounds, changes, message):
    with pytest.raises(UserError, match=message) as raised:
        prepared(own_data_set, sounds, **ALONE | changes)
    assert "\n" not in str(raised.value)


def test_a_library_of_one_file_trains_and_says_that_none_is_held_out(
    own_data_set, tmp_path, capsys
):
    folder = sound_folder.write(tmp_path / "one", a=6.0)
    assert names(prepared(own_data_set, folder, **ALONE)) == {"train": ["a (1).wav", "a (2).wav"]}
    assert f"no file of {folder} is held out: of 1 file none" in capsys.readouterr().out


def test_a_bad_file_stops_or_is_left_out(own_data_set, sounds, capsys, tmp_path):
    (sounds / "d.wav").write_bytes(b"words")
    with pytest.raises(UserError, match="d.wav"):
        prepared(own_data_set, sounds, **ALONE)
    result = prepared(own_data_set, sounds, **ALONE | {"data.on_bad_file": "report"})
    assert "left out d.wav: " in capsys.readouterr().out
    assert list(result.left_out) == ["d.wav"]
    assert recorded(result, tmp_path / "run").files_added_since(result.catalogue.library) == []


def test_a_run_goes_on_with_the_windows_it_began_with(own_data_set, sounds, tmp_path, capsys):
    first = prepared(own_data_set, sounds, **ALONE)
    record = recorded(first, tmp_path / "run")
    sound_folder.write(sounds, new=1.0)
    capsys.readouterr()
    again = prepared(own_data_set, sounds, record, **ALONE | {"data.train_file_ratio": 0.1})
    assert names(again) == names(first) and again.left_out == first.left_out
    told = capsys.readouterr().out
    assert f"added to {sounds} after the run began, and taking no part: 'new.wav' (1 in" in told
    (sounds / "new.wav").unlink()
    shutil.move(sounds / "b.wav", sounds / "b.renamed.wav")
    with pytest.raises(UserError, match="'b.wav' is no longer in .*restore the data set"):
        prepared(own_data_set, sounds, record, **ALONE)
    with pytest.raises(UserError, match="records . files? of a sound library in .*sounds_dir"):
        prepared(own_data_set, "", record)


def test_the_record_lists_windows_by_file(own_data_set, sounds, tmp_path):
    result = prepared(own_data_set, sounds, **ALONE)
    record = recorded(result, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "split.json").read_text())
    windows = found["sounds"]["train"] | found["sounds"]["library"]
    assert windows["long.wav"] == [1, 2] and windows["drums/c.wav"] == [1] and len(windows) == 6
    assert found["parts"] == {"train": {}} and record.names == ["train", "library"]


@pytest.mark.parametrize(
    "sounds", [[], {"other": {}}, {"train": []}, {"train": {"a": 1}}, {"train": {"a": [0]}}]
)
def test_a_damaged_record_of_windows_is_named(tmp_path, sounds):
    record = {"parts": {"train": {}}, "left_out": {}, "sounds": sounds}
    (tmp_path / "split.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="split.json is damaged"):
        split_record.recorded_split(tmp_path)


def test_a_disk_without_room_is_told_with_the_figure(own_data_set, sounds, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1_000_000))
    needed = 7 * (recipes.targets().row_bytes + 2 * 128 * 100) / 1e9
    with pytest.raises(UserError, match=f"takes {needed:.2f} GB more in .*0.00 GB are free: make"):
        prepared(own_data_set, sounds, **ALONE)
    assert not list((tmp_path / "cache").rglob("targets*"))


def test_in_a_workdir_pairs_and_library_have_folders_of_their_own(own_data_set, sounds, tmp_path):
    run = tmp_path / "run"
    result = prepared(own_data_set, sounds, workdir=run, **{"data.cache_dir": ""})
    assert (run / "cache" / "targets.npy").is_file()
    assert (run / "cache" / "library" / "targets.npy").is_file()
    assert len(result.parts["train"]) > 6
