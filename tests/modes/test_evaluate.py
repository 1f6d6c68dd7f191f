"""Evaluation: what the report holds, what the baselines are, and what is refused."""

import json
import shutil

import jax
import numpy as np
import pytest

from qvae_jax import losses
from qvae_jax.audio.files import read_audio, write_wav
from qvae_jax.data.prepared import target_audio
from qvae_jax.evaluation import baselines, embedding, metrics, report
from qvae_jax.evaluation.report import MEASURES
from qvae_jax.evaluation.statistics import Estimate
from qvae_jax.generation.model import load_model
from qvae_jax.models import stored, variables
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.modes import evaluate as mode
from qvae_jax.modes.evaluate import evaluate, sound_class
from qvae_jax.system.errors import UserError

SYSTEMS = ["model", "silence", "mean spectrum", "nearest", "oracle"]


@pytest.fixture(scope="module")
def results(frozen_run, tmp_path_factory):
    """The folder of both held-out parts' results."""
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(workdir=str(frozen_run), output_dir=folder)
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
    assert set(interpolation["systems"]["model"]) == set(MEASURES)
    assert set(MEASURES) - set(interpolation["systems"]["oracle"]) == {"kl", "active_dimensions"}
    for found in interpolation["systems"].values():
        for name, estimate in found.items():
            assert np.isfinite(estimate["value"]), name
            if estimate["low"] is not None:
                assert estimate["low"] <= estimate["value"] <= estimate["high"]


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


def test_the_models_numbers_are_those_of_its_sounds(frozen_run, interpolation):
    model = load_model(workdir=str(frozen_run))
    examples = mode._parts(str(frozen_run), "interpolation", None)["interpolation"]
    imitations = [read_audio(e.imitation, 32_000, max_duration_s=1.0) for e in examples]
    waveforms = np.stack([np.pad(x, (0, 32_000 - len(x))) for x in imitations])
    mu, logvar = model.posterior(np.pad(waveforms, ((0, 5), (0, 0))))
    sounds = model.decode(mu)[:3]
    targets = np.stack([target_audio(e.reference) for e in examples])
    distances = [metrics.multi_resolution_stft(p, t) for p, t in zip(sounds, targets)]
    found = value(interpolation, "model", "multi_resolution_stft")
    assert found == pytest.approx(np.mean(distances), rel=1e-4)
    found = value(interpolation, "model", "waveform")
    assert found == pytest.approx(np.abs(sounds - targets).mean(), rel=1e-4)
    kl = 0.5 * np.sum(np.exp(logvar) + mu**2 - 1 - logvar, axis=1)[:3]
    assert value(interpolation, "model", "kl") == pytest.approx(kl.mean(), rel=1e-4, abs=1e-6)


def test_the_loss_of_a_pair_is_that_of_a_batch_of_one():
    rng = np.random.default_rng(0)
    sounds, targets = (0.1 * rng.standard_normal((2, 2, 59_049))).astype(np.float32)
    pair = (list(map(metrics.Sound, sounds)), list(map(metrics.Sound, targets)))
    found = mode._scores(*pair, losses.LossWeights())
    zero = np.zeros((1, 1), np.float32)
    loss = jax.jit(lambda p, t: losses.qvae_loss(p, t, zero, zero, beta=0.0))
    for i in range(2):
        total, terms = loss(sounds[i : i + 1], targets[i : i + 1])
        assert found["audio_loss"][i] == pytest.approx(float(total), rel=1e-5)
        for name in ("spectral", "mel", "waveform"):
            assert found[name][i] == pytest.approx(float(terms[name]), rel=1e-5)


def test_the_table_says_how_to_read_it(results, interpolation):
    text = (results / "interpolation.md").read_text("utf-8")
    header, rule, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert header == f"| measure | {' | '.join(SYSTEMS)} |" and rule.count("-:") == 5
    assert [row.split("|")[1].strip(" ↑↓") for row in rows] == [m.title for m in MEASURES.values()]
    assert all(row.count("|") == header.count("|") for row in rows)
    assert "the model's own encoder, which the model listens with" in text
    assert "n = 3 outputs and 3 references" in text and "bootstrap" in text
    beaten = [MEASURES[name].title for name in interpolation["silence_beats_the_model"]]
    assert f"A silent output beats the model in{': ' if beaten else ' none'}" in text
    assert "; ".join(beaten) in text


def test_what_silence_wins_is_told_by_each_measures_direction():
    estimate = lambda number: Estimate(number, number, number)
    model = {
        "mel": estimate(2.0),
        "mrr": estimate(0.5),
        "waveform": estimate(1.0),
        "kl": estimate(1),
    }
    silence = {"mel": estimate(1.0), "mrr": estimate(0.6), "waveform": estimate(1.0)}
    assert report.silence_wins({"model": model, "silence": silence}) == ["mel", "mrr"]


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
    evaluate(
        workdir=str(frozen_run),
        pairs=str(own),
        embedder=str(tmp_path / "mn01"),
        output_dir=tmp_path / "out",
    )
    found = json.loads((tmp_path / "out" / "pairs.json").read_text("utf-8"))
    assert found["num_pairs"] == 2
    assert found["embedder"] == {"name": f"the encoder in {tmp_path / 'mn01'}", "independent": True}
    text = (tmp_path / "out" / "pairs.md").read_text("utf-8")
    assert "listens with" not in text
    assert found["systems"]["model"]["diversity"]["value"] is None, "both imitate one sound"


def test_an_embedder_of_the_models_own_weights_is_not_independent(frozen_run, tmp_path):
    model = load_model(workdir=str(frozen_run))
    prefix = "encoder."
    own = Variables(
        *(
            {name.removeprefix(prefix): x for name, x in part.items() if name.startswith(prefix)}
            for part in model.variables
        )
    )
    own.params["features.16.kernel"] = 2 * np.asarray(own.params["features.16.kernel"])
    description = {"kind": "encoder", "model": {"encoder_width": 0.1, "front_end": {}}}
    stored.save_model(tmp_path / "tuned", description, own)
    assert not embedding.load_embedder(str(tmp_path / "tuned"), model).independent


def test_without_a_run_there_is_no_nearest_training_reference(frozen_run, tmp_path):
    for part in ("references", "vocal_imitations"):
        (tmp_path / part).mkdir()
        write_wav(tmp_path / part / "1_quiet.wav", np.zeros(8_000), 16_000)
        write_wav(tmp_path / part / "2_loud.wav", 0.1 * np.ones(8_000), 16_000)
    model = load_model(workdir=str(frozen_run))
    examples = mode._parts(None, None, str(tmp_path))["pairs"]
    embedder = embedding.load_embedder(None, model)
    found = mode.evaluate_part(model, embedder, examples, [])
    assert list(found["systems"]) == ["model", "silence", "mean spectrum", "oracle"]
    assert found["baselines_from"] == "the measured references"
    distances = [found["systems"][s]["log_spectral_distance"]["value"] for s in found["systems"]]
    assert np.isfinite(distances).all(), "a silent reference has a spectrum too"


def test_the_nearest_reference_is_that_of_the_closest_features(frozen_run, data_set):
    model = load_model(workdir=str(frozen_run))
    references = sorted((data_set / "references").iterdir())
    waveforms = np.zeros((8, 32_000), np.float32)
    for row, path in enumerate(references):
        waveforms[row] = read_audio(path, 32_000)[:32_000]
    nearest = baselines.nearest_reference(model, references, target_audio)
    expected = np.stack([target_audio(path) for path in references])
    np.testing.assert_array_equal(nearest(model.features(waveforms)[:4]), expected)


def test_the_mean_spectrum_has_the_references_spectrum():
    time_s = np.arange(59_049) / 22_050
    tones = [0.2 * np.sin(2 * np.pi * f * time_s) for f in (500, 3_000)]
    sound = baselines.mean_spectrum(tones)
    spectrum = np.abs(np.fft.rfft(sound))
    frequencies = np.fft.rfftfreq(len(sound), 1 / 22_050)
    near = sum((np.abs(frequencies - f) < 60) for f in (500, 3_000)).astype(bool)
    assert np.sum(spectrum[near] ** 2) > 0.95 * np.sum(spectrum**2)
    assert sound.shape == (59_049,) and sound.dtype == np.float32
    np.testing.assert_array_equal(sound, baselines.mean_spectrum(tones))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("004Animal_Domestic animals_pets_Dog_Bark.wav", "Animal_Domestic animals"),
        ("296Source_ambiguous sounds_Generic impact sounds_Whip.wav", "Source_ambiguous sounds"),
        ("075-flute_playing-everyday.wav", "everyday"),
        ("042-clave-acoustic_instruments.wav", "acoustic_instruments"),
        ("sound 0, a_tone.wav", "sound 0, a_tone"),
        ("bark.wav", "bark"),
    ],
)
def test_the_class_of_a_sound_is_told_by_its_name(key, expected):
    assert sound_class(key) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(checkpoint="x"), "does not say what to measure: give --pairs"),
        (dict(checkpoint="x", from_split="train"), "give --pairs"),
        (dict(workdir="absent"), "absent is not a run's folder"),
        (dict(workdir="RUN", from_split="test"), "--from_split is 'test'"),
        (dict(workdir="RUN", from_split="train", pairs="x"), "give one of them"),
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
        evaluate(**options)
    assert "\n" not in str(raised.value) and list(tmp_path.iterdir()) == []
