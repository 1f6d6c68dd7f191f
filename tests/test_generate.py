"""Generating: what is written for which inputs, the same each time, and nothing overwritten."""

import io
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import small_run
from qvae_jax import configuration, prepare
from qvae_jax import generate as mode
from qvae_jax.audio.files import read_audio
from qvae_jax.errors import UserError
from qvae_jax.generate import generate, load_model, split_inputs
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.training import checkpoints, start
from qvae_jax.training.checkpoints import RunCheckpoints


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
    """Generates without a model: audio, μ and logvar tell the place of the input in the list."""
    config = QVAEConfig(encoder_width=0.1, latent_dim=2)

    def synthesise(model_config, model_variables, paths, *, temperature, seed):
        for place, path in enumerate(paths):
            read_audio(path, 32_000)
            yield mode.Generated(
                np.full(59_049, place / 100, np.float32), np.full(2, place), np.zeros(2)
            )

    monkeypatch.setattr(mode, "synthesise", synthesise)
    monkeypatch.setattr(mode, "load_model", lambda **_: (config, Variables({}, {})))

    def quickly(inputs, output_dir, **options):
        generate(inputs=[str(i) for i in inputs], output_dir=output_dir, checkpoint="x", **options)
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
        expected = prepare.target_audio(data_set / "references" / "000_sound 0, a_tone.wav")
        np.testing.assert_array_equal(reference, expected)


def test_the_sound_is_that_of_mu_and_of_the_best_checkpoint(run):
    workdir, folder = run
    kept = RunCheckpoints(workdir, read_only=True)
    best = kept.restore(kept.best_step)
    assert kept.best_step != kept.latest_step
    kept.close()
    model_config, loaded = load_model(workdir=str(workdir))
    for name, array in best["params"].items():
        np.testing.assert_array_equal(loaded.params[name], array)
    graphdef, _ = variables.split(QVAE(model_config, rng=None))
    decode = jax.jit(lambda given, z: variables.merge(graphdef, given).decode(z))
    entries = outputs(folder / "0.0")
    expected = decode(loaded, jnp.asarray([entry["mu"] for entry in entries], jnp.float32))
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
    sounds = {
        name: [contents(folder)[entry["generated"]] for entry in outputs(folder)]
        for name, folder in {
            "mean, seed 5": run[1] / "0.0",
            "mean, seed 6": tmp_path / "mean",
            "varied, seed 5": run[1] / "1.0",
            "varied, seed 6": tmp_path / "other",
        }.items()
    }
    assert sounds["mean, seed 5"] == sounds["mean, seed 6"]
    for i in range(3):
        assert len({found[i] for found in sounds.values()}) == 3
    latents = [[entry["mu"] for entry in outputs(run[1] / f"{t}")] for t in (0.0, 1.0)]
    assert latents[0] == latents[1], "μ is the input's, whatever the noise"


def test_several_batches_equal_one_by_one(data_set, monkeypatch):
    # Features of an early layer, for two programs are to be compiled.
    config = small_run.config(data_set, **{"model.feature_space": "1"})
    model_config = configuration.model_config(config)
    fresh = start.initial_variables(config, model_config)
    paths = imitations(data_set)[:5]

    def by_batches_of(batch_size: int) -> list[mode.Generated]:
        monkeypatch.setattr(mode, "BATCH_SIZE", batch_size)
        return list(mode.synthesise(model_config, fresh, paths, temperature=1.0, seed=5))

    several, one_by_one = by_batches_of(3), by_batches_of(1)
    assert len(several) == len(one_by_one) == 5
    for many, one in zip(several, one_by_one):
        np.testing.assert_allclose(many.audio, one.audio, atol=1e-5)
        np.testing.assert_allclose(many.mu, one.mu, atol=1e-5)
        np.testing.assert_allclose(many.logvar, one.logvar, atol=1e-5)
    assert not np.allclose(several[0].audio, several[3].audio, atol=1e-3)


def test_the_heard_sound_is_padded_or_cut(run, tmp_path):
    model_config, loaded = load_model(workdir=str(run[0]))
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) / 10
    sounds = {
        "long": noise,
        "cut": noise[:32_000],
        "short": noise[:3_000],
        "padded": np.pad(noise[:3_000], (0, 29_000)),
    }

    def mu_of(*names: str) -> list[np.ndarray]:
        paths = [tmp_path / f"{name}.wav" for name in names]
        for name, path in zip(names, paths):
            soundfile.write(path, sounds[name], 32_000, subtype="FLOAT")
        return [sound.mu for sound in mode.synthesise(model_config, loaded, paths)]

    long, cut, short = mu_of("long", "cut", "short")
    np.testing.assert_array_equal(long, cut)
    np.testing.assert_array_equal(mu_of("cut", "padded", "short")[1:], [short, short])
    assert not np.array_equal(short, cut)


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
    for place, entry in enumerate(entries):
        audio, _ = soundfile.read(tmp_path / "out" / entry["generated"])
        assert audio[0] == pytest.approx(place / 100, abs=1e-6)


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
    for _ in range(2):
        entries = quick([tmp_path / "in"], tmp_path / "in" / "out")
        assert [entry["input"] for entry in entries] == [str(path)]
    with pytest.raises(UserError, match="holds no audio file outside"):
        quick([tmp_path / "in" / "out" / ".."], tmp_path / "in" / "..")


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
    expected = prepare.target_audio(own / "references" / "001_sound 1, a_tone.wav")
    np.testing.assert_array_equal(found, expected)


def test_a_reference_is_found_in_the_runs_data_set(data_set, frozen_run, tmp_path):
    same_name = write_hum(tmp_path / imitations(data_set)[4].name)
    other_name = write_hum(tmp_path / "00099_sound 1, a_tone.wav")
    found = mode._references([same_name, other_name], str(frozen_run))
    assert found == [data_set / "references" / "001_sound 1, a_tone.wav", None]
    assert mode._references([same_name], None) == [None]


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
        ([], "--inputs is empty"),
    ]:
        with pytest.raises(UserError, match=message):
            quick(inputs, tmp_path / "out")
    refused("--inputs is empty", tmp_path, ["a.wav", ""], checkpoint="x")
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


def test_a_model_of_nan_makes_no_sound(frozen_run, data_set):
    model_config, loaded = load_model(workdir=str(frozen_run))
    broken = Variables(
        loaded.params | {"mu_head.bias": np.full(4, np.nan, np.float32)}, loaded.batch_stats
    )
    with pytest.raises(UserError, match="not finite of .*00000_sound 0"):
        list(mode.synthesise(model_config, broken, imitations(data_set)[:3]))


def test_a_ported_model_generates_too(run, data_set, tmp_path):
    model_config, loaded = load_model(workdir=str(run[0]))
    description = {"kind": "qvae", "model": json.loads(json.dumps(vars_of(model_config)))}
    checkpoints.save_model(tmp_path / "model", description, loaded)
    generate(
        checkpoint=str(tmp_path / "model"),
        inputs=[str(path) for path in imitations(data_set)[:3]],
        output_dir=tmp_path / "out",
        seed=5,
    )
    assert contents(tmp_path / "out") == contents(run[1] / "0.0")


def vars_of(model_config: QVAEConfig) -> dict:
    return {**vars(model_config), "front_end": vars(model_config.front_end)}


# --- Commas in --inputs


def test_commas_separate_inputs_unless_a_file_is_named_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "x,y.wav", "x,y.wav,z.wav", "d,e"):
        (tmp_path / name).write_text("")
    assert split_inputs("a.wav") == ["a.wav"]
    assert split_inputs("a.wav,b.wav") == ["a.wav", "b.wav"]
    assert split_inputs("x,y.wav") == ["x,y.wav"]
    assert split_inputs("a.wav,x,y.wav,c.wav") == ["a.wav", "x,y.wav", "c.wav"]
    assert split_inputs("x,y.wav,z.wav") == ["x,y.wav,z.wav"], "the longest name wins"
    assert split_inputs("a.wav, x,y.wav , d,e") == ["a.wav", "x,y.wav", "d,e"]
    assert split_inputs("a.wav,,") == ["a.wav", "", ""] and split_inputs("") == [""]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.text("ab,.", min_size=1, max_size=6), min_size=1, max_size=80))
def test_nothing_of_the_inputs_is_lost(names):
    text = "/absent/" + ",/absent/".join(names)
    assert ",".join(split_inputs(text)) == text
