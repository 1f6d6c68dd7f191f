"""Folders that earlier code wrote (tests/fixtures/README.md) work in every mode, with its results."""

import json
import os
import pathlib
import shutil
from unittest import mock

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import golden_rules
import qvae_jax
import small_run
from qvae_jax import command_line
from qvae_jax.audio.files import write_wav

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
RATE_HZ = 32_000
LARGEST_DIFFERENCE = 1e-4  # of float32 on another processor; sounds peak at about 1
MEASURED = ("multi_resolution_stft", "spectral", "mel", "waveform", "kl")


@pytest.fixture(scope="module")
def expected():
    """What the code of that day made of the folders."""
    with np.load(FIXTURES / "expected.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def imitation():
    """One second of a chirp."""
    return golden_rules.signals(1, RATE_HZ, RATE_HZ, 1)[0]


@pytest.fixture
def run(tmp_path):
    """A copy of the old run, its data set inside it."""
    workdir = shutil.copytree(FIXTURES / "run", tmp_path / "run")
    small_run.write_data_set(workdir / "dataset")
    return workdir


@pytest.fixture
def command(monkeypatch, capsys):
    """command(flag, …): what a mode prints, called in this process with these flags."""
    monkeypatch.chdir(FIXTURES.parents[1])  # config files import configs from there

    def run_command(*arguments):
        capsys.readouterr()
        with flagsaver.flagsaver(), mock.patch.dict(os.environ):
            left = command_line.parse_flags(["main.py", *map(str, arguments)])
            assert left == ["main.py"]
            command_line.run_mode(flags.FLAGS.mode)
        return capsys.readouterr().out

    return run_command


def read_json(path):
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("name", ["run", "ported"])
def test_a_model_makes_the_same_sound(name, expected, imitation):
    model = qvae_jax.load(FIXTURES / name)
    audio = model.generate(imitation, RATE_HZ)[::81]
    assert np.abs(audio - expected[f"{name}_audio"]).max() < LARGEST_DIFFERENCE


@pytest.mark.parametrize("flag, name", [("workdir", "run"), ("checkpoint", "ported")])
def test_generate(flag, name, command, expected, imitation, tmp_path):
    write_wav(tmp_path / "hum.wav", imitation, RATE_HZ)
    command(
        "--mode=generate", f"--{flag}={FIXTURES / name}",
        f"--inputs={tmp_path / 'hum.wav'}", f"--output_dir={tmp_path / 'out'}",
    )  # fmt: skip
    (sound,) = read_json(tmp_path / "out" / "manifest.json")["outputs"]
    assert np.abs(np.array(sound["z"]) - expected[f"{name}_mu"]).max() < LARGEST_DIFFERENCE
    assert (tmp_path / "out" / "01_hum_generated.wav").is_file()


def test_evaluate(run, command, expected):
    command("--mode=evaluate", f"--workdir={run}", "--from_split=extrapolation")
    found = read_json(run / "evaluation" / "extrapolation.json")["systems"]["model"]
    for name in MEASURED:
        assert found[name]["value"] == pytest.approx(expected[f"evaluated_{name}"], rel=1e-3)


def test_visualise(run, command):
    command("--mode=visualise", f"--workdir={run}", "--num_samples=1")
    assert (run / "visualise" / "index.html").stat().st_size > 10_000
    for part in ("train", "interpolation", "extrapolation"):
        assert (run / "visualise" / f"{part}_01.png").is_file()


def test_diagnose(run, command):
    said = command("--mode=diagnose", f"--workdir={run}")
    assert (run / "diagnostics" / "history.png").is_file()
    assert "epoch" in said and "interpolation" in said


def test_a_run_goes_on(run, command, expected):
    said = command("--mode=train", f"--config={old_config(run, num_epochs=3)}", f"--workdir={run}")
    assert "going on from step 6" in said
    (entry,) = [e for e in small_run.measured(run) if (e["step"], e["part"]) == (7, "train")]
    # The first step after the checkpoint; later ones part, as they do when one bit changes.
    assert entry["total"] == pytest.approx(float(expected["step_7_total"]), rel=1e-3)


def test_a_run_is_reset(run, command):
    command(
        "--mode=train", f"--config={old_config(run, num_epochs=1)}", f"--workdir={run}",
        "--reset_epoch",
    )  # fmt: skip
    assert (run / "before_reset_1" / "checkpoints" / "6").is_dir()
    assert (run / "checkpoints" / "3").is_dir()


def test_the_way_back_to_torch(tmp_path):
    torch = pytest.importorskip("torch")
    from weight_port.__main__ import main

    assert main(["--to_torch", str(FIXTURES / "ported"), str(tmp_path / "model.pt")]) == 0
    state = torch.load(tmp_path / "model.pt", weights_only=True)["state_dict"]
    assert state["decoder.conv11.weight"].shape == (512, 4, 3)


def test_the_way_back_of_a_narrow_decoder_is_refused(tmp_path, capsys):
    pytest.importorskip("torch")
    from weight_port.__main__ import main

    assert main(["--to_torch", str(FIXTURES / "run"), str(tmp_path / "m.pt")]) == 1
    error = capsys.readouterr().err
    assert "decoder of width 0.05" in error and error.count("\n") == 1


def old_config(workdir, **training):
    """A config file beside the run, of the settings that it records."""
    path = workdir.parent / "config.py"
    path.write_text(
        "import json, pathlib\n"
        "from configs import vimsketch\n"
        "def get_config():\n"
        "    config = vimsketch.get_config()\n"
        f"    recorded = json.loads(pathlib.Path({str(workdir / 'config.json')!r}).read_text())\n"
        "    with config.unlocked():\n"
        "        config.update(recorded)\n"
        f"        config.training.update({training!r})\n"
        "    return config\n"
    )
    return path
