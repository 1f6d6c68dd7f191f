"""Runs whose encoder is a pair: what each hears, and that nothing else is other than without it."""

import contextlib
import json
import shutil

import numpy as np
import pytest

import small_encoders
import small_run
import sound_folder
from qvae_jax import configuration, runs
from qvae_jax.audio.files import fit_length
from qvae_jax.data.index import Pair
from qvae_jax.data.library import LibraryRow
from qvae_jax.data.prepared import input_audio, prepare
from qvae_jax.generation.model import load_model
from qvae_jax.models import stored
from qvae_jax.modes.generate import generate
from qvae_jax.modes.requests import GenerateRequest, TrainRequest
from qvae_jax.modes.train import train
from qvae_jax.retrieval import encoders
from qvae_jax.system.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def short(short_decoder):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds `pair`, two encoders that differ, `equal`, two that do not, and `sounds`."""
    folder = tmp_path_factory.mktemp("two_encoders")
    small_encoders.write_pair(folder / "pair")
    for half in ("imitation", "reference"):
        small_encoders.write(folder / "equal" / half, seed=1)
    sound_folder.write(folder / "sounds", a=0.5, b=0.5, c=0.5)
    return folder


def settings(folder, encoder: str, **changes) -> dict:
    """Of a run on pairs and sounds, whose encoder is that in folder / encoder."""
    return {
        "model.encoder_checkpoint": str(folder / encoder),
        "data.sounds_dir": str(folder / "sounds"),
        "data.train_file_ratio": 0.6,
        "training.batch_size": 3,
    } | changes


@pytest.fixture(scope="module")
def by_two(folder, short_data_set, tmp_path_factory):
    """The run of the pair that differs."""
    workdir = tmp_path_factory.mktemp("by_two") / "run"
    return small_run.trained(short_data_set, workdir, **settings(folder, "pair"))


def saved(workdir) -> dict:
    with contextlib.closing(stored.Checkpoints(workdir / runs.CHECKPOINTS)) as kept:
        return kept.restore(kept.latest_step)


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_the_second_encoder_is_kept_as_it_was(by_two, folder):
    tree = saved(by_two)
    for half, prefix in (("imitation", "encoder."), ("reference", "sound_encoder.")):
        for part, arrays in stored.load_encoder(folder / "pair" / half)._asdict().items():
            kept = {n: a for n, a in tree[part].items() if n.startswith(prefix)}
            assert_same(kept, {prefix + name: array for name, array in arrays.items()})


def test_voices_and_sounds_are_heard_by_their_own(by_two, folder, short_data_set):
    """In what is learnt from, and by the model that comes of it: as the pair's encoders hear."""
    model, run = load_model(workdir=str(by_two)), runs.open_run(by_two)
    pair = encoders.load_encoders(folder / "pair")
    config = small_run.config(short_data_set, **settings(folder, "pair"))
    configuration.resolve_encoder(config, by_two)
    prepared = prepare(config, model.config, model.variables, by_two, frozenset(), run.split)
    assert prepared.parts.keys() == {"train", "interpolation", "extrapolation", "library"}
    for examples in prepared.parts.values():
        learnt_from = examples.batch(np.arange(len(examples)))["inputs"]
        sounds = [isinstance(row, LibraryRow) for row in examples.pairs]
        heard = [
            input_audio(run.catalogue.imitation_path(row), model.front_end)
            for row in examples.pairs
        ]
        for waveform, is_sound, row in zip(heard, sounds, learnt_from):
            encoder = pair.reference if is_sound else pair.imitation
            # A whole waveform, since what leaves silence out rounds otherwise.
            whole = fit_length(waveform, encoder.front_end.num_samples)
            [expected] = encoder.embed([whole], ["it"], batch_size=16)
            np.testing.assert_array_equal(row, expected)
        found = model.features(np.stack(heard), sounds=sounds, batch_size=16)
        np.testing.assert_array_equal(found, learnt_from)
    assert {type(row) for row in prepared.parts["train"].pairs} == {Pair, LibraryRow}


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(by_two, folder, short_data_set, tmp_path):
    """Even where the pair is gone, for the run has its own."""
    workdir = shutil.copytree(by_two, tmp_path / "run")
    shutil.rmtree(max((workdir / runs.CHECKPOINTS).glob("[0-9]*"), key=lambda p: int(p.name)))
    moved = shutil.move(folder / "pair", tmp_path / "pair")
    try:
        small_run.trained(short_data_set, workdir, **settings(folder, "pair"))
    finally:
        shutil.move(moved, folder / "pair")
    assert small_run.measured(workdir) == small_run.measured(by_two)
    for part, arrays in saved(by_two).items():
        assert_same(saved(workdir)[part], arrays)


def test_other_encoders_train_bit_for_bit_as_one(folder, short_data_set, tmp_path):
    """A plain one; a pair of equal ones; a pair, where the config says that one hears all."""
    kinds = {
        "pair/imitation": {},
        "equal": {},
        "pair": {"model.sound_encoder": False},
    }
    plain, *others = (
        small_run.trained(short_data_set, tmp_path / f"{i}", **settings(folder, kind, **changes))
        for i, (kind, changes) in enumerate(kinds.items())
    )
    assert not any("sound_encoder" in name for part in saved(plain).values() for name in part)
    for other in others:
        assert small_run.measured(other) == small_run.measured(plain)
        for part, arrays in saved(plain).items():
            assert_same(saved(other)[part], arrays)


def test_pairs_alone_train_as_by_one_encoder_and_keep_the_second(folder, short_data_set, tmp_path):
    of_pairs = {"data.sounds_dir": ""}
    one, two = (
        small_run.trained(
            short_data_set, tmp_path / encoder, **settings(folder, encoder, **of_pairs)
        )
        for encoder in ("pair/imitation", "pair")
    )
    assert small_run.measured(one) == small_run.measured(two)
    own, kept = saved(one), saved(two)
    assert own.keys() == kept.keys()
    for part, arrays in own.items():
        assert_same(arrays, {name: kept[part][name] for name in arrays})
    assert any(name.startswith("sound_encoder.") for name in kept["params"])


def test_a_library_is_generated_from_as_it_was_learnt(by_two, tmp_path):
    model = load_model(workdir=str(by_two))
    run = runs.open_run(by_two)
    generate(
        GenerateRequest(
            workdir=str(by_two), from_split="train", output_dir=str(tmp_path / "generated")
        )
    )
    outputs = json.loads((tmp_path / "generated" / "manifest.json").read_text())["outputs"]
    rows = run.pairs("train")
    for row, entry in zip(rows, outputs, strict=True):
        waveform = input_audio(run.catalogue.imitation_path(row), model.front_end)
        mu, _ = model.posterior(waveform[None], sounds=isinstance(row, LibraryRow))
        np.testing.assert_allclose(entry["mu"], mu[0], atol=1e-5)


def test_a_reset_that_would_train_it_is_refused_before_anything_moves(
    by_two, folder, short_data_set, tmp_path
):
    workdir = shutil.copytree(by_two, tmp_path / "run")
    tuned = settings(folder, "pair", **{"training.encoder": "fine_tuned"})
    with pytest.raises(UserError, match="needs both encoders frozen"):
        train(
            small_run.config(short_data_set, **tuned),
            TrainRequest(workdir=str(workdir), reset_epoch=True),
        )
    assert not list(workdir.glob("*reset*"))
