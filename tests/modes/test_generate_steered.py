"""Generating with a steered model: what steers, how long it lasts, what lies beside the sounds."""

import json
import os

import jax
import numpy as np
import pytest
import soundfile

import compiling
import steered_model
from qvae_jax.audio.controls import LOUDNESS, PITCH
from qvae_jax.generation import curve_file, manifest, sounds, voice
from qvae_jax.generation.requests import LatentRequest
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.modes import generate as mode
from qvae_jax.modes.requests import GenerateRequest
from qvae_jax.system.errors import UserError

RATE_HZ = 16_000
STEERING = [name for name in SteerRequest.__dataclass_fields__]
LATENTS = [name for name in LatentRequest.__dataclass_fields__]


@pytest.fixture(scope="module")
def model():
    return steered_model.model()


@pytest.fixture(autouse=True)
def of_this_model(model, monkeypatch):
    """One by one, so that few programs are compiled; `generated` has both at once."""
    monkeypatch.setattr(mode, "load_model", lambda **_: model)
    monkeypatch.setattr(sounds, "BATCH_SIZE", 1)


@pytest.fixture(scope="module")
def hums(tmp_path_factory):
    """A hum of a second after half a second of silence, and a shorter one of another pitch."""
    folder = tmp_path_factory.mktemp("hums")
    time_s = np.arange(RATE_HZ) / RATE_HZ
    hum = 0.3 * np.sin(2 * np.pi * 220 * time_s)
    write(folder / "a.wav", np.concatenate([np.zeros(RATE_HZ // 2), hum]))
    write(folder / "b.wav", 0.1 * np.sin(2 * np.pi * 330 * time_s[:4_000]))
    return [folder / "a.wav", folder / "b.wav"]


def write(path, samples):
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    return path


def generate(inputs, output_dir, **options) -> list[dict]:
    """The manifest's outputs; options are fields of the request and of what is nested in it."""
    steering = {name: options.pop(name) for name in STEERING if name in options}
    latents = {name: options.pop(name) for name in LATENTS if name in options}
    mode.generate(
        GenerateRequest(
            checkpoint="x",
            inputs=",".join(map(str, inputs)) if inputs else None,
            output_dir=str(output_dir),
            steering=SteerRequest(**steering),
            latents=LatentRequest(**latents),
            **options,
        )
    )
    return manifest.read(output_dir)[-1]["outputs"]


def manifest_of(folder) -> dict:
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def audio_of(folder, entry) -> np.ndarray:
    return soundfile.read(folder / entry["generated"], dtype="float32")[0]


def curves_of(folder, entry) -> np.ndarray:
    return curve_file.read(folder / entry["curves"])


@pytest.fixture(scope="module")
def generated(model, hums, tmp_path_factory):
    """The folder of both hums' sounds, steered by all of their curves, and its manifest."""
    folder = tmp_path_factory.mktemp("generated") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mode, "load_model", lambda **_: model)
        generate(hums, folder)
    return folder, manifest_of(folder)


def test_a_sound_is_as_long_as_its_imitation_from_where_that_is_heard(generated):
    folder, found = generated
    first, second = found["inputs"]
    assert first["leading_silence_s"] == pytest.approx(0.5, abs=0.03)
    assert first["steered_duration_s"] == pytest.approx(1.0, abs=0.04)
    assert second["leading_silence_s"] == 0
    assert second["steered_duration_s"] == pytest.approx(0.25, abs=0.012)
    for facts, entry in zip(found["inputs"], found["outputs"], strict=True):
        assert not facts["steering_cut"]
        assert entry["duration_s"] == pytest.approx(facts["steered_duration_s"])
        assert len(audio_of(folder, entry)) == 243 * len(curves_of(folder, entry))


def test_curves_and_their_picture_lie_beside_each_sound(generated):
    folder, found = generated
    for entry, stem in zip(found["outputs"], ("01_a", "02_b")):
        assert (entry["curves"], entry["picture"]) == (f"{stem}_curves.csv", f"{stem}_curves.png")
        assert (folder / entry["picture"]).read_bytes().startswith(b"\x89PNG")
    assert len(os.listdir(folder)) == 2 * 4 + 1
    pitches = [np.median(curves_of(folder, entry)[:, PITCH]) for entry in found["outputs"]]
    np.testing.assert_allclose(pitches, [57, 64.02], atol=0.1)
    assert found["settings"]["steering"]["steer"] == "loudness,centroid,pitch"


def test_the_sound_is_as_loud_as_its_curve_says(generated):
    folder, found = generated
    entry = found["outputs"][0]
    wanted = curves_of(folder, entry)[5:-5, LOUDNESS]
    heard = voice.curves_of(audio_of(folder, entry))[5:-5, LOUDNESS]
    assert np.abs(heard - wanted).mean() < 6, "the renderer's own room"


def test_the_seed_of_noise_is_told_and_makes_the_sound_again(generated, model):
    folder, found = generated
    for place, entry in enumerate(found["outputs"], start=1):
        assert entry["noise_seed"] == [0, place]
        again = model.render(
            np.array([entry["z"]]), [curves_of(folder, entry)], seeds=np.array([[0, place]])
        )
        np.testing.assert_allclose(again[0], audio_of(folder, entry), atol=1e-6)


def test_alone_or_with_others_it_is_the_same_sound(generated, hums, tmp_path):
    folder, found = generated
    [alone] = generate(hums[:1], tmp_path / "out")
    np.testing.assert_allclose(
        audio_of(tmp_path / "out", alone), audio_of(folder, found["outputs"][0]), atol=1e-6
    )


def test_an_edited_table_steers(generated, hums, tmp_path):
    folder, found = generated
    entry = found["outputs"][1]
    table = (folder / entry["curves"]).read_text()
    header, *lines = table.splitlines()
    edited = tmp_path / "edited.csv"
    edited.write_text("\n".join([header, *lines[: len(lines) // 2]]))
    [half] = generate(hums[1:], tmp_path / "half", curves=str(edited))
    assert half["duration_s"] == pytest.approx(entry["duration_s"] / 2, abs=0.012)
    assert "leading_silence_s" not in manifest_of(tmp_path / "half")["inputs"][0]
    made = generate(None, tmp_path / "prior", curves=str(edited), prior_samples=2, transpose=5.0)
    for sound in made:
        np.testing.assert_allclose(
            curves_of(tmp_path / "prior", sound)[:, PITCH],
            curves_of(tmp_path / "half", half)[:, PITCH] + 5,
            atol=1e-2,
        )


def test_a_sound_like_another_follows_the_voice(generated, hums, tmp_path, model):
    folder, found = generated
    noise = 0.1 * np.random.default_rng(0).standard_normal(8_000)
    like = write(tmp_path / "rain.wav", noise)
    [alone, _] = generate([like, hums[0]], tmp_path / "alone", steer="none")
    made = generate(hums, tmp_path / "out", sounds_like=str(like))
    for entry, of_voice in zip(made, found["outputs"], strict=True):
        np.testing.assert_allclose(entry["mu"], alone["mu"], atol=1e-6)
        assert (tmp_path / "out" / entry["curves"]).read_bytes() == (
            folder / of_voice["curves"]
        ).read_bytes()
    assert manifest_of(tmp_path / "out")["settings"]["steering"]["sounds_like"] == str(like)


def test_without_steering_the_gesture_head_makes_the_sound(hums, tmp_path, model):
    jax.clear_caches()  # of what other tests have had compiled otherwise
    with compiling.with_optimisation():  # two programs then round alike
        made = generate(hums, tmp_path / "out", steer="none")
        z = np.array([entry["z"] for entry in made], np.float32)
        expected = model.decode(z, seeds=np.array([[0, 1], [0, 2]]), batch_size=1)
    for entry, audio in zip(made, expected, strict=True):
        assert len(curves_of(tmp_path / "out", entry)) == 243
        np.testing.assert_allclose(audio_of(tmp_path / "out", entry), audio, atol=1e-6)
    assert "leading_silence_s" not in manifest_of(tmp_path / "out")["inputs"][0]


def test_sounds_of_no_input_are_the_gesture_heads(hums, tmp_path):
    made = generate(hums, tmp_path / "out", interpolate=2, duration="0.5")
    assert [entry["noise_seed"] for entry in made] == [[0, 0]] * 2
    for entry in made:
        assert entry["duration_s"] == pytest.approx(0.5, abs=0.006)
    steering = manifest_of(tmp_path / "out")["settings"]["steering"]
    assert (steering["steer"], steering["duration"]) == ("none", "0.5")


def test_variations_share_their_noise_and_curves(hums, tmp_path):
    first, second = generate(hums[:1], tmp_path / "out", variations=2, temperature=1.0, seed=7)
    assert first["noise_seed"] == second["noise_seed"] == [7, 1]
    assert first["z"] != second["z"]
    tables = [(tmp_path / "out" / entry["curves"]).read_bytes() for entry in (first, second)]
    assert tables[0] == tables[1]


def test_a_sound_that_is_bent_near_full_scale_is_told(hums, tmp_path, capsys):
    loud = write(tmp_path / "loud.wav", 3 * np.sin(np.arange(4_000) / 3))
    quiet, bent = generate([hums[1], loud], tmp_path / "out")
    peaks = [np.abs(audio_of(tmp_path / "out", entry)).max() for entry in (quiet, bent)]
    assert [entry["limited"] for entry in (quiet, bent)] == [peak > 0.9 for peak in peaks]
    assert bent["limited"] and not quiet["limited"]
    said = "note: 1 sound above 0.9 of full scale, where the model bends peaks ('02_loud_generated"
    assert said in capsys.readouterr().out


def test_silence_makes_silence_and_is_told(tmp_path, capsys):
    silent = write(tmp_path / "silent.wav", np.zeros(4_000))
    [entry] = generate([silent], tmp_path / "out")
    assert not audio_of(tmp_path / "out", entry).any()
    assert "silent.wav is silent where it is heard" in capsys.readouterr().out


def test_what_was_made_is_replaced_with_its_curves(hums, tmp_path):
    generate(hums, tmp_path / "out")
    generate(hums[1:], tmp_path / "out", existing="replace")
    assert len(os.listdir(tmp_path / "out")) == 4 + 1
    generate(hums[1:], tmp_path / "out", existing="add")
    assert [path.name for path in sorted((tmp_path / "out").glob("*.csv"))] == [
        "01_b_curves.csv",
        "02_b_curves.csv",
    ]


# --- What goes wrong: one line, and nothing written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steer": "pitch", "curves": "a.csv"}, "--steer and --curves both"),
        ({"duration": "3600"}, "--duration is '3600'"),
        ({"curves": "absent.csv"}, "absent.csv cannot be read as a table of curves"),
        ({"sounds_like": "absent.wav"}, "absent.wav does not exist"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_before_any_work(hums, tmp_path, options, message):
    with pytest.raises(UserError, match=message) as raised:
        generate(hums, tmp_path / "out", **options)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_a_silent_sound_to_be_like_is_refused(hums, tmp_path):
    like = write(tmp_path / "silent.wav", np.zeros(4_000))
    with pytest.raises(UserError, match="--sounds_like is .*silent.wav, which is silent") as raised:
        generate(hums, tmp_path / "out", sounds_like=str(like))
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_a_model_that_is_not_steered_is_not_steered(hums, tmp_path, monkeypatch):
    from plain_model import PlainModel

    monkeypatch.setattr(mode, "load_model", lambda **_: PlainModel())
    with pytest.raises(UserError, match="--steer is for a model of type 'steered'") as raised:
        generate(hums, tmp_path / "out", steer="pitch")
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()
    [first, _] = generate(hums, tmp_path / "out")
    assert not {"curves", "noise_seed", "limited"} & first.keys()
    assert "steering" not in manifest_of(tmp_path / "out")["settings"]


def test_the_table_that_steers_is_never_replaced(generated, hums, tmp_path):
    generate(hums[:1], tmp_path / "out")
    table = tmp_path / "out" / "01_a_curves.csv"
    before = table.read_bytes()
    with pytest.raises(UserError, match="01_a_curves.csv is an input and would be overwritten"):
        generate(hums[:1], tmp_path / "out", curves=str(table), existing="replace")
    assert table.read_bytes() == before


def test_a_file_in_the_place_of_curves_is_kept(hums, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "01_a_curves.csv").write_text("mine")
    with pytest.raises(UserError, match="01_a_curves.csv is there already"):
        generate(hums[:1], tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["01_a_curves.csv"]
