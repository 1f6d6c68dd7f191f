"""`--mode=pretrain`: a run to its end, what it leaves, how it goes on, and what is refused."""

import functools
import json
import os
import random
import tempfile

import jax
import numpy as np
import pytest

import killed_run
import small_pretraining
import small_run
from checkpoint_trees import assert_same_trees
from qvae_jax import configuration
from qvae_jax.data.index import Pair
from qvae_jax.data.sound_pairs import SoundPairs
from qvae_jax.generation.model import load_model
from qvae_jax.models import qvim, stored
from qvae_jax.models.variables import Variables
from qvae_jax.modes import pretrain, train
from qvae_jax.modes.requests import PretrainRequest, TrainRequest
from qvae_jax.runs import read_metrics
from qvae_jax.system.errors import UserError
from qvae_jax.training import encoder_task


@pytest.fixture(scope="module")
def run(data_set, tmp_path_factory):
    """A run of two encoders over three epochs of two steps."""
    return small_pretraining.pretrained(data_set, tmp_path_factory.mktemp("pretrained") / "run")


def checkpoints(workdir) -> stored.Checkpoints:
    return stored.Checkpoints(workdir / "checkpoints", stored.HIGHEST_MRR)


def measured_mrr(workdir) -> dict[int, float]:
    entries = read_metrics(workdir)
    return {e["step"]: e["mrr"] for e in entries if e["part"] == "interpolation"}


def test_a_run_logs_its_terms_and_what_imitations_find(run):
    entries = read_metrics(run)
    steps = [entry for entry in entries if entry["part"] == "train"]
    assert [entry["step"] for entry in steps] == [1, 2, 3, 4, 5, 6]
    assert all(
        abs(entry["total"] - entry["nt_xent"] - 0.5 * entry["triplet"]) < 1e-5 for entry in steps
    )
    assert steps[0]["temperature"] == pytest.approx(0.07) != steps[-1]["temperature"]
    for part in ("interpolation", "extrapolation"):
        found = [entry for entry in entries if entry["part"] == part]
        assert [entry["step"] for entry in found] == [2, 4, 6]
        assert all(0 < e["recall_at_1"] <= e["recall_at_2"] <= 1 for e in found)
        assert all(0 < e["mrr"] <= 1 and 0 < e["ndcg"] <= 1 for e in found)


def test_the_best_checkpoint_has_the_highest_mrr(run):
    found, kept = measured_mrr(run), checkpoints(run)
    assert found[kept.best_step] == max(found.values())
    kept.close()


def test_the_encoders_are_those_of_the_best_checkpoint(run):
    kept = checkpoints(run)
    saved = kept.restore(kept.best_step)
    kept.close()
    whole = Variables(saved["params"], saved["batch_stats"])
    folders = stored.encoder_folders(run / "encoder")
    assert folders.imitation != folders.reference
    for side, encoder in qvim.encoders(whole).items():
        loaded = stored.load_encoder(str(getattr(folders, side)))
        assert_same_trees(loaded._asdict(), encoder._asdict())
    imitation, reference = (stored.load_encoder(str(folder)).params for folder in folders)
    differing = {name for name in imitation if not np.array_equal(imitation[name], reference[name])}
    assert differing  # which began alike
    assert all(name.startswith("features.16.") for name in differing)  # the layer that learns


def test_a_qvae_trains_from_the_encoder_of_imitations(run, data_set):
    config = small_run.config(
        data_set, **{"model.encoder_checkpoint": str(run / "encoder"), "model.encoder_width": None}
    )
    configuration.check(config)
    configuration.resolve_encoder(config, None)
    assert config.model.encoder_width == 0.1
    found = configuration.initial_variables(config, configuration.model_config(config)).params
    imitation = stored.load_encoder(str(run / "encoder" / "imitation")).params
    assert all(np.array_equal(found[f"encoder.{n}"], array) for n, array in imitation.items())


def test_a_run_that_stopped_goes_on_as_if_it_had_not(run, data_set, tmp_path):
    # Of which the schedule's end is the same: it does not depend on the number of epochs.
    workdir = small_pretraining.pretrained(data_set, tmp_path / "run", **{"training.num_epochs": 2})
    first = json.loads((workdir / "encoder/imitation/config.json").read_text())["source"]["step"]
    assert first <= 4
    small_pretraining.pretrained(data_set, workdir)
    assert small_run.measured(workdir) == small_run.measured(run)
    trees = [kept.restore(6) for kept in map(checkpoints, (workdir, run))]
    jax.tree.map(np.testing.assert_array_equal, *trees)


def test_a_run_of_encoders_makes_no_sounds(run):
    with pytest.raises(UserError, match="holds a run of encoders for search"):
        load_model(workdir=str(run))


@pytest.mark.parametrize(
    ("mode", "request_of", "config_of", "message"),
    [
        (train.train, TrainRequest, small_pretraining.config, "--mode=pretrain trains"),
        (pretrain.pretrain, PretrainRequest, small_run.config, "--mode=train trains"),
    ],
)
def test_a_config_of_the_other_mode_is_refused(mode, request_of, config_of, message, tmp_path):
    with pytest.raises(UserError, match=message):
        mode(config_of(tmp_path), request_of(workdir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sounds", "batch_size", "num_parts", "refused"),
    [
        ([4, 4, 4, 4], 2, 1, True),
        ([4, 4, 4, 5], 2, 1, True),  # by one of the batches
        ([4, 4, 5, 6], 3, 1, False),
        ([4, 4, 5, 5], 4, 2, True),  # by one of the parts
        ([4, 5, 6, 7], 4, 2, False),
    ],
)
def test_a_batch_without_two_different_sounds_is_refused(
    sounds, batch_size, num_parts, refused, tmp_path
):
    config = small_pretraining.config(tmp_path, **{"training.accumulation_steps": num_parts})
    pairs = tuple(Pair("imitation", "reference", str(sound)) for sound in sounds)
    examples = SoundPairs(pairs, None, None, np.arange(len(sounds)), np.array(sounds))
    check = lambda: encoder_task._require_two_sounds(config, examples, batch_size, 40)
    if not refused:
        check()
        return
    with pytest.raises(UserError, match=r"step \d+ would see imitations of '\d' alone") as raised:
        check()
    assert "\n" not in str(raised.value)


# --- Killed


def encoder_of(workdir) -> dict:
    folders = stored.encoder_folders(workdir / "encoder")
    loaded = [stored.load_encoder(str(folder))._asdict() for folder in folders]
    return {(n, part): arrays[part] for n, arrays in enumerate(loaded) for part in arrays}


@pytest.mark.slow
def test_runs_killed_at_twenty_random_moments_end_the_same(data_set, tmp_path):
    undisturbed, workdir = tmp_path / "undisturbed", tmp_path / "run"
    start = functools.partial(killed_run.start, data_set, objective="contrastive")
    assert start(undisturbed) == 0
    phases = [item for item in killed_run.PHASES.items() if item[0] != "samples"]
    chance, kills, ended = random.Random(0), 0, False
    while kills < 20 or not ended:
        phase, duration_s = chance.choice(phases)
        moment = (phase, chance.choice((1, 1, 2)), chance.uniform(0, duration_s))
        ended = start(workdir, *(moment if kills < 20 else ())) == 0
        kills += not ended
        if ended:  # and the next kill is of another run
            assert small_run.measured(workdir) == small_run.measured(undisturbed)
            assert_same_trees(encoder_of(workdir), encoder_of(undisturbed))
            os.rename(workdir, tempfile.mkdtemp(dir=tmp_path))
