"""Preparing a data set: what the arrays hold, and what is wrong with a data set."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import soxr

import qvae_jax.data.prepared
import small_run
from qvae_jax import configuration
from qvae_jax.audio.files import read_audio
from qvae_jax.audio.logmel import log_mel
from qvae_jax.data import folds, recipes
from qvae_jax.data.catalogue import cache_folder
from qvae_jax.data.prepared import prepare
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAE
from qvae_jax.system.errors import UserError

REPOSITORY = pathlib.Path(__file__).parents[2]
ONE, TWO = "00000_sound 0, a_tone.wav", "00001_sound 0, a_tone.wav"


def prepared(data_set, encoder="fine_tuned", workdir=None, **changes):
    """The data set prepared, with a cache of its own unless changes say otherwise."""
    config = small_run.config(data_set, encoder, **changes)
    model_config = configuration.model_config(config)
    initial = configuration.initial_variables(config, model_config) if encoder == "frozen" else None
    return prepare(
        config, model_config, initial, workdir, configuration.trained_layers(config, model_config)
    )


def everything(result) -> set[str]:
    """The names of all imitations in all parts."""
    return {pair.imitation for part in result.parts.values() for pair in part.pairs}


# --- What the arrays hold


def test_log_mels_and_targets_are_those_of_the_files(own_data_set):
    result = prepared(own_data_set)
    front_end = configuration.model_config(small_run.config(own_data_set)).front_end
    for part in result.parts.values():
        batch = part.batch(np.arange(len(part)))
        for i, pair in enumerate(part.pairs):
            heard = read_audio(result.catalogue.imitation_path(pair), 32_000)
            assert heard.shape == (32_000,)
            expected = log_mel(jnp.asarray(heard)[None], front_end)[0]
            np.testing.assert_allclose(batch["inputs"][i], expected, atol=2e-3)
            target = read_audio(result.catalogue.reference_path(pair), 22_050)
            np.testing.assert_array_equal(batch["targets"][i, : len(target)], target)
            assert not batch["targets"][i, len(target) :].any()
            assert batch["targets"].shape[1] == 59_049


def test_features_are_the_encoders(own_data_set):
    early = {"model.feature_space": "1"}  # two layers compile sooner than seventeen
    result = prepared(own_data_set, "frozen", **early)
    config = small_run.config(own_data_set, **early)
    model_config = configuration.model_config(config)
    graphdef, _ = variables.split(QVAE(model_config, rng=None))
    train = result.parts["train"]
    heard = read_audio(result.catalogue.imitation_path(train.pairs[0]), 32_000)
    mels = log_mel(jnp.asarray(heard)[None], model_config.front_end)
    features = jax.jit(lambda given, mels: variables.merge(graphdef, given).features(mels))
    expected = features(configuration.initial_variables(config, model_config), mels)[0]
    found = train.batch(np.array([0]))["inputs"][0]
    assert found.shape == (model_config.feature_dim(),)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)


def test_the_parts_are_the_splits(own_data_set):
    result = prepared(own_data_set)
    assert {n: len(p) for n, p in result.parts.items()} == {
        "train": 6,
        "interpolation": 3,
        "extrapolation": 3,
    }
    assert len(everything(result)) == 12
    trained = {pair.key for pair in result.parts["train"].pairs}
    assert {pair.key for pair in result.parts["interpolation"].pairs} == trained
    assert not trained & {pair.key for pair in result.parts["extrapolation"].pairs}


def test_a_steered_decoder_gets_the_curves_and_lengths_of_its_targets(
    own_data_set, reads, monkeypatch
):
    assert prepared(own_data_set).parts["train"].gestures is None
    monkeypatch.setattr(qvae_jax.data.prepared, "needs_controls", lambda model_config: True)
    result = prepared(own_data_set)
    for part in result.parts.values():
        batch = part.batch(np.arange(len(part)))
        assert batch["controls"].shape == (len(part), 243, 4)
        np.testing.assert_array_equal(batch["lengths"], 22_050)
        loudness_db = batch["controls"][:, :, 0]
        assert (loudness_db[:, 95:] == -80).all() and (loudness_db[:, :80].max(axis=1) > -20).all()
    reads.clear()
    assert prepared(own_data_set).parts["train"].gestures.dtype == recipes.GESTURE
    assert reads == []


TRUNK = {"data.cache_trunk": True, "fine_tuning.layers": (15, 16)}


def with_trunk(data_set, encoder="fine_tuned", **changes):
    config = small_run.config(data_set, encoder, **changes)
    model_config = configuration.model_config(config)
    initial = configuration.initial_variables(config, model_config)
    layers = configuration.trained_layers(config, model_config)
    return prepare(config, model_config, initial, None, layers)


def test_what_the_first_layers_make_of_a_sound_may_be_cached(own_data_set, tmp_path, capsys):
    result = with_trunk(own_data_set, **TRUNK)
    assert result.first_layer == 15
    assert result.parts["train"].batch(np.arange(6))["inputs"].shape == (6, 4, 4, 16)
    assert not list((tmp_path / "cache").rglob("logmels*"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("encoder", "changes", "reason"),
    [
        ("from_scratch", {}, "the encoder's first layer learns"),
        ("fine_tuned", {"fine_tuning.layers": (0, 16)}, "the encoder's first layer learns"),
        ("fine_tuned", {"fine_tuning.layers": (1,)}, "layer 1 is no smaller"),
        ("fine_tuned", {"fine_tuning.frozen_batch_norm": "train"}, "moves the statistics"),
        ("fine_tuned", {"training.dtype": "bfloat16"}, "training.dtype is not float32"),
    ],
)
def test_where_the_first_layers_output_is_no_use_log_mels_are_cached(
    own_data_set, capsys, encoder, changes, reason
):
    result = with_trunk(own_data_set, encoder, **TRUNK | changes)
    assert result.first_layer == 0
    assert result.parts["train"].batch(np.arange(6))["inputs"].shape == (6, 128, 100)
    told = capsys.readouterr().out
    assert reason in told and told.endswith("so log-mels are cached.\n")


def test_all_pairs_may_train(own_data_set):
    result = prepared(own_data_set, **{"data.split": "all"})
    assert {name: len(part) for name, part in result.parts.items()} == {"train": 12}


def write_fold(folder, **names) -> str:
    """A fold 3 of these imitations by part; gives the folder of the folds."""
    (folder / "fold3").mkdir(parents=True)
    for part, file_name in folds.FILES.items():
        lines = ["filename,", *(f'"{name}",' for name in names[part])]
        (folder / "fold3" / file_name).write_text("\n".join(lines))
    return str(folder)


def test_a_fold_is_the_split(own_data_set, tmp_path, capsys):
    names = sorted(path.name for path in (own_data_set / "vocal_imitations").iterdir())
    fold = dict(train=names[:2] + names[3:5], interpolation=[names[2]], extrapolation=names[9:])
    fold["extrapolation"] = [*fold["extrapolation"], "99999_of another set.wav"]
    where = write_fold(tmp_path / "folds", **fold)
    changes = {"data.split": "folds", "data.folds_dir": where, "data.fold": 3}
    result = prepared(own_data_set, **changes)
    found = {n: [pair.imitation for pair in part.pairs] for n, part in result.parts.items()}
    assert found == fold | {"extrapolation": names[9:]}
    told = capsys.readouterr().out
    assert "left out of fold 3: 1 imitation without a pair in" in told
    assert "99999_of another set.wav" in told
    assert "4 pairs of 12, not named in fold 3" in told and told.count("\n") == 2


def test_a_fold_without_a_training_pair_is_refused(own_data_set, tmp_path):
    where = write_fold(tmp_path / "folds", train=["x.wav"], interpolation=[], extrapolation=[])
    with pytest.raises(UserError, match="fold 3 of .*folds names no training pair of .*own"):
        prepared(
            own_data_set,
            **{"data.split": "folds", "data.folds_dir": where, "data.fold": 3},
        )


def test_overfitting_draws_from_all_pairs(own_data_set, capsys):
    drawn = set()
    for seed in range(12):
        changes = {"overfit.num_pairs": 3, "data.split_seed": seed}
        result = prepared(own_data_set, **changes)
        assert list(result.parts) == ["train"] and len(result.parts["train"]) == 3
        drawn |= everything(result)
    assert len(drawn) > 9, "6 are in the training part of the split"
    assert capsys.readouterr().out == ""


def test_more_pairs_to_overfit_than_there_are(own_data_set, capsys):
    result = prepared(own_data_set, **{"overfit.num_pairs": 20})
    assert len(result.parts["train"]) == 12
    assert "overfit.num_pairs is 20, but the data set has 12 pairs" in capsys.readouterr().out


def test_any_rate_channels_and_length_will_do(own_data_set):
    imitations, references = own_data_set / "vocal_imitations", own_data_set / "references"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000 * 7, 2))
    soundfile.write(imitations / ONE, noise, 48_000)
    soundfile.write(imitations / TWO, noise[:20, 0], 8_000)
    soundfile.write(references / "000_sound 0, a_tone.wav", noise[: 44_100 * 4], 44_100)
    result = prepared(own_data_set, **{"overfit.num_pairs": 12})
    batch = result.parts["train"].batch(np.arange(12))
    assert np.isfinite(batch["inputs"]).all() and batch["inputs"].shape == (12, 128, 100)
    assert np.abs(batch["targets"][0, -100:]).max() > 0, "cut, not padded"


# --- What is not computed again


def test_preparing_again_reads_nothing(own_data_set, reads):
    prepared(own_data_set, "frozen")
    assert len(reads) == 16
    reads.clear()
    prepared(own_data_set, "frozen")
    assert reads == []


def test_targets_are_shared_and_inputs_lie_side_by_side(own_data_set, reads):
    prepared(own_data_set, "frozen")
    reads.clear()
    prepared(own_data_set, "fine_tuned")
    assert len(reads) == 12, "the imitations' log-mels"
    reads.clear()
    prepared(own_data_set, "from_scratch")
    prepared(own_data_set, "frozen")
    assert reads == []


def test_targets_of_another_rate_lie_beside_and_share_the_curves(own_data_set, reads):
    steered = {"model.decoder.type": "steered"}
    twice = steered | {"model.sample_rate_hz": 44_100}
    usual = prepared(own_data_set, "frozen", **steered).parts["train"]
    reads.clear()
    fast = prepared(own_data_set, "frozen", **twice).parts["train"]
    assert len(reads) == 4, "the references, and nothing else"
    assert fast.targets.shape[1] == 118_098
    batches = [part.batch(np.arange(len(part))) for part in (usual, fast)]
    for name in ("controls", "lengths", "inputs"):
        np.testing.assert_array_equal(batches[0][name], batches[1][name])
    resampled = soxr.resample(batches[1]["targets"].T, 44_100, 22_050, "HQ").T
    inside = slice(200, 20_000)  # without the ends of sounds, which ring
    np.testing.assert_allclose(resampled[:, inside], batches[0]["targets"][:, inside], atol=2e-3)
    reads.clear()
    for changes in (steered, twice):
        prepared(own_data_set, "frozen", **changes)
    assert reads == []


@pytest.mark.parametrize(
    ("encoder", "change"),
    [
        ("frozen", {"training.seed": 1}),
        ("frozen", {"model.feature_space": "1"}),
        ("fine_tuned", {"data.input_duration_s": 0.5}),
    ],
)
def test_other_inputs_are_computed_anew(own_data_set, reads, encoder, change):
    first = prepared(own_data_set, encoder).parts["train"].batch(np.arange(2))["inputs"]
    reads.clear()
    second = prepared(own_data_set, encoder, **change).parts["train"].batch(np.arange(2))["inputs"]
    assert len(reads) == 12 and not np.array_equal(first, second)
    reads.clear()
    third = prepared(own_data_set, encoder).parts["train"].batch(np.arange(2))["inputs"]
    assert reads == []
    np.testing.assert_array_equal(third, first)


def test_a_few_pairs_first_leave_only_the_others_to_do(own_data_set, reads):
    prepared(own_data_set, **{"overfit.num_pairs": 3})
    num_references = len({name for name in reads if len(name.split("_")[0]) == 3})
    assert len(reads) == 3 + num_references
    prepared(own_data_set)
    assert len(reads) == len(set(reads)) == 16


def test_data_sets_of_one_name_do_not_share_a_cache(data_set, tmp_path):
    config = small_run.config(data_set)
    folders = {cache_folder(config, tmp_path / parent / "vimsketch", None) for parent in "ab"}
    assert len(folders) == 2 and all("vimsketch" in folder.name for folder in folders)


def test_an_empty_setting_means_inside_the_workdir(own_data_set, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(own_data_set, workdir / "dataset")
    places = {"data.dataset_dir": "", "data.cache_dir": ""}
    prepared(own_data_set, workdir=workdir, **places)
    assert (workdir / "cache" / "targets.npy").is_file()
    with pytest.raises(UserError, match="data.dataset_dir is empty.*--workdir"):
        prepared(own_data_set, **places)
    with pytest.raises(UserError, match="data.cache_dir is empty.*--workdir"):
        prepared(own_data_set, **{"data.cache_dir": ""})


# --- What may be wrong with a data set


def test_an_imitation_without_a_reference_is_reported_and_left_out(own_data_set, capsys):
    folder = own_data_set / "vocal_imitations"
    for number in range(5):
        shutil.copy(folder / ONE, folder / f"9000{number}_stranger {number}.wav")
    result = prepared(own_data_set)
    told = capsys.readouterr().out
    assert "5 imitations without a reference, of 17 ('90000_stranger 0.wav', " in told
    assert told.count("\n") == 1 and told.strip().endswith("…)")
    assert len(everything(result)) == 12


BROKEN = {
    "empty": b"",
    "text": b"these are words, not sound",
    "a cut header": b"RIFF\x24\x00\x00\x00WAVEfmt ",
}


def nan_samples(path) -> None:
    samples = np.zeros(100, np.float32)
    samples[50] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def no_samples(path) -> None:
    soundfile.write(path, np.zeros(0, np.float32), 16_000)


SPOILERS = {
    **{name: lambda path, text=text: path.write_bytes(text) for name, text in BROKEN.items()},
    "NaN": nan_samples,
    "no samples": no_samples,
}


@pytest.mark.parametrize("folder", ["vocal_imitations", "references"])
@pytest.mark.parametrize("kind", SPOILERS)
def test_a_bad_file_stops_preparing_or_is_reported(own_data_set, capsys, kind, folder):
    path = sorted((own_data_set / folder).iterdir())[0]
    SPOILERS[kind](path)
    with pytest.raises(UserError) as raised:
        prepared(own_data_set)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    result = prepared(own_data_set, **{"data.on_bad_file": "report"})
    assert f"left out {path.name}: " in capsys.readouterr().out
    assert len(everything(result)) == (11 if folder == "vocal_imitations" else 9)
    for part in result.parts.values():
        assert np.isfinite(part.batch(np.arange(len(part)))["targets"]).all()


def test_a_part_without_a_readable_file_is_left_out(own_data_set):
    lost = {pair.imitation for pair in prepared(own_data_set).parts["extrapolation"].pairs}
    for name in lost:
        (own_data_set / "vocal_imitations" / name).write_bytes(b"")
    result = prepared(own_data_set, **{"data.on_bad_file": "report"})
    assert set(result.parts) == {"train", "interpolation"}


def test_a_data_folder_that_is_missing_or_empty(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path / 'absent'} does not exist"):
        prepared(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path / 'empty'} is empty"):
        prepared(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_a_list_that_names_absent_files(own_data_set):
    (own_data_set / "reference_file_names.csv").write_text("000_sound 0, a_tone.wav\n")
    names = f"{ONE}\n00099_sound 0, a_tone.wav\n"
    (own_data_set / "vocal_imitation_file_names.csv").write_text(names)
    with pytest.raises(UserError, match="1 of 2 files.*00099_sound 0"):
        prepared(own_data_set)


def test_a_split_that_leaves_nothing_to_train_on(own_data_set):
    with pytest.raises(UserError, match="leaves no pair to train on.*data.train_sound_ratio"):
        prepared(own_data_set, **{"data.train_sound_ratio": 0.1})


def test_a_cache_that_cannot_be_written(own_data_set, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=str(tmp_path / "file")):
        prepared(own_data_set, **{"data.cache_dir": str(tmp_path / "file")})
    with pytest.raises(UserError, match=str(tmp_path / "file")):
        place = {"data.dataset_dir": str(tmp_path / "file" / "new"), "data.synthesize": True}
        prepared(own_data_set, **place)
    assert (tmp_path / "file").read_text() == "kept"
