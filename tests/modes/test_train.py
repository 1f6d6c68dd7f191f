"""Whole training runs of a tiny model: what they write, and how they stop and go on."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import soundfile

import small_run
from qvae_jax import configuration, losses, runs
from qvae_jax.data import batches
from qvae_jax.data.split_record import SPLIT_FILE
from qvae_jax.generation.model import load_model
from qvae_jax.models import stored
from qvae_jax.models.layers import wideness
from qvae_jax.models.variables import Variables
from qvae_jax.modes.requests import TrainRequest
from qvae_jax.modes.train import train
from qvae_jax.runs import METRICS_FILE, read_metrics
from qvae_jax.system.errors import UserError
from qvae_jax.training import environment, loop, qvae_task, start, step_report
from qvae_jax.training import state as training_state
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.state import Progress
from qvae_jax.visualisation import figures

pytestmark = pytest.mark.usefixtures("short_decoder")

NUM_SAMPLES = 3**6  # that the short decoder gives
# Three epochs of two steps, with all that changes from step to step in the original's recipe.
SCHEDULED = {
    "fine_tuning.layers": (15, 16),
    "optimizer.schedule": "cosine",
    "optimizer.warmup_epochs": 1,
    "beta.schedule": "linear",
    "beta.target": 0.01,
    "training.steps_per_epoch": 2,
    "training.num_epochs": 3,
    "logging.num_samples": 1,
    "logging.samples_every_epochs": 3,
}


def saved(workdir, step: int | None = None) -> dict:
    """What a checkpoint holds, the last one unless a step is given."""
    kept = stored.Checkpoints(workdir / "checkpoints")
    tree = kept.restore(step or kept.latest_step)
    kept.close()
    return tree


def steps_on_disk(workdir) -> set[int]:
    return {int(name) for name in os.listdir(workdir / "checkpoints")}


def initial(config) -> Variables:
    return configuration.initial_variables(config, configuration.model_config(config))


def changed_names(before: Variables, after: dict) -> set[str]:
    return {
        name
        for part in Variables._fields
        for name, array in getattr(before, part).items()
        if not np.array_equal(array, after[part][name])
    }


def names_below(before: Variables, *prefixes: str) -> set[str]:
    names = {*before.params, *before.batch_stats}
    return {name for name in names if name.startswith(prefixes)}


def assert_same_checkpoints(found: dict, expected: dict) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def asked(workdir, **flags) -> TrainRequest:
    return TrainRequest(workdir=str(workdir), **flags)


def signal_after(monkeypatch, step: int, number: int) -> None:
    """Sends this process a signal once it has taken a step."""
    after_step = step_report.StepReport.after_step

    def signalling(report, taken, metrics):
        after_step(report, taken, metrics)
        if taken == step:
            signal.raise_signal(number)

    monkeypatch.setattr(step_report.StepReport, "after_step", signalling)


@pytest.fixture(scope="module")
def data_set(short_data_set):
    return short_data_set


@pytest.fixture(scope="module")
def frozen_run(short_frozen_run):
    return short_frozen_run


@pytest.fixture(scope="module")
def fine_tuned_run(short_decoder, data_set, tmp_path_factory):
    """A run of six steps that nothing interrupts."""
    workdir = tmp_path_factory.mktemp("fine_tuned") / "run"
    return small_run.trained(data_set, workdir, encoder="fine_tuned", **SCHEDULED)


# --- What learns


def test_a_frozen_encoder_stays_as_it_is(data_set, frozen_run):
    before = initial(small_run.config(data_set))
    heads_and_decoder = names_below(before, "mu_head.", "logvar_head.", "decoder.")
    changed = changed_names(before, saved(frozen_run))
    # Without a KL term and with noise, every head and every array of the decoder learns.
    assert changed == heads_and_decoder
    assert names_below(before, "encoder.") and not changed & names_below(before, "encoder.")


def test_fine_tuning_changes_the_listed_layers_alone(data_set, fine_tuned_run):
    before = initial(small_run.config(data_set, "fine_tuned", **SCHEDULED))
    changed = changed_names(before, saved(fine_tuned_run))
    listed = names_below(before, "encoder.features.15.", "encoder.features.16.")
    assert changed & names_below(before, "encoder.") == listed
    assert any(name in before.batch_stats for name in listed)
    assert names_below(before, "decoder.", "mu_head.", "logvar_head.") <= changed


def test_a_cached_trunk_trains_as_log_mels_do(data_set, fine_tuned_run, tmp_path):
    """Compared at the first step: rounding in the losses' gradients parts any two programs.

    The KL term is a difference of numbers about 1, so its rounding is absolute.
    """
    changes = SCHEDULED | {
        "data.cache_trunk": True,
        "training.steps_per_epoch": 1,
        "training.num_epochs": 1,
        "logging.num_samples": 0,
    }
    workdir = small_run.trained(data_set, tmp_path / "run", encoder="fine_tuned", **changes)
    found, expected = small_run.measured(workdir)[0], small_run.measured(fine_tuned_run)[0]
    assert found.keys() == expected.keys() and found["step"] == expected["step"] == 1
    for term in {*losses.ORIGINAL, "kl", "total"}:
        assert found[term] == pytest.approx(expected[term], rel=1e-6, abs=1e-6), term


def test_from_scratch_changes_every_layer_that_feeds_the_features(data_set, tmp_path):
    early = {"model.feature_space": "1", "training.num_epochs": 1, "training.steps_per_epoch": 2}
    workdir = small_run.trained(data_set, tmp_path / "run", encoder="from_scratch", **early)
    before = initial(small_run.config(data_set, "from_scratch", **early))
    changed = changed_names(before, saved(workdir)) & names_below(before, "encoder.")
    assert changed == names_below(before, "encoder.features.0.", "encoder.features.1.")


# --- What is written


def test_every_step_and_both_splits_are_measured(fine_tuned_run):
    entries = read_metrics(fine_tuned_run)
    train_steps = [entry for entry in entries if entry["part"] == "train"]
    assert [entry["step"] for entry in train_steps] == [1, 2, 3, 4, 5, 6]
    assert [entry["epoch"] for entry in train_steps] == [1, 1, 2, 2, 3, 3]
    for entry in train_steps:
        assert {
            *losses.ORIGINAL,
            "kl",
            "total",
            "beta",
            "learning_rate",
            "gradient_norm",
        } <= entry.keys()
    assert train_steps[0]["learning_rate"] == pytest.approx(8e-5, rel=1e-5)  # warming up
    assert train_steps[2]["learning_rate"] == pytest.approx(8e-4, rel=1e-5)
    for part in ("interpolation", "extrapolation"):
        found = [entry for entry in entries if entry["part"] == part]
        assert [(entry["step"], entry["epoch"]) for entry in found] == [(2, 1), (4, 2), (6, 3)]
        assert all({*losses.ORIGINAL, "kl", "total"} <= entry.keys() for entry in found)


def test_the_wait_for_data_is_measured(fine_tuned_run):
    speeds = [entry for entry in read_metrics(fine_tuned_run) if entry["part"] == "speed"]
    assert [(entry["step"], entry["epoch"]) for entry in speeds] == [(2, 1), (4, 2), (6, 3)]
    assert all(0 <= entry["data_wait"] < 1 for entry in speeds)


def test_the_split_is_recorded(data_set, fine_tuned_run):
    record = json.loads((fine_tuned_run / SPLIT_FILE).read_text())
    assert {name: len(part) for name, part in record["parts"].items()} == {
        "train": 6,
        "interpolation": 3,
        "extrapolation": 3,
    }
    named = {name for part in record["parts"].values() for name in part}
    assert named == set(os.listdir(data_set / "vocal_imitations"))
    assert record["left_out"] == {}


def test_the_interpolation_loss_chooses_the_best_checkpoint(fine_tuned_run):
    entries = read_metrics(fine_tuned_run)
    totals = {e["step"]: e["total"] for e in entries if e["part"] == "interpolation"}
    kept = stored.Checkpoints(fine_tuned_run / "checkpoints")
    assert kept.best_step == min(totals, key=totals.get) and kept.latest_step == 6
    kept.close()


def test_samples_can_be_heard_and_seen(data_set, fine_tuned_run):
    folder = fine_tuned_run / "samples" / "epoch_0003"
    parts = ("train", "interpolation", "extrapolation")
    names = sorted(os.listdir(folder))
    assert [name for name in names if name.endswith(".png")] == sorted(f"{p}.png" for p in parts)
    sounds = [name for name in names if name.endswith("_generated.wav")]
    assert len(sounds) == 3 and len(names) == 6
    for name in sounds:
        audio, rate_hz = soundfile.read(folder / name, dtype="float32")
        assert audio.shape == (NUM_SAMPLES,) and rate_hz == 22_050 and np.abs(audio).max() < 1
        assert soundfile.info(folder / name).subtype == "FLOAT"
        reference = folder.parent / "reference" / name.replace("_generated", "_reference")
        assert soundfile.info(reference).frames == NUM_SAMPLES
    assert os.listdir(fine_tuned_run / "samples").count("reference") == 1


def test_a_run_says_where_everything_lies(data_set, frozen_run, tmp_path, capsys):
    workdir = shutil.copytree(frozen_run, tmp_path / "run")
    before = (workdir / METRICS_FILE).read_bytes()
    train(small_run.config(data_set), asked(workdir))
    told = capsys.readouterr().out
    assert "going on from step 6" in told and "6 train, 3 interpolation, 3 extrapolation" in told
    assert "parameters of " in told and " parameters learn, " in told
    assert "from" not in told.split("training loss")[0].split("going on from")[0]
    assert f"--mode=generate --workdir={workdir}" in told
    assert (workdir / METRICS_FILE).read_bytes() == before, "a finished run stays as it is"


def test_pictures_come_after_the_checkpoint_and_end_no_training(
    data_set, tmp_path, monkeypatch, capsys
):
    workdir, drawn = tmp_path / "run", []

    def fail(path, rows, title):
        drawn.append((path.parent.name, steps_on_disk(workdir)))
        raise RuntimeError("nothing can be drawn")

    every_step = {"training.steps_per_epoch": 1, "logging.num_samples": 1}
    with monkeypatch.context() as patch:
        patch.setattr(figures, "save_comparison", fail)
        small_run.trained(data_set, workdir, **every_step)
    assert drawn == [("epoch_0001", {1}), ("epoch_0002", {1, 2})]
    told = capsys.readouterr().out
    assert told.count("samples of epoch 1 could not be made (nothing can be drawn)") == 1
    assert "of epoch 2 could not" not in told and "training loss went" in told
    # The run is whole; what is missing of its last epoch is made by the next start.
    monkeypatch.setattr(figures, "save_comparison", lambda path, rows, title: path.touch())
    before = (workdir / METRICS_FILE).read_bytes()
    small_run.trained(data_set, workdir, **every_step)
    assert len(list((workdir / "samples" / "epoch_0002").glob("*.png"))) == 3
    assert not list((workdir / "samples" / "epoch_0001").glob("*.png"))
    assert (workdir / METRICS_FILE).read_bytes() == before


# --- Stopping and going on


def test_a_run_goes_on_as_if_it_had_never_stopped(
    data_set, fine_tuned_run, tmp_path, monkeypatch, capsys
):
    workdir = tmp_path / "run"
    for step, number in ((3, signal.SIGTERM), (4, signal.SIGINT)):  # in an epoch, at its end
        handler = signal.getsignal(number)
        with monkeypatch.context() as patch:
            signal_after(patch, step, number)
            small_run.trained(data_set, workdir, encoder="fine_tuned", **SCHEDULED)
        assert f"stopped and saved at step {step}" in capsys.readouterr().out
        assert max(steps_on_disk(workdir)) == step
        assert signal.getsignal(number) == handler
    small_run.trained(data_set, workdir, encoder="fine_tuned", **SCHEDULED)
    assert "going on from step 4" in capsys.readouterr().out
    assert_same_checkpoints(saved(workdir), saved(fine_tuned_run))
    assert small_run.measured(workdir) == small_run.measured(fine_tuned_run)
    assert (workdir / SPLIT_FILE).read_bytes() == (fine_tuned_run / SPLIT_FILE).read_bytes()
    assert steps_on_disk(workdir) == steps_on_disk(fine_tuned_run)
    for path in (fine_tuned_run / "samples").rglob("*.wav"):
        same = workdir / "samples" / path.relative_to(fine_tuned_run / "samples")
        assert same.read_bytes() == path.read_bytes()


def test_a_longer_run_goes_on_where_a_shorter_one_ended(data_set, frozen_run, tmp_path, capsys):
    workdir = small_run.trained(data_set, tmp_path / "run", **{"training.num_epochs": 1})
    small_run.trained(data_set, workdir)
    assert "training.num_epochs was 1 and is 2 from here on" in capsys.readouterr().out
    assert_same_checkpoints(saved(workdir), saved(frozen_run))
    assert small_run.measured(workdir) == small_run.measured(frozen_run)


def test_a_run_goes_on_with_its_own_split_only(data_set, frozen_run, tmp_path):
    own, workdir = tmp_path / "own" / "data_set", tmp_path / "run"
    shutil.copytree(data_set, own)
    shutil.copytree(frozen_run, workdir)
    record = json.loads((workdir / SPLIT_FILE).read_text())
    lost = next(iter(record["parts"]["interpolation"]))
    (own / "vocal_imitations" / lost).write_bytes(b"")
    config = small_run.config(own, **{"training.num_epochs": 3, "data.on_bad_file": "report"})
    settings = (workdir / configuration.CONFIG_FILE).read_bytes()
    with pytest.raises(UserError, match=f"'{lost}' is no longer in interpolation; restore"):
        train(config, asked(workdir))
    assert json.loads((workdir / SPLIT_FILE).read_text()) == record
    assert (workdir / configuration.CONFIG_FILE).read_bytes() == settings


def test_all_pairs_train_and_are_validated_on(data_set, tmp_path):
    changes = {"data.split": "all", "training.num_epochs": 1}
    entries = small_run.measured(small_run.trained(data_set, tmp_path / "run", **changes))
    assert [e["part"] for e in entries] == ["train"] * 6 + ["validation"]


def test_a_run_without_progress_stops_early(data_set, tmp_path, capsys):
    impatient = {
        "training.num_epochs": 9,
        "early_stopping.patience_epochs": 2,
        "early_stopping.min_delta": 1000.0,
        "checkpoints.every_epochs": 100,
    }
    workdir = small_run.trained(data_set, tmp_path / "run", **impatient)
    assert "stopping early: the interpolation loss" in capsys.readouterr().out
    assert read_metrics(workdir)[-1]["step"] == 9 and steps_on_disk(workdir) == {9}
    small_run.trained(data_set, workdir, **impatient)
    assert read_metrics(workdir)[-1]["step"] == 9, "it stays stopped"


def test_a_change_of_a_training_setting_is_recorded(data_set, frozen_run, tmp_path):
    workdir = shutil.copytree(frozen_run, tmp_path / "run")
    assert environment.read_history(workdir) == []
    small_run.trained(data_set, workdir, **{"optimizer.clip_norm": 1.0})
    small_run.trained(data_set, workdir, **{"optimizer.clip_norm": 1.0})
    changed = {"optimizer.clip_norm": {"was": 2.0, "is": 1.0}}
    assert environment.read_history(workdir) == [{"step": 6, "changed": changed}]
    assert (workdir / runs.ENVIRONMENT_FILE).exists()


def test_a_reset_keeps_the_weights_and_starts_anew(data_set, frozen_run, tmp_path, capsys):
    workdir = shutil.copytree(frozen_run, tmp_path / "run")
    with pytest.raises(UserError, match="model.latent_dim is 5 but was 4"):
        train(
            small_run.config(data_set, **{"model.latent_dim": 5}), asked(workdir, reset_epoch=True)
        )
    assert not (workdir / runs.START).exists()
    train(small_run.config(data_set), asked(workdir, reset_epoch=True))
    assert "starting anew from the weights of step 6" in capsys.readouterr().out
    before, expected = saved(frozen_run), saved(workdir / "before_reset_1")
    assert_same_checkpoints(expected, before)
    found = start.start_weights(workdir, Variables(before["params"], before["batch_stats"]))
    assert_same_checkpoints(found._asdict(), {n: before[n] for n in Variables._fields})
    steps = [entry["step"] for entry in read_metrics(workdir) if entry["part"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6] and steps_on_disk(workdir) == {3, 6}
    after = saved(workdir)
    counts = [name for name in after["optimizer"] if name.endswith("count")]
    assert counts and all(after["optimizer"][name] == 6 for name in counts)
    assert not np.array_equal(after["params"]["mu_head.kernel"], before["params"]["mu_head.kernel"])
    small_run.trained(data_set, workdir)
    assert "going on from step 6" in capsys.readouterr().out
    assert_same_checkpoints(saved(workdir), after)


def test_a_reset_needs_a_checkpoint(data_set, tmp_path):
    for problem in (
        "holds no checkpoints: train there",
        "--reset_epoch: .* holds no checkpoint to",
    ):
        with pytest.raises(UserError, match=problem):
            train(small_run.config(data_set), asked(tmp_path / "run", reset_epoch=True))
        (tmp_path / "run" / "checkpoints").mkdir(exist_ok=True)


# --- Ways to train


def test_an_average_of_the_weights_is_kept_and_used(data_set, tmp_path):
    every_step = {
        "ema.decay": 0.75,
        "training.steps_per_epoch": 1,
        "training.num_epochs": 2,
    }
    workdir = small_run.trained(data_set, tmp_path / "run", **every_step)
    average = initial(small_run.config(data_set, **every_step)).params
    for step in (1, 2):
        tree = saved(workdir, step)
        average = {n: 0.75 * average[n] + 0.25 * tree["params"][n] for n in tree["average"]}
        for name, array in tree["average"].items():
            np.testing.assert_allclose(array, average[name], rtol=1e-5, atol=1e-7, err_msg=name)
    shown = load_model(workdir=str(workdir)).variables.params
    best = saved(workdir, stored.Checkpoints(workdir / "checkpoints").best_step)
    assert all(np.array_equal(shown[name], best["average"][name]) for name in best["average"])
    assert not np.array_equal(shown["mu_head.kernel"], best["params"]["mu_head.kernel"])
    # The average goes on with the run, begins where it is switched on, ends where it is not.
    longer = every_step | {"training.num_epochs": 3}
    small_run.trained(data_set, workdir, **longer)
    third = saved(workdir, 3)
    for name, array in average.items():
        expected = 0.75 * array + 0.25 * third["params"][name]
        np.testing.assert_allclose(third["average"][name], expected, rtol=1e-5, atol=1e-7)
    small_run.trained(data_set, workdir, **longer | {"ema.decay": 0.0, "training.num_epochs": 4})
    assert "average" not in saved(workdir, 4)


def test_features_are_standardised_by_what_a_new_run_began_with(data_set, tmp_path):
    standardised = {
        "ema.decay": 0.5,
        "model.feature_space": "1",  # two layers compile sooner than seventeen
        "model.standardise_features": True,
        "training.num_epochs": 1,
        "training.steps_per_epoch": 1,
    }
    workdir = small_run.trained(data_set, tmp_path / "run", **standardised)
    run = runs.open_run(workdir)
    rows = [small_run.waveform(data_set, pair.imitation) for pair in run.pairs("train")]
    model = load_model(workdir=str(workdir))
    features = model.features(np.stack(rows))
    mean, spread = features.mean(0), features.std(0)
    statistics = saved(workdir)["batch_stats"]
    floor = 0.1 * np.sqrt(np.mean(np.square(spread)))
    kept_spread = np.maximum(spread, floor) * wideness(len(spread))
    for name, expected in (("mean", mean), ("spread", kept_spread)):
        found = statistics[f"standardise.{name}"]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6, err_msg=name)
    # What comes in later, and other pairs to begin anew with, change nothing.
    longer = standardised | {"training.num_epochs": 2}
    small_run.trained(data_set, workdir, **longer)
    other_pairs = longer | {"training.num_epochs": 1, "data.split_seed": 1}
    train(small_run.config(data_set, **other_pairs), asked(workdir, reset_epoch=True))
    for folder, step in ((workdir / "before_reset_1", 2), (workdir, 1)):
        kept = saved(folder, step)["batch_stats"]
        for name in ("standardise.mean", "standardise.spread"):
            np.testing.assert_array_equal(kept[name], statistics[name])
    made = load_model(workdir=str(workdir))
    assert made.config.standardise_features
    mu, _ = made.heads(features)
    by_hand = (features - statistics["standardise.mean"]) / statistics["standardise.spread"]
    heads = made.variables.params
    expected = by_hand @ heads["mu_head.kernel"] + heads["mu_head.bias"]
    np.testing.assert_allclose(mu, expected, rtol=1e-3, atol=1e-3)
    assert np.isfinite(made.generate(rows[0], 32_000)).all()
    with pytest.raises(UserError, match="standardise_features is False but was True"):
        small_run.trained(data_set, workdir, **longer | {"model.standardise_features": False})


@pytest.mark.slow
def test_one_device_trains_the_same_by_pmap(data_set, tmp_path):
    few = {"logging.num_samples": 1, "training.num_epochs": 1}
    for parallel in ("jit", "pmap"):
        small_run.trained(data_set, tmp_path / parallel, parallel=parallel, **few)
    by_jit, by_pmap = (saved(tmp_path / name) for name in ("jit", "pmap"))
    shapes = lambda tree: jax.tree.map(np.shape, tree)
    assert shapes(by_pmap) == shapes(by_jit)
    for ours, theirs in zip(*(read_metrics(tmp_path / name) for name in ("pmap", "jit"))):
        if ours["step"] == 1:
            assert ours["total"] == pytest.approx(theirs["total"], rel=1e-5)
    # And one goes on with what the other has saved.
    longer = few | {"training.num_epochs": 2}
    small_run.trained(data_set, tmp_path / "jit", parallel="pmap", **longer)
    assert max(steps_on_disk(tmp_path / "jit")) == 6
    sounds = [path for path in (tmp_path / "pmap").rglob("*_generated.wav")]
    assert len(sounds) == 3


def test_statistics_of_frozen_layers_drift_where_that_is_asked_for(data_set, tmp_path):
    changes = {
        "fine_tuning.layers": (1,),
        "fine_tuning.frozen_batch_norm": "train",
        "model.feature_space": "1",
        "training.steps_per_epoch": 1,
        "training.num_epochs": 1,
    }
    workdir = small_run.trained(data_set, tmp_path / "run", encoder="fine_tuned", **changes)
    before, after = initial(small_run.config(data_set, "fine_tuned", **changes)), saved(workdir)
    changed = changed_names(before, after)
    assert {n for n in changed if n.startswith("encoder.features.1.")}
    frozen = names_below(before, "encoder.features.0.")
    statistics = {name for name in frozen if name in before.batch_stats}
    assert changed & frozen == statistics


# --- What goes wrong


def test_a_loss_that_becomes_nan_stops_the_run_before_it_is_saved(
    data_set, frozen_run, tmp_path, monkeypatch
):
    prefetch = batches.prefetch

    def poisoned(make, start, stop):
        def make_poisoned(step):
            batch = make(step)
            return batch | {"inputs": batch["inputs"] * np.nan} if step == 4 else batch

        return prefetch(make_poisoned, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "prefetch", poisoned)
        with pytest.raises(UserError, match=r"at step 5, first in '\w+' \(nan\); step 3 is kept"):
            small_run.trained(data_set, tmp_path / "run")
    assert steps_on_disk(tmp_path / "run") == {3}
    assert read_metrics(tmp_path / "run")[-1]["step"] == 4
    small_run.trained(data_set, tmp_path / "run")
    assert_same_checkpoints(saved(tmp_path / "run"), saved(frozen_run))


def test_targets_of_absurd_loudness_are_refused(data_set, tmp_path):
    own = shutil.copytree(data_set, tmp_path / "own")
    for path in (own / "references").iterdir():
        soundfile.write(path, np.full(100, 1e30, np.float32), 22_050, subtype="FLOAT")
    with pytest.raises(UserError, match="holds samples that are not finite .*absurdly large"):
        small_run.trained(own, tmp_path / "run")
    assert steps_on_disk(tmp_path / "run") == set()


@pytest.mark.parametrize("part", ["trainable", "batch_stats", "optimizer_state"])
def test_a_state_from_which_no_run_could_go_on_is_not_saved(tmp_path, part):
    healthy = training_state.TrainState(
        np.int32(1),
        *({name: np.ones(2)} for name in ("decoder.kernel", "encoder.kernel", "norm.mean", "mu")),
    )
    broken = healthy._replace(**{part: jax.tree.map(lambda a: a * np.inf, getattr(healthy, part))})
    kept = RunCheckpoints(tmp_path)
    loop.save(kept, 1, healthy, Progress(), 1.0)
    with pytest.raises(UserError, match="not finite after step 2; step 1 is kept"):
        loop.save(kept, 2, broken, Progress(), 1.0)
    assert kept.latest_step == 1
    kept.close()


def test_a_full_disk_keeps_the_last_checkpoint(data_set, frozen_run, tmp_path, monkeypatch):
    save = ocp.CheckpointManager.save

    def full_at_six(manager, step, **options):
        if step == 6:
            (manager.directory / "6.orbax-checkpoint-tmp").mkdir()
            raise OSError(28, "No space left on device")
        return save(manager, step, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full_at_six)
        with pytest.raises(UserError, match="step 6 .*No space left.*step 3 is intact"):
            small_run.trained(data_set, tmp_path / "run")
    small_run.trained(data_set, tmp_path / "run")
    assert_same_checkpoints(saved(tmp_path / "run"), saved(frozen_run))
    assert small_run.measured(tmp_path / "run") == small_run.measured(frozen_run)
    assert steps_on_disk(tmp_path / "run") == {3, 6}


def test_a_workdir_of_another_config_is_refused(data_set, frozen_run, tmp_path):
    workdir = shutil.copytree(frozen_run, tmp_path / "run")
    before = (workdir / "config.json").read_bytes()
    for change in ({"model.latent_dim": 5}, {"data.split_seed": 1}):
        with pytest.raises(UserError, match="another configuration: .* but was"):
            small_run.trained(data_set, workdir, **change)
    with pytest.raises(UserError, match="training.encoder is 'fine_tuned' but was 'frozen'"):
        small_run.trained(data_set, workdir, encoder="fine_tuned")
    assert (workdir / "config.json").read_bytes() == before


def test_checkpoints_of_another_model_are_refused(data_set, frozen_run, tmp_path):
    workdir = shutil.copytree(frozen_run, tmp_path / "run")
    config = small_run.config(data_set, **{"model.latent_dim": 5})
    configuration.record(config, workdir)  # as if someone had edited it
    with pytest.raises(UserError, match=r"checkpoints .*mu_head.*has shape .* instead of"):
        train(config, asked(workdir))


def test_checkpoints_without_a_config_are_refused(data_set, frozen_run, tmp_path):
    workdir = shutil.copytree(frozen_run, tmp_path / "run")
    (workdir / "config.json").unlink()
    with pytest.raises(UserError, match="holds no config.json"):
        train(small_run.config(data_set), asked(workdir))


def test_a_model_folder_is_no_workdir(data_set, tmp_path):
    description = {"kind": "qvae", "model": {"encoder_width": 0.1}}
    small = Variables({"a": np.zeros(1)}, {"b": np.zeros(1)})
    stored.save_model(tmp_path / "model", description, small)
    with pytest.raises(UserError, match="config.json is not the configuration of a training run"):
        small_run.trained(data_set, tmp_path / "model")
    assert stored.read_description(tmp_path / "model") == description
    assert sorted(os.listdir(tmp_path / "model")) == ["config.json", "variables"]


def test_a_run_that_never_saved_does_not_decide_the_width(data_set, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    workdir.mkdir()
    configuration.record(small_run.config(data_set, **{"model.encoder_width": 1.0}), workdir)
    config = small_run.config(data_set, "fine_tuned")
    config.model.encoder_width = 0.2

    def prepare(config, model_config, *rest):
        raise UserError(f"the width is {model_config.encoder_width}")

    monkeypatch.setattr(qvae_task, "prepare", prepare)
    with pytest.raises(UserError, match="the width is 0.2"):
        train(config, asked(workdir))


def test_a_batch_of_one_is_too_small(data_set, tmp_path):
    with pytest.raises(UserError, match="batch_size is 1, .*set it to 2 or more"):
        small_run.trained(data_set, tmp_path / "run", **{"training.batch_size": 1})


def test_a_workdir_that_cannot_be_written(data_set, tmp_path):
    (tmp_path / "file").write_text("kept")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=str(workdir)):
            train(small_run.config(data_set), asked(workdir))
    assert (tmp_path / "file").read_text() == "kept"
