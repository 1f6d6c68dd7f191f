"""Generating beside a library: what is nearest to each imitation, and sounds of its timbre."""

import json

import numpy as np
import pytest
import soundfile

import sound_folder
import steered_model
from qvae_jax.audio.files import fit_length, read_audio
from qvae_jax.generation import naming, sounds
from qvae_jax.generation.requests import LatentRequest
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.modes import generate as mode
from qvae_jax.modes.requests import GenerateRequest
from qvae_jax.retrieval import encoders, threshold
from qvae_jax.system import caches
from qvae_jax.system.errors import UserError


@pytest.fixture(scope="module")
def model():
    return steered_model.model()


@pytest.fixture(autouse=True)
def of_this_model(model, monkeypatch, tmp_path_factory):
    """And a cache folder that these tests share."""
    monkeypatch.setattr(mode, "load_model", lambda **_: model)
    monkeypatch.setattr(sounds, "BATCH_SIZE", 1)
    monkeypatch.setattr(mode, "_draw_one_by_one", lambda: lambda path, *_: path.touch())
    monkeypatch.setenv(caches.VARIABLE, str(tmp_path_factory.getbasetemp() / "index_cache"))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Two imitations, and a library of two sounds that are these themselves."""
    folder = tmp_path_factory.mktemp("material")
    tone = 0.4 * np.sin(np.arange(8_000) * 0.3)
    sound_folder.write_samples(folder / "library" / "it's, <b>.wav", sound_folder.noise([97], 0.3))
    sound_folder.write_samples(folder / "library" / "deep" / "tone.flac", tone)
    sound_folder.write_samples(folder / "a.wav", sound_folder.noise([97], 0.3))
    sound_folder.write_samples(folder / "b.wav", tone)
    return folder


def generate(material, output_dir, **options) -> dict:
    """What the manifest says."""
    request = {
        "checkpoint": "x",
        "inputs": f"{material / 'a.wav'},{material / 'b.wav'}",
        "library": str(material / "library"),
    }
    mode.generate(GenerateRequest(**request | options, output_dir=str(output_dir)))
    return json.loads((output_dir / "manifest.json").read_text("utf-8"))


def like(sound) -> SteerRequest:
    return SteerRequest(sounds_like=str(sound))


@pytest.fixture(scope="module")
def beside(material, model, tmp_path_factory):
    """The folder of both imitations' sounds with two nearest each, and its manifest."""
    folder = tmp_path_factory.mktemp("beside") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mode, "load_model", lambda **_: model)
        patched.setattr(sounds, "BATCH_SIZE", 1)
        patched.setattr(mode, "_draw_one_by_one", lambda: lambda path, *_: path.touch())
        patched.setenv(caches.VARIABLE, str(tmp_path_factory.getbasetemp() / "index_cache"))
        return folder, generate(material, folder, nearest=2)


def test_the_nearest_lie_beside_each_sound_and_in_the_manifest(beside, material):
    folder, found = beside
    first, second = found["inputs"]
    assert [one["name"] for one in first["nearest"]] == ["it's, <b>.wav", "deep/tone.flac"]
    assert [one["name"] for one in second["nearest"]] == ["deep/tone.flac", "it's, <b>.wav"]
    for facts, stem in ((first, "01_a"), (second, "02_b")):
        assert facts["unlike_everything"] is None and "sounds_like" not in facts
        assert facts["nearest"][0]["similarity"] == pytest.approx(1, abs=1e-5)
        for rank, one in enumerate(facts["nearest"], 1):
            assert one["heard"] == naming.nearest_name(stem, rank)
            copy, rate_hz = soundfile.read(folder / one["heard"])
            assert len(copy) / rate_hz == pytest.approx(one["duration_s"], abs=1e-3)
        page = (folder / f"{stem}_nearest.html").read_text("utf-8")
        assert (
            facts["page"] == f"{stem}_nearest.html" and page.count("data:audio/flac") == 1 + 1 + 2
        )
        assert "s, &lt;b&gt;.wav" in page and f"{stem}_generated.wav" in page
    assert found["settings"]["library"] == str(material / "library")
    assert found["settings"]["nearest"] == 2


def test_more_than_there_are_is_all_and_what_is_replaced_goes_with_them(material, tmp_path):
    generate(material, tmp_path, nearest=5)
    assert len(list(tmp_path.glob("*_nearest*.wav"))) == 2 * 2
    generate(material, tmp_path, nearest=1, existing="add")
    assert len(list(tmp_path.glob("*_nearest*.wav"))) == 2 * 2 + 2
    generate(material, tmp_path, library=None, existing="replace")
    assert not list(tmp_path.glob("*_nearest*"))


def test_each_sound_is_like_the_nearest_and_the_manifest_says_which(material, tmp_path):
    found = generate(material, tmp_path / "nearest", steering=like("nearest"))
    assert [one["sounds_like"]["name"] for one in found["inputs"]] == [
        "it's, <b>.wav",
        "deep/tone.flac",
    ]
    assert all("nearest" not in one for one in found["inputs"])
    for number, (facts, made) in enumerate(zip(found["inputs"], found["outputs"])):
        path = facts["sounds_like"]["path"]
        named = generate(material, tmp_path / f"{number}", steering=like(path), library=None)
        assert named["outputs"][number]["z"] == made["z"]
        one, other = (
            (tmp_path / folder / made["generated"]).read_bytes()
            for folder in ("nearest", f"{number}")
        )
        assert one == other


@pytest.mark.parametrize("by_nearest", [True, False])
def test_what_sounds_are_to_be_like_is_heard_by_the_encoder_of_sounds(
    material, tmp_path, monkeypatch, by_nearest
):
    model = steered_model.model(steered_model.TWO_ENCODERS)
    monkeypatch.setattr(mode, "load_model", lambda **_: model)
    named = material / "library" / "deep" / "tone.flac"
    options = {"steering": like("nearest")} if by_nearest else {"steering": like(named)}
    options |= {} if by_nearest else {"library": None}
    alike = generate(material, tmp_path / "like", **options)
    voices = generate(material, tmp_path / "voices", library=None)
    for found, is_like in ((alike, True), (voices, False)):
        hearing = steered_model.of_one_encoder(model, sounds=is_like)
        for facts, made in zip(found["inputs"], found["outputs"]):
            path = facts.get("sounds_like", {}).get("path", named) if is_like else facts["input"]
            heard = read_audio(path, hearing.front_end.sample_rate_hz)
            mu, _ = hearing.posterior(fit_length(heard, hearing.front_end.num_samples)[None])
            np.testing.assert_allclose(made["mu"], mu[0], atol=1e-5)


def test_an_imitation_unlike_everything_is_told(material, model, tmp_path, capsys, monkeypatch):
    known = threshold.Threshold(1.0009, 0.05, None, 99, "the pairs")
    threshold.write(tmp_path, encoders.of_model(model.config, model.variables), known)
    monkeypatch.setattr(model, "source", {"checkpoint": str(tmp_path)})
    found = generate(material, tmp_path / "out", nearest=1)
    assert [one["unlike_everything"] for one in found["inputs"]] == [True, True]
    assert "note: 2 inputs unlike anything in" in capsys.readouterr().out


def test_a_file_that_would_be_overwritten_is_kept(material, tmp_path):
    (tmp_path / "02_b_nearest01.wav").write_text("mine")
    with pytest.raises(UserError, match="02_b_nearest01.wav is there already"):
        generate(material, tmp_path, nearest=1)
    assert [path.name for path in tmp_path.iterdir()] == ["02_b_nearest01.wav"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"library": None, "nearest": 1}, "--nearest needs --library"),
        ({"library": None, "steering": like("nearest")}, "--sounds_like=nearest needs --library"),
        ({}, "--library is looked through for --nearest or --sounds_like=nearest"),
        ({"nearest": 0}, "--nearest is 0: set it to 1 or more"),
        (
            {"nearest": 1, "inputs": None, "latents": LatentRequest(prior_samples=1)},
            "--nearest is of imitations, and there are none",
        ),
        ({"nearest": 1, "library": "absent"}, "The folder absent does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    material, tmp_path, options, message
):
    with pytest.raises(UserError, match=message):
        generate(material, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
