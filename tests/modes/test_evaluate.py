"""`--mode=evaluate`: what the report holds, what is measured, and what is refused."""

import json
import shutil

import numpy as np
import pytest

import small_run
from qvae_jax.evaluation.report import ADHERENCE, MEASURES
from qvae_jax.models import stored, variables
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.modes import evaluate as mode
from qvae_jax.modes.evaluate import evaluate
from qvae_jax.modes.requests import EvaluateRequest
from qvae_jax.system.errors import UserError

SYSTEMS = [
    "model",
    "silence",
    "mean spectrum",
    "nearest",
    "nearest with the imitation's loudness",
    "imitation itself",
    "oracle",
]


@pytest.fixture(scope="module")
def results(frozen_run, tmp_path_factory):
    """The folder of both held-out parts' results."""
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(EvaluateRequest(workdir=str(frozen_run), output_dir=folder))
    return folder


@pytest.fixture(scope="module")
def interpolation(results) -> dict:
    return json.loads((results / "interpolation.json").read_text("utf-8"))


def value(found: dict, system: str, name: str) -> float:
    return found["systems"][system][name]["value"]


def test_both_held_out_parts_are_measured(results, interpolation):
    names = [
        f"{part}.{kind}" for part in ("extrapolation", "interpolation") for kind in ("json", "md")
    ]
    assert sorted(path.name for path in results.iterdir()) == names
    assert list(interpolation["systems"]) == SYSTEMS
    assert (interpolation["num_pairs"], interpolation["num_references"]) == (3, 3)
    measured = set(interpolation["systems"]["model"])
    assert set(MEASURES) - measured == {"magnitude", "gesture"}, (
        "of losses that it was not trained on"
    )
    assert measured - set(interpolation["systems"]["oracle"]) == {"kl", "active_dimensions"}
    for found in interpolation["systems"].values():
        for name, estimate in found.items():
            assert np.isfinite(estimate["value"]), name
            if estimate["low"] is not None:
                assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_what_was_held_out_is_what_is_measured_though_the_data_set_has_grown(
    frozen_run, own_data_set, results, tmp_path
):
    workdir = shutil.copytree(frozen_run, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text("utf-8"))
    config["data"]["dataset_dir"] = str(own_data_set)
    (workdir / "config.json").write_text(json.dumps(config), "utf-8")
    assert len(small_run.grow(own_data_set)) == 4
    evaluate(EvaluateRequest(str(workdir), from_split="extrapolation", output_dir=str(tmp_path)))
    before, after = (
        json.loads((folder / "extrapolation.json").read_text("utf-8"))
        for folder in (results, tmp_path)
    )
    assert after.pop("model") == before.pop("model") | {"workdir": str(workdir)}
    assert after == before


def test_the_oracle_is_perfect_and_silence_is_not(interpolation):
    perfect = {
        "audio_loss": 0,
        "multi_resolution_stft": 0,
        "multi_scale_mel": 0,
        "log_spectral_distance": 0,
        "envelope_correlation": 1,
        "onset_error": 0,
        "frechet_distance": 0,
        "mrr": 1,
        "recall_at_1": 1,
        "ndcg": 1,
    }
    for name, best in perfect.items():
        assert value(interpolation, "oracle", name) == pytest.approx(best, abs=1e-4), name
    assert value(interpolation, "silence", "diversity") == pytest.approx(0, abs=1e-6)
    assert value(interpolation, "mean spectrum", "diversity") == pytest.approx(0, abs=1e-6)
    assert value(interpolation, "silence", "envelope_correlation") == 0
    assert value(interpolation, "silence", "audio_loss") > 1


def test_only_the_imitation_itself_follows_it_in_all(interpolation):
    for name, measure in ADHERENCE.items():
        best = 1 if measure.better > 0 else 0
        assert value(interpolation, "imitation itself", name) == pytest.approx(best), name
        assert value(interpolation, "silence", name) != best, name
    following = value(interpolation, "nearest with the imitation's loudness", "loudness_difference")
    assert following < value(interpolation, "nearest", "loudness_difference")
    # The data set's references are the very tones that its imitations are made of.
    assert value(interpolation, "oracle", "pitch_difference") < 1
    assert value(interpolation, "silence", "pitch_difference_pyin") == 12
    assert value(interpolation, "silence", "chroma_difference") == 6


def test_the_table_says_how_to_read_it(results, interpolation):
    text = (results / "interpolation.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header = f"| measure | {' | '.join(SYSTEMS)} |"
    assert [place for place, line in enumerate(lines) if line == header] == [
        0,
        len(lines) - 2 - len(ADHERENCE),
    ]
    rows = [line for line in lines if line != header and not line.startswith("|-")]
    measured = interpolation["systems"]["model"]
    titles = [measure.title for name, measure in MEASURES.items() if name in measured]
    assert [row.split("|")[1].strip(" ↑↓") for row in rows] == titles
    assert all(line.count("|") == header.count("|") for line in lines)
    assert "the model's own encoder, which the model listens with" in text
    assert "n = 3 outputs and 3 references" in text and "bootstrap" in text
    beaten = [MEASURES[name].title for name in interpolation["silence_beats_the_model"]]
    said = f"**A silent output wins, with 95 % confidence: {'; '.join(beaten)}.**"
    assert (said in text) == bool(beaten) == ("**A silent" in text)


def test_everything_is_measured_once_more_trimmed(
    frozen_run, interpolation, tmp_path, capsys, monkeypatch
):
    measured = lambda *given: mode_measure(*given) if given[-1] else interpolation
    mode_measure = mode.measure
    monkeypatch.setattr(mode, "measure", measured)
    request = EvaluateRequest(
        str(frozen_run), from_split="interpolation", trimmed=True, output_dir=str(tmp_path)
    )
    evaluate(request)
    names = [f"interpolation{how}.{kind}" for how in ("-trimmed", "") for kind in ("json", "md")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert "3 pairs of interpolation measured, trimmed: " in capsys.readouterr().out
    as_it_is, trimmed = (
        json.loads((tmp_path / name).read_text("utf-8")) for name in (names[2], names[0])
    )
    assert as_it_is == interpolation
    assert (as_it_is["trimmed"], trimmed["trimmed"]) == (False, True)
    assert value(trimmed, "oracle", "audio_loss") == pytest.approx(0, abs=1e-4)
    assert value(trimmed, "silence", "waveform") > 1.2 * value(as_it_is, "silence", "waveform")
    text = (tmp_path / names[1]).read_text("utf-8")
    assert text.startswith("# interpolation: 3 pairs, 3 references, trimmed\n")
    assert "- Trimmed: " in text and "- Trimmed: " not in (tmp_path / names[3]).read_text("utf-8")


def test_a_folder_of_pairs_and_an_independent_embedder(frozen_run, data_set, tmp_path):
    config = QVAEConfig(encoder_width=0.1)
    network = encoder_network(config, rng=np.random.default_rng(1))
    description = {"kind": "encoder", "model": {"encoder_width": 0.1, "front_end": {}}}
    stored.save_model(tmp_path / "mn01", description, variables.split(network)[1])
    own = tmp_path / "pairs"
    for part in ("references", "vocal_imitations"):
        (own / part).mkdir(parents=True)
        for path in sorted((data_set / part).iterdir())[:2]:
            shutil.copy(path, own / part)
    request = EvaluateRequest(
        workdir=str(frozen_run),
        pairs=str(own),
        embedder=str(tmp_path / "mn01"),
        output_dir=tmp_path / "out",
    )
    evaluate(request)
    found = json.loads((tmp_path / "out" / "pairs.json").read_text("utf-8"))
    assert found["num_pairs"] == 2
    assert found["embedder"] == {
        "name": f"the encoder in {tmp_path / 'mn01'}",
        "independent_of_encoder": True,
        "independent_of_audioset": False,
    }
    text = (tmp_path / "out" / "pairs.md").read_text("utf-8")
    assert "listens with" not in text
    assert found["systems"]["model"]["diversity"]["value"] is None, "both imitate one sound"


def test_voices_without_references_are_followed_or_not(frozen_run, data_set, tmp_path, capsys):
    (tmp_path / "voices").mkdir()
    for path in sorted((data_set / "vocal_imitations").iterdir())[:2]:
        shutil.copy(path, tmp_path / "voices")
    (tmp_path / "voices" / "notes.txt").write_text("")
    request = EvaluateRequest(
        workdir=str(frozen_run), voices=str(tmp_path / "voices"), output_dir=tmp_path / "out"
    )
    evaluate(request)
    printed = capsys.readouterr().out
    assert "1 file not named as sounds are ('notes.txt')" in printed
    assert "2 imitations measured: " in printed
    found = json.loads((tmp_path / "out" / "voices.json").read_text("utf-8"))
    assert list(found["systems"]) == SYSTEMS[:-1]
    assert all(set(measures) == set(ADHERENCE) for measures in found["systems"].values())
    text = (tmp_path / "out" / "voices.md").read_text("utf-8")
    assert text.startswith("# voices: 2 imitations without a reference\n")
    assert "## Against the imitation" in text and "## Against the reference" not in text
    assert "Retrieval" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(checkpoint="x"), "does not say what to measure: give --pairs"),
        (dict(checkpoint="x", from_split="train"), "give --pairs"),
        (dict(workdir="absent"), "absent is not a run's folder"),
        (dict(workdir="RUN", from_split="test"), "--from_split is 'test'"),
        (dict(workdir="RUN", from_split="train", pairs="x"), "--pairs and --from_split both name"),
        (dict(workdir="RUN", voices="x", pairs="x"), "--pairs and --voices both name"),
        (dict(workdir="RUN", voices="absent"), "absent does not exist"),
        (dict(checkpoint="x", pairs="DATA"), "give --output_dir"),
        (dict(workdir="RUN", pairs="absent"), "data folder absent does not exist"),
        (dict(workdir="RUN", embedder="absent"), "absent holds no config.json"),
        (dict(workdir="RUN", checkpoint="x", pairs="DATA"), "either --workdir.*or --checkpoint"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused(
    frozen_run, data_set, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(frozen_run), "DATA": str(data_set)}
    options = {name: places.get(given, given) for name, given in options.items()}
    with pytest.raises(UserError, match=message) as raised:
        evaluate(EvaluateRequest(**options))
    assert "\n" not in str(raised.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["train.json", "train.md"])
def test_a_file_that_is_no_result_is_never_overwritten(frozen_run, tmp_path, name, monkeypatch):
    monkeypatch.setattr(mode, "load_model", lambda **_: pytest.fail("no work before"))
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"{name} is there already") as raised:
        evaluate(EvaluateRequest(str(frozen_run), from_split="train", output_dir=str(tmp_path)))
    assert "\n" not in str(raised.value)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "{}")]


def test_earlier_results_are_rewritten(frozen_run, results, tmp_path, monkeypatch):
    found = json.loads((results / "interpolation.json").read_text("utf-8"))
    for name in ("interpolation.json", "interpolation.md"):
        shutil.copy(results / name, tmp_path)
    monkeypatch.setattr(mode, "load_model", lambda **_: None)
    monkeypatch.setattr(mode, "load_embedder", lambda *_: None)
    monkeypatch.setattr(mode, "measure", lambda *_: found | {"num_pairs": 99})
    request = EvaluateRequest(str(frozen_run), from_split="interpolation", output_dir=str(tmp_path))
    evaluate(request)
    assert json.loads((tmp_path / "interpolation.json").read_text("utf-8"))["num_pairs"] == 99
    assert "99 pairs" in (tmp_path / "interpolation.md").read_text("utf-8")
