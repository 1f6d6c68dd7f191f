"""Generating: what is written for which inputs, the same each time, and nothing overwritten."""

import dataclasses
import io
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

import qvae_jax
from plain_model import PlainModel
from qvae_jax.audio.files import read_audio
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data.prepared import target_audio
from qvae_jax.generation import manifest, sounds
from qvae_jax.generation.model import Model, load_model
from qvae_jax.models import stored, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.modes import generate as mode
from qvae_jax.modes.requests import Finish, GenerateRequest, LatentRequest
from qvae_jax.system import output_folders
from qvae_jax.system.errors import UserError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(frozen_run, data_set, tmp_path_factory):
    """A finished run, and folders of what was generated from three imitations at T = 0 and 1."""
    folder = tmp_path_factory.mktemp("generated")
    inputs = imitations(data_set)[:3]
    for temperature in (0.0, 1.0):
        generate(
            workdir=str(frozen_run),
            inputs=[str(path) for path in inputs],
            output_dir=folder / f"{temperature}",
            temperature=temperature,
            seed=5,
        )
    return frozen_run, folder


def generate(*, inputs=None, **options) -> None:
    """Generates; options are fields of the request and of what is nested in it."""
    nested = {
        name: kind(
            **{f.name: options.pop(f.name) for f in dataclasses.fields(kind) if f.name in options}
        )
        for name, kind in {"latents": LatentRequest, "finish": Finish}.items()
    }
    text = None if inputs is None else ",".join(map(str, inputs))
    mode.generate(GenerateRequest(inputs=text, **nested, **options))


def imitations(data_set):
    return sorted((data_set / "vocal_imitations").iterdir())


def write_hum(path, seed: int = 0):
    """A quarter of a second of noise as an input of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(4_000)
    encoded = io.BytesIO()  # soundfile itself cannot write to every name
    soundfile.write(encoded, samples, 16_000, format=path.suffix[1:])
    path.write_bytes(encoded.getvalue())
    return path


def outputs(folder) -> list[dict]:
    return json.loads((folder / "manifest.json").read_text("utf-8"))["outputs"]


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def quick(monkeypatch):
    """Generates with PlainModel and gives the manifest's outputs."""
    monkeypatch.setattr(mode, "load_model", lambda **_: PlainModel())

    def quickly(inputs, output_dir, **options):
        generate(inputs=inputs, output_dir=output_dir, checkpoint="x", **options)
        return outputs(output_dir)

    return quickly


# --- What is written


def test_each_input_gets_its_files_and_its_entry(run, data_set):
    workdir, folder = run
    entries = outputs(folder / "0.0")
    assert [entry["input"] for entry in entries] == [str(p) for p in imitations(data_set)[:3]]
    assert len(os.listdir(folder / "0.0")) == 3 * 3 + 1
    for number, entry in enumerate(entries, start=1):
        assert entry["generated"] == f"{number:02d}_0000{number - 1}_sound 0, a_tone_generated.wav"
        info = soundfile.info(folder / "0.0" / entry["generated"])
        assert (info.frames, info.samplerate, info.subtype) == (59_049, 22_050, "FLOAT")
        assert info.channels == 1
        assert (entry["seed"], entry["temperature"]) == (5, 0.0)
        assert len(entry["mu"]) == len(entry["logvar"]) == 4
        assert np.isfinite(entry["mu"] + entry["logvar"]).all()


def test_input_and_reference_lie_beside_the_sound(run, data_set):
    for entry in outputs(run[1] / "0.0"):
        stem = entry["generated"].removesuffix("_generated.wav")
        heard, rate_hz = soundfile.read(run[1] / "0.0" / f"{stem}_input.wav", dtype="float32")
        np.testing.assert_array_equal(heard, read_audio(entry["input"], rate_hz))
        assert entry["reference"] == f"{stem}_reference.wav"
        reference, _ = soundfile.read(run[1] / "0.0" / entry["reference"], dtype="float32")
        expected = target_audio(data_set / "references" / "000_sound 0, a_tone.wav")
        np.testing.assert_array_equal(reference, expected)


def test_the_sound_is_that_of_mu_and_of_the_best_checkpoint(run):
    workdir, folder = run
    kept = stored.Checkpoints(workdir / "checkpoints")
    best = kept.restore(kept.best_step)
    assert kept.best_step != kept.latest_step
    kept.close()
    model = load_model(workdir=str(workdir))
    for name, array in best["params"].items():
        np.testing.assert_array_equal(model.variables.params[name], array)
    graphdef, _ = variables.split(QVAE(model.config, rng=None))
    decode = jax.jit(lambda given, z: variables.merge(graphdef, given).decode(z))
    entries = outputs(folder / "0.0")
    mu = jnp.asarray([entry["mu"] for entry in entries], jnp.float32)
    expected = decode(model.variables, mu)
    for entry, audio in zip(entries, expected):
        found, _ = soundfile.read(folder / "0.0" / entry["generated"], dtype="float32")
        np.testing.assert_allclose(found, audio, atol=1e-5)


# --- The same each time


def test_the_same_command_writes_the_same_bytes(run, data_set, tmp_path):
    inputs = [str(path) for path in imitations(data_set)[:3]]
    for temperature in (0.0, 1.0):
        place = tmp_path / f"{temperature}"
        options = dict(workdir=str(run[0]), inputs=inputs, temperature=temperature, seed=5)
        generate(output_dir=place, **options)
        assert contents(place) == contents(run[1] / f"{temperature}")


def test_the_seed_decides_the_variation(run, data_set, tmp_path):
    options = dict(workdir=str(run[0]), inputs=[str(p) for p in imitations(data_set)[:3]])
    generate(output_dir=tmp_path / "other", temperature=1.0, seed=6, **options)
    generate(output_dir=tmp_path / "mean", temperature=0.0, seed=6, **options)
    made = {
        name: [contents(folder)[entry["generated"]] for entry in outputs(folder)]
        for name, folder in {
            "mean, seed 5": run[1] / "0.0",
            "mean, seed 6": tmp_path / "mean",
            "varied, seed 5": run[1] / "1.0",
            "varied, seed 6": tmp_path / "other",
        }.items()
    }
    assert made["mean, seed 5"] == made["mean, seed 6"]
    for i in range(3):
        assert len({found[i] for found in made.values()}) == 3
    latents = [[entry["mu"] for entry in outputs(run[1] / f"{t}")] for t in (0.0, 1.0)]
    assert latents[0] == latents[1], "μ is the input's, whatever the noise"


def test_the_heard_sound_is_padded_or_cut(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(PlainModel, "front_end", FrontEnd(duration_s=1.0))
    heard = []

    def posterior(self, waveforms, **how):
        heard.extend(waveforms)
        return np.zeros((len(waveforms), 2)), np.zeros((len(waveforms), 2))

    monkeypatch.setattr(PlainModel, "posterior", posterior)
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) / 10
    for name, samples in [("1_long", noise), ("2_short", noise[:3_000])]:
        soundfile.write(tmp_path / f"{name}.wav", samples, 32_000, subtype="FLOAT")
    quick([tmp_path / "1_long.wav", tmp_path / "2_short.wav"], tmp_path / "out")
    np.testing.assert_array_equal(heard[0], noise[:32_000])
    np.testing.assert_array_equal(heard[1], np.pad(noise[:3_000], (0, 29_000)))


# --- Which inputs


def test_a_folder_is_searched_in_order(quick, tmp_path):
    for name in ("b.wav", "a/z.flac", "a/y.WAV", "c.ogg"):
        write_hum(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no sound")
    (tmp_path / "in" / ".hidden.wav").write_text("no sound")
    entries = quick([tmp_path / "in"], tmp_path / "out")
    names = [os.path.relpath(entry["input"], tmp_path / "in") for entry in entries]
    assert names == ["a/y.WAV", "a/z.flac", "b.wav", "c.ogg"]
    assert [entry["generated"][:4] for entry in entries] == ["01_y", "02_z", "03_b", "04_c"]
    assert all(entry["reference"] is None for entry in entries)
    assert len(os.listdir(tmp_path / "out")) == 2 * 4 + 1


def test_inputs_of_one_stem_do_not_meet(quick, tmp_path):
    paths = [write_hum(tmp_path / f, i) for i, f in enumerate(("a/x.wav", "b/x.wav", "a/x.flac"))]
    entries = quick([*paths, paths[0]], tmp_path / "out")
    assert [e["generated"] for e in entries] == [f"0{i}_x_generated.wav" for i in (1, 2, 3, 4)]
    for path, entry in zip([*paths, paths[0]], entries):
        audio, _ = soundfile.read(tmp_path / "out" / entry["generated"])
        level = np.abs(read_audio(path, 32_000)).sum() / 320_000
        assert audio[0] == pytest.approx(level, rel=1e-5)


def test_a_hundred_inputs_stay_in_order(quick, tmp_path):
    path = write_hum(tmp_path / "x.wav")
    entries = quick([path] * 100, tmp_path / "out")
    names = [entry["generated"] for entry in entries]
    assert names == sorted(names) and names[0].startswith("001_") and names[-1].startswith("100_")


def test_names_of_any_kind(quick, tmp_path):
    stems = ["hum, hiss & 100% $x", "犬", ".", "a" * 240, "ü" * 120, os.fsdecode(b"caf\xe9")]
    paths = [write_hum(tmp_path / "in" / f"{stem}.wav") for stem in stems]
    entries = quick(paths, tmp_path / "out")
    assert [entry["input"] for entry in entries] == [str(path) for path in paths]
    assert all((tmp_path / "out" / entry["generated"]).is_file() for entry in entries)
    assert entries[0]["generated"] == "01_hum, hiss & 100% $x_generated.wav"


def test_the_outputs_within_a_folder_of_inputs_are_no_inputs(quick, tmp_path):
    path = write_hum(tmp_path / "in" / "hum.wav")
    for existing in (None, "replace"):
        entries = quick([tmp_path / "in"], tmp_path / "in" / "out", existing=existing)
        assert [entry["input"] for entry in entries] == [str(path)]
    # Nor are they where they are earlier ones, and the new ones lie around the inputs.
    [entry] = quick([tmp_path / "in"], tmp_path)
    assert entry["input"] == str(path)


def test_the_folder_of_inputs_is_no_place_for_outputs(quick, tmp_path):
    write_hum(tmp_path / "in" / "hum.wav")
    before = contents(tmp_path / "in")
    for spelling in (tmp_path / "in", tmp_path / "in" / "..", tmp_path / "in" / "." / "."):
        with pytest.raises(UserError, match="--output_dir"):
            quick([spelling], spelling.resolve())
    assert contents(tmp_path / "in") == before


def test_files_of_the_output_folder_may_be_inputs(quick, tmp_path):
    path = write_hum(tmp_path / "hum.wav")
    before = path.read_bytes()
    [entry] = quick([path], tmp_path)
    assert entry["generated"] == "01_hum_generated.wav" and path.read_bytes() == before


@pytest.mark.parametrize("kind", ["generated", "input", "reference"])
def test_an_input_is_never_overwritten(quick, tmp_path, kind):
    first = write_hum(tmp_path / "x.wav", 1)
    endangered = write_hum(tmp_path / f"01_x_{kind}.wav", 2)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"01_x_{kind}.wav is an input and would be overwritten"):
        quick([first, endangered], tmp_path)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UserError, match="would be overwritten"):
        quick([first, endangered], tmp_path / "link")
    (tmp_path / "link").unlink()
    assert contents(tmp_path) == before


# --- Which reference


def test_a_reference_is_found_in_the_inputs_data_set(quick, data_set, tmp_path):
    own = shutil.copytree(data_set, tmp_path / "own")
    stranger = write_hum(own / "vocal_imitations" / "00099_unknown.wav")
    elsewhere = shutil.copy(imitations(own)[0], tmp_path / imitations(own)[0].name)
    keyless = write_hum(own / "vocal_imitations" / "hum.wav")
    entries = quick([imitations(own)[4], stranger, elsewhere, keyless], tmp_path / "out")
    assert [entry["reference"] is None for entry in entries] == [False, True, True, True]
    found, _ = soundfile.read(tmp_path / "out" / entries[0]["reference"], dtype="float32")
    expected = target_audio(own / "references" / "001_sound 1, a_tone.wav")
    np.testing.assert_array_equal(found, expected)


# --- What goes wrong: one line, and nothing written


def refused(message, tmp_path, inputs, function=generate, **options):
    """Generating raises UserError and makes no folder."""
    with pytest.raises(UserError, match=message) as raised:
        function(inputs=inputs, output_dir=tmp_path / "out", **options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_not_there(quick, tmp_path):
    (tmp_path / "empty").mkdir()
    for inputs, message in [
        ([tmp_path / "absent.wav"], "absent.wav does not exist"),
        ([tmp_path / "empty"], "empty holds no audio file"),
        ([], "--inputs names nothing"),
    ]:
        with pytest.raises(UserError, match=message):
            quick(inputs, tmp_path / "out")
    refused("or nothing beside a comma", tmp_path, ["a.wav", ""], checkpoint="x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spoilt", ["input", "reference"])
@pytest.mark.parametrize("content", [b"", b"words", b"RIFF\x24\x00\x00\x00WAVEfmt "])
def test_a_bad_file_is_noticed_before_anything_is_written(
    quick, data_set, tmp_path, spoilt, content
):
    own = shutil.copytree(data_set, tmp_path / "own")
    folder = {"input": "vocal_imitations", "reference": "references"}[spoilt]
    bad = sorted((own / folder).iterdir())[-1]
    bad.write_bytes(content)
    with pytest.raises(UserError, match=f"{bad}"):
        quick(imitations(own), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nan_samples_are_refused(quick, tmp_path):
    samples = np.full(100, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match="nan.wav holds samples that are not finite"):
        quick([tmp_path / "nan.wav"], tmp_path / "out")


@pytest.mark.parametrize("temperature", [-0.1, np.nan, np.inf])
def test_a_temperature_that_makes_no_sense(quick, tmp_path, temperature):
    with pytest.raises(UserError, match="--temperature is"):
        quick([write_hum(tmp_path / "x.wav")], tmp_path / "out", temperature=temperature)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range(quick, tmp_path, seed):
    with pytest.raises(UserError, match="--seed is"):
        quick([write_hum(tmp_path / "x.wav")], tmp_path / "out", seed=seed)


def test_an_output_folder_that_cannot_be_written(quick, tmp_path):
    hum = write_hum(tmp_path / "x.wav")
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UserError, match=str(place)):
            quick([hum], place)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == ["file", "x.wav"]


def test_exactly_one_model_is_needed(frozen_run, tmp_path):
    hum = str(write_hum(tmp_path / "x.wav"))
    refused("either --workdir.*or --checkpoint", tmp_path, [hum])
    both = dict(workdir=str(frozen_run), checkpoint=str(frozen_run))
    refused("either --workdir.*or --checkpoint", tmp_path, [hum], **both)


def test_a_model_that_is_not_there(frozen_run, tmp_path):
    hum, absent = str(write_hum(tmp_path / "x.wav")), str(tmp_path / "absent")
    refused("absent is not a run's folder", tmp_path, [hum], workdir=absent)
    refused("absent holds no config.json", tmp_path, [hum], checkpoint=absent)
    refused("does not say what kind of model", tmp_path, [hum], checkpoint=str(frozen_run))
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    shutil.copy(frozen_run / "config.json", untrained)
    refused("holds no checkpoints: train there first", tmp_path, [hum], workdir=str(untrained))
    (untrained / "checkpoints").mkdir()
    refused("holds no checkpoint yet: train there first", tmp_path, [hum], workdir=str(untrained))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_is_refused(frozen_run, tmp_path):
    hum, workdir = str(write_hum(tmp_path / "x.wav")), shutil.copytree(frozen_run, tmp_path / "run")
    for path in (workdir / "checkpoints").glob("*/default/_METADATA"):
        path.write_bytes(path.read_bytes()[:100])
    refused("cannot be read as a checkpoint", tmp_path, [hum], workdir=str(workdir))


def test_a_checkpoint_of_another_width_is_refused(frozen_run, tmp_path):
    hum, workdir = str(write_hum(tmp_path / "x.wav")), shutil.copytree(frozen_run, tmp_path / "run")
    recorded = json.loads((workdir / "config.json").read_text())
    recorded["model"]["encoder_width"] = 0.2
    (workdir / "config.json").write_text(json.dumps(recorded))
    message = "checkpoints does not fit .*encoder.features.2.expand.kernel is missing.* more"
    refused(message, tmp_path, [hum], workdir=str(workdir))


@pytest.mark.parametrize("spoilt", ["mu_head.bias", "logvar_head.bias"])
def test_a_model_of_nan_makes_no_sound(frozen_run, data_set, tmp_path, monkeypatch, spoilt):
    model = load_model(workdir=str(frozen_run))
    params = model.variables.params | {spoilt: np.full(4, np.nan, np.float32)}
    broken = Model(model.config, Variables(params, model.variables.batch_stats))
    monkeypatch.setattr(mode, "load_model", lambda **_: broken)
    hums = [str(path) for path in imitations(data_set)[:3]]
    refused("not finite of .*00000_sound 0", tmp_path, hums, checkpoint="x")


def test_a_ported_model_generates_too(run, data_set, tmp_path):
    model = load_model(workdir=str(run[0]))
    description = {"kind": "qvae", "model": json.loads(json.dumps(vars_of(model.config)))}
    stored.save_model(tmp_path / "model", description, model.variables)
    generate(
        checkpoint=str(tmp_path / "model"),
        inputs=[str(path) for path in imitations(data_set)[:3]],
        output_dir=tmp_path / "out",
        seed=5,
    )
    found, expected = contents(tmp_path / "out"), contents(run[1] / "0.0")
    manifests = [json.loads(each.pop("manifest.json")) for each in (found, expected)]
    assert found == expected
    assert manifests[0].pop("model") == {"checkpoint": str(tmp_path / "model")}
    assert manifests[1].pop("model").keys() == {"workdir", "step"}
    assert manifests[0] == manifests[1]


def vars_of(model_config: QVAEConfig) -> dict:
    return {**vars(model_config), "front_end": vars(model_config.front_end)}


# --- Variations, interpolations, walks, the prior


def test_variations_are_reproducible_from_the_manifest(run, data_set, tmp_path, monkeypatch):
    monkeypatch.setattr(sounds, "BATCH_SIZE", 1)  # for which programs are compiled already
    workdir, _ = run
    hums = [str(path) for path in imitations(data_set)[:2]]
    options = dict(workdir=str(workdir), variations=3, temperature=0.7, seed=3)
    generate(inputs=hums, output_dir=tmp_path, **options)
    entries = outputs(tmp_path)
    assert [(entry["place"], entry["variation"]) for entry in entries] == [
        (place, variation) for place in (1, 2) for variation in (1, 2, 3)
    ]
    assert entries[4]["generated"] == f"02_{Path(hums[1]).stem}_variation02_generated.wav"
    model = qvae_jax.load(workdir)
    made = []
    for entry in entries:
        found, _ = soundfile.read(tmp_path / entry["generated"], dtype="float32")
        np.testing.assert_allclose(model.decode(np.array([entry["z"]]))[0], found, atol=1e-5)
        samples, rate_hz = soundfile.read(entry["input"])
        settings = {name: entry[name] for name in ("temperature", "seed", "place", "variation")}
        again = model.generate(samples, rate_hz, **settings)
        np.testing.assert_allclose(again, found, atol=1e-5)
        made.append(found)
    differences = [np.abs(a - b).max() for i, a in enumerate(made) for b in made[:i]]
    assert min(differences) > 1e-4


def test_one_input_gives_its_files_once_however_many_its_sounds(quick, tmp_path):
    hum = write_hum(tmp_path / "x.wav")
    entries = quick([hum], tmp_path / "out", variations=12, temperature=0.5)
    expected = [f"01_x_variation{i:02d}_generated.wav" for i in range(1, 13)]
    assert [entry["generated"] for entry in entries] == expected
    assert sorted(os.listdir(tmp_path / "out")) == sorted(
        [*expected, "01_x_input.wav", "manifest.json"]
    )


def test_an_interpolation_runs_from_one_mean_to_the_other(run, data_set, tmp_path, monkeypatch):
    monkeypatch.setattr(sounds, "BATCH_SIZE", 1)
    workdir, folder = run
    hums = [str(path) for path in (imitations(data_set)[0], imitations(data_set)[2])]
    generate(workdir=str(workdir), inputs=hums, output_dir=tmp_path, interpolate=5)
    entries = outputs(tmp_path)
    assert [entry["position"] for entry in entries] == [0, 0.25, 0.5, 0.75, 1]
    names = [f"interpolation{i:02d}_generated.wav" for i in range(1, 6)]
    assert [entry["generated"] for entry in entries] == names
    known = outputs(folder / "0.0")
    for entry, end in [(entries[0], known[0]), (entries[-1], known[2])]:
        np.testing.assert_allclose(entry["z"], end["mu"], atol=1e-5)
    assert {"01_00000_sound 0, a_tone_input.wav", "02_00002_sound 0, a_tone_input.wav"} <= set(
        os.listdir(tmp_path)
    )


def test_a_walk_moves_one_dimension(quick, tmp_path):
    hum = write_hum(tmp_path / "x.wav")
    around = quick([hum], tmp_path / "around", walk_dimension=1, walk_steps=3)
    assert [entry["generated"] for entry in around] == [
        f"01_x_walk{i:02d}_generated.wav" for i in (1, 2, 3)
    ]
    moved = np.array([entry["z"] for entry in around]) - np.array(around[0]["mu"])
    np.testing.assert_allclose(moved, [[0, -3], [0, 0], [0, 3]], atol=1e-6)
    from_zero = quick(None, tmp_path / "zero", walk_dimension=0)
    assert [entry["z"] for entry in from_zero] == [[i, 0] for i in range(-3, 4)]
    assert from_zero[0]["input"] is None and from_zero[0]["generated"] == "walk01_generated.wav"


def test_the_prior_needs_no_imitation(quick, tmp_path):
    entries = quick(None, tmp_path / "a", prior_samples=300, seed=1)
    z = np.array([entry["z"] for entry in entries])
    assert abs(z.mean()) < 0.15 and abs(z.std() - 1) < 0.1, "300 x 2 draws of N(0, 1)"
    assert entries[0]["generated"] == "prior001_generated.wav"
    few = quick(None, tmp_path / "b", prior_samples=2, seed=1, temperature=0.5)
    np.testing.assert_allclose([entry["z"] for entry in few], z[:2] / 2, rtol=1e-6)


def test_the_split_of_a_run_is_its_input(frozen_run, data_set, tmp_path, monkeypatch):
    monkeypatch.setattr(sounds, "BATCH_SIZE", 3)
    parts = {}
    for part in ("train", "interpolation", "extrapolation"):
        place = tmp_path / part
        generate(workdir=str(frozen_run), from_split=part, output_dir=place)
        parts[part] = [entry["input"] for entry in outputs(place)]
        assert all((place / entry["reference"]).is_file() for entry in outputs(place))
    assert [len(names) for names in parts.values()] == [6, 3, 3]
    assert set().union(*parts.values()) == {str(path) for path in imitations(data_set)}


CONTRADICTIONS = [
    (dict(interpolate=3, prior_samples=2), "each choose the sounds"),
    (dict(inputs=["x"], from_split="train", workdir="w"), "both name imitations"),
    (dict(inputs=["x"], prior_samples=2), "takes no imitation"),
    (dict(), "--inputs is empty"),
    (dict(from_split="train"), "needs --workdir"),
    (dict(from_split="test", workdir="w"), "--from_split is 'test'"),
    (dict(inputs=["x"], walk_steps=3), "give --walk_dimension too"),
    (dict(inputs=["x"], walk_dimension=1, variations=2), "leave it out here"),
    (dict(inputs=["x", "y"], interpolate=3, temperature=0.5), "draw none"),
    (dict(inputs=["x"], variations=2), "all the same sound: set --temperature"),
    (dict(prior_samples=2, temperature=0.0), "all the same sound"),
    (dict(prior_samples=2, window="loudest"), "there is none"),
    (dict(inputs=["x"], window="last"), "--window is 'last'"),
    (dict(inputs=["x"], variations=0), "--variations is 0"),
    (dict(inputs=["x", "y"], interpolate=1), "--interpolate is 1"),
    (dict(inputs=["x"], walk_dimension=-1), "--walk_dimension is -1"),
    (dict(inputs=["x"], walk_dimension=1, walk_steps=1), "--walk_steps is 1"),
    (dict(prior_samples=0), "--prior_samples is 0"),
    (dict(inputs=["x"], sample_rate_hz=32_000), "--sample_rate is 32000"),
    (dict(inputs=["x"], format="mp3"), "--format is 'mp3'"),
    (dict(inputs=["x"], format="flac", subtype="FLOAT"), "--subtype is 'FLOAT'.*PCM_24"),
    (dict(inputs=["x"], subtype="words"), "--subtype is 'WORDS'"),
    (dict(inputs=["x"], loudness_db=3.0), "--loudness_db is 3"),
    (dict(inputs=["x"], trim_db=-60.0), "--trim_db is -60"),
    (dict(inputs=["-", "x"]), "give it alone"),
]


@pytest.mark.parametrize(("options", "message"), CONTRADICTIONS, ids=lambda value: str(value))
def test_what_makes_no_sense_is_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message) as raised:
        generate(output_dir=tmp_path / "out", **options)
    assert "\n" not in str(raised.value) and os.listdir(tmp_path) == []


def test_an_interpolation_needs_two_inputs(quick, tmp_path):
    hums = [write_hum(tmp_path / f"{name}.wav") for name in "abc"]
    for some in (hums, hums[:1]):
        with pytest.raises(UserError, match="exactly two inputs, not"):
            quick(some, tmp_path / "out", interpolate=3)


def test_a_dimension_that_the_latent_does_not_have(quick, tmp_path):
    with pytest.raises(UserError, match="--walk_dimension is 2.*has 2 dimensions.*from 0 to 1"):
        quick(None, tmp_path / "out", walk_dimension=2)
    assert os.listdir(tmp_path) == []


# --- Whatever the input


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 96_000, 192_000])
def test_inputs_of_any_rate(quick, tmp_path, rate_hz):
    time_s = np.arange(rate_hz // 2) / rate_hz
    soundfile.write(tmp_path / "x.wav", 0.5 * np.sin(2 * np.pi * 440 * time_s), rate_hz)
    [entry] = quick([tmp_path / "x.wav"], tmp_path / "out")
    # The mean of |sine| is 2/π of its amplitude, and half a second is a twentieth of ten.
    assert entry["mu"][0] == pytest.approx(0.5 * 2 / np.pi / 20, rel=2e-3)
    heard, found_hz = soundfile.read(tmp_path / "out" / "01_x_input.wav")
    assert (len(heard), found_hz) == (-(-len(time_s) * 32_000 // rate_hz), 32_000)


def test_ten_milliseconds_are_enough(quick, tmp_path):
    soundfile.write(tmp_path / "x.wav", np.full(441, 0.1), 44_100)
    [entry] = quick([tmp_path / "x.wav"], tmp_path / "out")
    assert facts_of(tmp_path / "out")["heard_duration_s"] == pytest.approx(0.01)
    assert entry["mu"][0] == pytest.approx(0.1 / 1000, rel=0.05)


def facts_of(folder) -> dict:
    [facts] = json.loads((folder / "manifest.json").read_text("utf-8"))["inputs"]
    return facts


@pytest.fixture(scope="module")
def hour(tmp_path_factory):
    """An hour at 8 kHz: quiet noise, and ten seconds of louder noise at 40 minutes."""
    path = tmp_path_factory.mktemp("hour") / "hour.flac"
    rng = np.random.default_rng(0)
    minute = (0.01 * rng.standard_normal(60 * 8_000)).astype(np.float32)
    loud = minute.copy()
    loud[: 10 * 8_000] *= 20
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as target:
        for number in range(60):
            target.write(loud if number == 40 else minute)
    return path


def test_the_first_ten_seconds_of_an_hour(quick, hour, tmp_path, monkeypatch):
    num_read = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda self, frames=-1, *rest, **named: (
            num_read.append(frames) or read(self, frames, *rest, **named)
        ),
    )
    quick([hour], tmp_path / "out")
    assert sum(num_read) < 20 * 8_000, "only what is needed is read"
    facts = facts_of(tmp_path / "out")
    assert facts["file_duration_s"] == 3600
    assert (facts["heard_from_s"], facts["heard_duration_s"]) == (0, 10)


def test_the_loudest_ten_seconds_of_an_hour(quick, hour, tmp_path):
    [entry] = quick([hour], tmp_path / "out", window="loudest")
    facts = facts_of(tmp_path / "out")
    assert (facts["heard_from_s"], facts["heard_duration_s"]) == (2400, 10)
    # Resampling takes a little of the noise below 4 kHz away.
    assert entry["mu"][0] == pytest.approx(0.2 * np.sqrt(2 / np.pi), rel=0.05)


def test_silence_is_generated_and_warned_of(quick, tmp_path, capsys):
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16_000), 16_000)
    write_hum(tmp_path / "loud.wav")
    quick([tmp_path / "quiet.wav", tmp_path / "loud.wav"], tmp_path / "out")
    printed = capsys.readouterr().out
    assert "warning: " in printed and "quiet.wav is silent" in printed
    assert "loud.wav is silent" not in printed
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [facts["silent"] for facts in manifest["inputs"]] == [True, False]
    assert len(manifest["outputs"]) == 2


def test_standard_input(quick, tmp_path, monkeypatch):
    hum = write_hum(tmp_path / "x.flac")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(hum.read_bytes())))
    [piped] = quick(["-"], tmp_path / "piped")
    [named] = quick([hum], tmp_path / "named")
    assert (piped["input"], piped["generated"]) == ("-", "01_stdin_generated.wav")
    assert piped["mu"] == named["mu"]


@pytest.mark.parametrize("content", [b"", b"words"])
def test_standard_input_that_is_no_sound(quick, tmp_path, monkeypatch, content):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(UserError, match="on standard input") as raised:
        quick(["-"], tmp_path / "out")
    assert "/tmp" not in str(raised.value) and os.listdir(tmp_path) == []


def test_a_leading_dash(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_hum(Path("-x y.wav"))
    [entry] = quick(["-x y.wav"], tmp_path / "out")
    assert entry["generated"] == "01_-x y_generated.wav"


def test_a_fault_found_late_leaves_nothing(quick, tmp_path):
    for name in "abcdefghij":
        write_hum(tmp_path / "in" / f"{name}.wav")
    # Its beginning is sound; only reading all of it shows what is wrong.
    samples = np.full(32_000, 0.1, np.float32)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "in" / "z.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match="z.wav holds samples that are not finite"):
        quick([tmp_path / "in"], tmp_path / "out")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="z.wav"):
        quick([tmp_path / "in"], tmp_path / "kept")
    assert sorted(os.listdir(tmp_path)) == ["in", "kept"]
    assert os.listdir(tmp_path / "kept") == ["notes.txt"]


# --- A folder that holds earlier results


def runs_in(folder) -> list[dict]:
    return manifest.read(folder)


def test_earlier_results_are_refused_before_any_work(quick, tmp_path, monkeypatch):
    quick([write_hum(tmp_path / "a.wav")], tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr(mode, "load_model", lambda **_: pytest.fail("no work before"))
    absent = tmp_path / "absent.wav"  # nor a look at the inputs
    with pytest.raises(
        UserError, match="holds earlier results.*--existing=add.*=replace"
    ) as raised:
        quick([absent], tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert contents(tmp_path / "out") == before


def test_what_is_added_is_numbered_on_and_earlier_sounds_stay(quick, tmp_path):
    hums = [write_hum(tmp_path / f"{name}.wav", seed) for seed, name in enumerate("abc")]
    quick(hums[:2], tmp_path / "out", seed=1)
    before = contents(tmp_path / "out")
    first = json.loads(before.pop("manifest.json"))
    added = dict(seed=1, variations=2, temperature=0.5, format="flac")
    generate(inputs=[hums[0], hums[2]], output_dir=tmp_path / "out", checkpoint="x", **added,
             existing="add")  # fmt: skip
    after = contents(tmp_path / "out")
    found = json.loads(after["manifest.json"])
    assert found["runs"][0] == first, "a run's entry stays as it was"
    assert {name: after[name] for name in before} == before
    names = [f"{place}_variation0{i}_generated.flac" for place in ("03_a", "04_c") for i in (1, 2)]
    entries = found["runs"][1]["outputs"]
    assert [(entry["generated"], entry["place"]) for entry in entries] == [
        (name, 3 + number // 2) for number, name in enumerate(names)
    ]
    assert after.keys() - before.keys() == {
        *names, "03_a_input.wav", "04_c_input.wav", "manifest.json",
    }  # fmt: skip
    assert found["runs"][1]["settings"]["format"] == "flac" != first["settings"]["format"]
    assert [facts["place"] for facts in found["runs"][1]["inputs"]] == [3, 4]


def test_after_any_number_of_additions_the_manifest_lists_every_file(
    quick, frozen_run, data_set, tmp_path
):
    workdir, hums = str(frozen_run), [str(path) for path in imitations(data_set)[:2]]
    for options in [
        dict(inputs=hums[:1]),
        dict(inputs=hums, interpolate=2),
        dict(from_split="extrapolation"),
        dict(prior_samples=2),
        dict(walk_dimension=0, walk_steps=2),
        dict(inputs=hums[:1], format="flac"),
    ]:
        generate(workdir=workdir, output_dir=tmp_path / "out", existing="add", **options)
    runs = runs_in(tmp_path / "out")
    assert sorted(manifest.listed(runs)) == sorted(os.listdir(tmp_path / "out"))
    places = [facts["place"] for each in runs for facts in each["inputs"]]
    assert places == list(range(1, 8)), "counted through"
    for each in runs:
        assert each["model"] == runs[0]["model"]
        by_place = {facts["place"]: facts["input"] for facts in each["inputs"]}
        for entry in each["outputs"]:
            assert entry["input"] == by_place.get(entry["place"])


@pytest.mark.parametrize(
    ("options", "names", "differ"),
    [
        (dict(prior_samples=2), ["prior01", "prior02", "prior03", "prior04"], True),
        (dict(walk_dimension=0, walk_steps=2), ["walk01", "walk02", "walk03", "walk04"], False),
        (dict(variations=2, temperature=1.0), [
            "01_x_variation01", "01_x_variation02", "02_x_variation01", "02_x_variation02",
        ], True),
    ],
    ids=["prior", "walk", "variations"],
)  # fmt: skip
def test_noise_goes_on_with_the_numbers(quick, tmp_path, options, names, differ):
    inputs = [write_hum(tmp_path / "x.wav")] if "variations" in options else None
    for _ in range(2):
        generate(inputs=inputs, output_dir=tmp_path / "out", checkpoint="x", existing="add",
                 **options)  # fmt: skip
    first, second = (each["outputs"] for each in runs_in(tmp_path / "out"))
    assert [entry["generated"] for entry in first + second] == [f"{n}_generated.wav" for n in names]
    same = [a["z"] == b["z"] for a, b in zip(first, second)]
    assert same == [not differ] * 2, "drawn anew, from the same seed"


def test_an_interpolation_is_added_to_others_of_its_kind(quick, tmp_path):
    hums = [write_hum(tmp_path / f"{name}.wav") for name in "ab"]
    quick(None, tmp_path / "out", prior_samples=3)
    for _ in range(2):
        generate(inputs=hums, output_dir=tmp_path / "out", checkpoint="x", existing="add",
                 interpolate=2)  # fmt: skip
    names = [
        entry["generated"] for each in runs_in(tmp_path / "out")[1:] for entry in each["outputs"]
    ]
    assert names == [f"interpolation0{number}_generated.wav" for number in (1, 2, 3, 4)]


def test_numbers_grow_beyond_their_digits(quick, tmp_path):
    hum = write_hum(tmp_path / "x.wav")
    quick([hum] * 98, tmp_path / "out")
    generate(inputs=[hum] * 2, output_dir=tmp_path / "out", checkpoint="x", existing="add")
    names = [entry["generated"] for entry in runs_in(tmp_path / "out")[1]["outputs"]]
    assert names == ["099_x_generated.wav", "100_x_generated.wav"]


def test_replacing_removes_what_the_manifest_lists_and_nothing_else(quick, tmp_path):
    hums = [write_hum(tmp_path / f"{name}.wav", seed) for seed, name in enumerate("abc")]
    out = tmp_path / "out"
    quick(hums, out, variations=2, temperature=1.0)
    generate(inputs=hums[:2], output_dir=out, checkpoint="x", existing="add", interpolate=3)
    (out / "01_a_variation01_generated.txt").write_text("mine")
    write_hum(out / "01_mine_generated.wav")
    kept = {
        name: (out / name).read_bytes()
        for name in os.listdir(out)
        if ".txt" in name or "mine" in name
    }
    entries = quick([hums[1]], out, existing="replace")
    assert [entry["generated"] for entry in entries] == ["01_b_generated.wav"]
    made = {"01_b_generated.wav", "01_b_input.wav", "manifest.json"}
    assert contents(out).keys() == made | kept.keys()
    assert contents(out).items() >= kept.items()


@pytest.mark.parametrize("existing", ["add", "replace"])
def test_what_fails_leaves_earlier_results_as_they_were(quick, tmp_path, monkeypatch, existing):
    out = tmp_path / "out"
    quick([write_hum(tmp_path / "a.wav")], out)
    before = contents(out)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"words")

    def interrupted(self, z, **how):
        raise KeyboardInterrupt

    for inputs, error in [([bad], UserError), ([write_hum(tmp_path / "b.wav")], KeyboardInterrupt)]:
        monkeypatch.setattr(PlainModel, "decode", interrupted)
        with pytest.raises(error):
            quick(inputs, out, existing=existing)
        assert contents(out) == before


@pytest.mark.parametrize("existing", ["add", "replace"])
def test_where_nothing_is_there_it_is_as_without_the_flag(quick, tmp_path, existing):
    hum = write_hum(tmp_path / "x.wav")
    quick([hum], tmp_path / "plain")
    quick([hum], tmp_path / existing, existing=existing)
    assert contents(tmp_path / existing) == contents(tmp_path / "plain")


@pytest.mark.parametrize("name", ["01_x_generated.wav", "01_x_input.wav"])
@pytest.mark.parametrize("existing", [None, "add"])
def test_a_file_of_the_users_is_never_overwritten(quick, tmp_path, name, existing):
    hum = write_hum(tmp_path / "x.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    (tmp_path / "out" / "other.wav").write_text("mine too")
    with pytest.raises(UserError, match=f"{name} is there already") as raised:
        quick([hum], tmp_path / "out", existing=existing)
    assert "\n" not in str(raised.value)
    # Who adds wants to keep what is there.
    assert ("--existing=replace" in str(raised.value)) == (existing is None)
    assert contents(tmp_path / "out") == {name: b"mine", "other.wav": b"mine too"}
    quick([hum], tmp_path / "out", existing="replace")
    assert contents(tmp_path / "out")[name] != b"mine"
    assert contents(tmp_path / "out")["other.wav"] == b"mine too"


def test_an_input_is_not_removed_by_replacing(quick, tmp_path):
    quick([write_hum(tmp_path / "x.wav")], tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="01_x_generated.wav is an input"):
        quick([tmp_path / "out" / "01_x_generated.wav"], tmp_path / "out", existing="replace")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("existing", [None, "add", "replace"])
@pytest.mark.parametrize("content", [b"", b"{}", b'{"name": "my app", "icons": []}', b"[" * 10**5])
def test_a_manifest_from_elsewhere_is_refused(quick, tmp_path, existing, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match="out/manifest.json is no") as raised:
        quick([write_hum(tmp_path / "x.wav")], tmp_path / "out", existing=existing)
    assert "\n" not in str(raised.value) and "name another --output_dir" in str(raised.value)
    assert contents(tmp_path / "out") == {"manifest.json": content}


def test_two_that_add_at_once_both_do(quick, tmp_path, capsys):
    """The second waits: locks are between open files, so that two threads tell as much."""
    pytest.importorskip("fcntl")
    hum, out = write_hum(tmp_path / "x.wav"), tmp_path / "out"
    with ThreadPoolExecutor(2) as threads:
        options = dict(inputs=[hum], output_dir=out, checkpoint="x", existing="add")
        for done in [threads.submit(generate, **options) for _ in range(2)]:
            done.result()
    names = [entry["generated"] for each in runs_in(out) for entry in each["outputs"]]
    assert names == ["01_x_generated.wav", "02_x_generated.wav"]


@pytest.mark.parametrize("existing", [None, "replace"])
def test_while_another_writes_into_the_folder_it_is_refused(quick, tmp_path, existing):
    pytest.importorskip("fcntl")
    with output_folders.held(tmp_path / "out"):
        with pytest.raises(UserError, match="out is being written to by process"):
            quick([write_hum(tmp_path / "x.wav")], tmp_path / "out", existing=existing)


def test_a_word_that_existing_does_not_know(tmp_path):
    refused("--existing is 'append': set it to add or replace", tmp_path, ["x"], existing="append")


# --- The sound's finish


def test_the_finish_is_written_and_recorded(quick, tmp_path):
    hum = write_hum(tmp_path / "x.wav")
    options = dict(sample_rate_hz=48_000, format="flac", subtype="PCM_16")
    [entry] = quick([hum], tmp_path / "out", **options)
    info = soundfile.info(tmp_path / "out" / entry["generated"])
    assert (info.samplerate, info.format, info.subtype) == (48_000, "FLAC", "PCM_16")
    assert entry["duration_s"] == info.duration == pytest.approx(59_049 / 22_050, abs=1e-4)
    settings = json.loads((tmp_path / "out" / "manifest.json").read_text())["settings"]
    assert settings.items() >= options.items()


# --- The Python interface


def test_the_interface_agrees_with_the_command(run, data_set):
    model = qvae_jax.load(run[0])
    entry = outputs(run[1] / "0.0")[1]
    samples, rate_hz = soundfile.read(entry["input"], dtype="float32")
    found, _ = soundfile.read(run[1] / "0.0" / entry["generated"], dtype="float32")
    np.testing.assert_allclose(model.generate(samples, rate_hz), found, atol=1e-5)
    stereo = np.stack([samples, samples], axis=1)
    np.testing.assert_allclose(model.generate(stereo, rate_hz), found, atol=1e-5)
