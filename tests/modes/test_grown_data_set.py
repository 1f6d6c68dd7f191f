"""A data set that grew, or shrank, after a run: its pairs stay those that the run recorded."""

import json
import os
import shutil

import numpy as np
import pytest
from matplotlib import image

import small_run
from qvae_jax.models import stored
from qvae_jax.modes.evaluate import evaluate
from qvae_jax.modes.generate import generate
from qvae_jax.modes.requests import EvaluateRequest, GenerateRequest, VisualiseRequest
from qvae_jax.modes.visualise import visualise
from qvae_jax.runs import SPLIT_FILE, open_run
from qvae_jax.system.errors import UserError
from qvae_jax.visualisation import figures

pytestmark = pytest.mark.usefixtures("short_decoder")

PARTS = ("train", "interpolation", "extrapolation")


@pytest.fixture
def own(short_data_set, tmp_path):
    """A data set that a test may change."""
    return shutil.copytree(short_data_set, tmp_path / "own" / "data_set")


@pytest.fixture
def run(own, short_frozen_run, tmp_path):
    """A finished run on that data set."""
    workdir = shutil.copytree(short_frozen_run, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["dataset_dir"] = str(own)
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir


def recorded(run, part: str) -> list[str]:
    return list(json.loads((run / SPLIT_FILE).read_text())["parts"][part])


@pytest.fixture
def blank(monkeypatch):
    """Pictures without drawing: which there are, and what the page says, is looked at alone."""
    save = lambda path: image.imsave(path, np.zeros((1, 1)), format="png")
    monkeypatch.setattr(figures, "_save", lambda figure, path: save(path))
    monkeypatch.setattr(figures, "save_sample", lambda path, *_: save(path))


def test_what_was_trained_on_is_what_is_generated_and_shown(run, own, tmp_path, blank):
    small_run.grow(own)
    for part in PARTS:
        out = tmp_path / part
        generate(GenerateRequest(workdir=str(run), from_split=part, output_dir=str(out)))
        manifest = json.loads((out / "manifest.json").read_text())
        named = [os.path.basename(entry["input"]) for entry in manifest["outputs"]]
        assert named == recorded(run, part)
    visualise(VisualiseRequest(str(run), num_samples=9, output_dir=str(tmp_path / "page")))
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert "a new sound" not in page
    for part in PARTS:
        pictures = list((tmp_path / "page").glob(f"{part}_*.png"))
        assert len(pictures) == len(recorded(run, part))


def test_a_run_goes_on_bit_for_bit_with_what_was_added_named(own, tmp_path, capsys):
    straight = small_run.trained(own, tmp_path / "straight")
    resumed = small_run.trained(own, tmp_path / "resumed", **{"training.num_epochs": 1})
    before = (resumed / SPLIT_FILE).read_bytes()
    added = small_run.grow(own)
    capsys.readouterr()
    small_run.trained(own, resumed)
    told = capsys.readouterr().out
    assert (
        f"added to {own} after the run began, and taking no part: {added[0]!r}, {added[1]!r}, "
        f"{added[2]!r}, … (4 in all)\n"
    ) in told
    assert "6 train, 3 interpolation, 3 extrapolation" in told
    assert small_run.measured(resumed) == small_run.measured(straight)
    assert (resumed / SPLIT_FILE).read_bytes() == before
    trees = []
    for workdir in (straight, resumed):
        kept = stored.Checkpoints(workdir / "checkpoints")
        trees.append(kept.restore(kept.latest_step))
        kept.close()
    for part in trees[0]:
        for name, array in trees[0][part].items():
            np.testing.assert_array_equal(trees[1][part][name], array, err_msg=name)


@pytest.mark.parametrize("mode", ["generate", "evaluate", "visualise", "train"])
def test_a_file_that_is_gone_is_named(run, own, tmp_path, mode):
    lost = recorded(run, "extrapolation")[1]
    (own / "vocal_imitations" / lost).unlink()
    out = str(tmp_path / "out")
    with pytest.raises(
        UserError, match=f"'{lost}' is no longer in extrapolation; restore"
    ) as raised:
        if mode == "generate":
            generate(GenerateRequest(str(run), from_split="extrapolation", output_dir=out))
        elif mode == "evaluate":
            evaluate(EvaluateRequest(str(run), output_dir=out))
        elif mode == "visualise":
            visualise(VisualiseRequest(str(run), output_dir=out))
        else:
            small_run.trained(own, run, **{"training.num_epochs": 3})
    assert "\n" not in str(raised.value) and not os.path.exists(out)


def test_a_run_without_a_record_says_that_its_split_is_worked_out(run, own, tmp_path, capsys):
    (run / SPLIT_FILE).unlink()
    added = small_run.grow(own)
    small_run.trained(own, run, **{"training.num_epochs": 3})
    assert f"{run} holds no split.json" in capsys.readouterr().out
    parts = [open_run(run).pairs(part) for part in PARTS]
    assert set(added) <= {pair.imitation for pairs in parts for pair in pairs}


def test_a_start_that_was_interrupted_before_a_checkpoint_begins_anew(run, own, capsys):
    shutil.rmtree(run / "checkpoints")
    added = small_run.grow(own)
    small_run.trained(own, run, **{"training.num_epochs": 1})
    assert set(added) & {name for part in PARTS for name in recorded(run, part)}
    assert "taking no part" not in capsys.readouterr().out
