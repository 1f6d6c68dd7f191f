"""A model card: its front matter, and what it says of a model, its data and its measures."""

import dataclasses
import json
import pathlib
import re
import shutil

import ml_collections
import pytest

import steered_model
from qvae_jax.exporting import model_card
from qvae_jax.generation.model import Model, load_model
from qvae_jax.runs import open_run
from qvae_jax.system.errors import UserError

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
SECTIONS = [
    "What it is", "Data it was trained on", "Measures", "How to load it", "What it is not for",
]  # fmt: skip
ESTIMATE = {"value": 0.25, "low": 0.125, "high": 0.5}


def result(**changes) -> dict:
    """What evaluate writes, in part."""
    embedder = {
        "name": "the encoder in /home/me in here/weights/mn10_as",
        "independent_of_encoder": True,
        "independent_of_audioset": False,
    }
    return {
        "part": "extrapolation",
        "trimmed": False,
        "num_pairs": 3,
        "num_references": 1,
        "model": {"workdir": "/home/me/runs/first", "step": 6},
        "latent_dim": 4,
        "embedder": embedder,
        "baselines_from": "training references",
        "silence_beats_the_model": [],
        "systems": {"model": {"mrr": ESTIMATE}, "nearest | best": {"mrr": ESTIMATE}},
    } | changes


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(workdir=str(FIXTURES / "run"))


@pytest.fixture
def run(tmp_path):
    """run(part=…, …): a copy of the old run, with these results of an evaluation."""

    def with_results(*results):
        folder = tmp_path / "my *first* run"
        folder.mkdir()
        for name in ("config.json", "split.json"):
            shutil.copy(FIXTURES / "run" / name, folder)
        for found in results:
            (folder / "evaluation").mkdir(exist_ok=True)
            trimmed = "-trimmed" * found["trimmed"]
            path = folder / "evaluation" / f"{found['part']}{trimmed}.json"
            path.write_text(json.dumps(found))
        return open_run(folder)

    return with_results


def section(card: str, title: str) -> str:
    return card.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_it_has_the_hubs_front_matter_and_all_sections(model, run):
    card = model_card.written(model, run(), "CC-BY-4.0")
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert front.splitlines()[:3] == [
        "license: cc-by-4.0", "library_name: qvae_jax", "pipeline_tag: audio-to-audio",
    ]  # fmt: skip
    assert re.findall(r"^## (.*)$", text, re.M) == SECTIONS
    assert "\n\n\n" not in card and card.endswith(".\n") and "{" not in card
    assert max(map(len, card.splitlines())) <= 120


def test_a_licence_that_nobody_states_is_unknown(model, run):
    assert "\nlicense: unknown\n" in model_card.written(model, run(), None)


@pytest.mark.parametrize("licence", ["", "my own", "mit\ntags: []", "-", "a" * 65, "mit # ok"])
def test_a_licence_that_the_hub_cannot_have_is_refused(model, licence):
    with pytest.raises(UserError, match="--licence is .*write the Hub's name of a licence"):
        model_card.written(model, None, licence)


def test_it_says_what_the_model_is(model):
    said = section(model_card.written(model, None, None), "What it is")
    for fact in (
        "| hears | mono at 32000 Hz, the first 1 s |",
        "| decoder | original-plus, width 0.05 |",
        "| gives | mono at 22050 Hz, 2.68 s |",
        "numbers, of the run's step 6 |",
    ):
        assert fact in said
    steered = section(model_card.written(steered_model.model(), None, None), "What it is")
    assert "2.68 s, or as long as the voice, up to a minute" in steered
    believing = {"standardise_features": True, "voice_share": 0.25}
    believing = steered_model.model(dataclasses.replace(steered_model.CONFIG, **believing))
    said = section(model_card.written(believing, None, None), "What it is")
    assert "of its layer 4; of a voice's, a share of 0.25 counts" in said


def test_it_names_the_data_by_its_last_name_alone(model, run):
    of = run()
    of.config.data.dataset_dir = "/home/me/data/vim_sketch"
    said = section(model_card.written(model, of, None), "Data it was trained on")
    assert "- pairs of imitation and sound: the data set vim\\_sketch\n" in said
    assert "- split: train 6 pairs; interpolation 3 pairs; extrapolation 3 pairs\n" in said
    assert "- the encoder began with random weights and was not trained\n" in said
    assert "/home" not in said


def test_it_names_a_library_and_where_weights_came_from(model, run):
    of = run()
    changes = {
        "data.dataset_dir": "",
        "data.sounds_dir": "/sounds/sfx",
        "model.encoder_checkpoint": "/weights/mn04_as",
        "training.encoder": "fine_tuned",
    }
    with of.config.unlocked():
        of.config.update_from_flattened_dict(changes)
    said = section(model_card.written(model, of, None), "Data it was trained on")
    assert "the folder sfx" in said and "pairs of imitation" not in said
    assert "the encoder's weights began as those of mn04\\_as; the encoder was fine-tuned" in said


def test_measures_are_the_runs_own(model, run):
    of = run(
        result(part="pairs", model={"step": 3}, silence_beats_the_model=["mrr"]), result(), result(trimmed=True),
        result(part="interpolation", systems={"model": {"mrr": ESTIMATE}}),
    )  # fmt: skip
    said = section(model_card.written(model, of, None), "Measures")
    assert re.findall(r"^### (.*)$", said, re.M) == [
        "interpolation: 3 pairs, 1 reference",
        "extrapolation: 3 pairs, 1 reference",
        "extrapolation: 3 pairs, 1 reference, trimmed",
        "pairs: 3 pairs, 1 reference",
    ]
    assert "| Against the reference | model | nearest \\| best |\n|---|---:|---:|\n" in said
    assert "| mean reciprocal rank ↑ | 0.250 \\[0.125, 0.500\\] | " in said
    assert said.count("**A silent output wins, with 95 % confidence: mean reciprocal rank.**") == 1
    assert "that of step 3." in said.partition("### pairs")[2]
    assert "another checkpoint" not in said.partition("### pairs")[0]
    assert "by the encoder in mn10\\_as: independent of the model's encoder" in said
    assert "/home" not in said


def test_a_run_without_measures_says_how_to_have_them(model, run):
    said = section(model_card.written(model, run(), None), "Measures")
    assert "Not evaluated." in said and "qvae --mode=evaluate --workdir=" in said
    ported = section(model_card.written(model, None, None), "Measures")
    assert "Not evaluated." in ported and "--pairs=" in ported


def test_damaged_results_are_named(model, run):
    of = run(result())
    path = of.folder / "evaluation" / "extrapolation.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="extrapolation.json holds no result of an evaluation"):
        model_card.written(model, of, None)


def test_a_name_means_itself(tmp_path, model):
    named = Model(
        model.config, model.variables, {"checkpoint": str(tmp_path / "<b>a\n# *b* {{c}}")}
    )
    card = model_card.written(named, None, None)
    assert "\n# \\<b\\>a \\# \\*b\\* \\{\\{c\\}\\}\n" in card


def test_what_a_config_may_hold_is_told(model, run):
    of = run()
    assert isinstance(of.config, ml_collections.ConfigDict)
    of.config.data.synthesize = True
    assert (
        "imitation and sound: a small data set synthesised by qvae\\_jax\n"
        in model_card.written(model, of, None)
    )
