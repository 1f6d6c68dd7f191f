"""`--mode=prepare`: what it says, and that a kill costs nothing."""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import small_run
from qvae_jax.modes.prepare import prepare
from qvae_jax.modes.requests import PrepareRequest
from qvae_jax.system.errors import UserError

REPOSITORY = pathlib.Path(__file__).parents[2]
# The command, which ends as soon as so many rows of log-mels are on disk.
KILLED = """
import os, signal
from absl import app
from qvae_jax import command_line
from qvae_jax.data import cache

write_manifest = cache._write_manifest

def killed(path, recipe, finished):
    write_manifest(path, recipe, finished)
    if path.name.startswith("logmels") and len(finished) >= {num_rows}:
        os.kill(os.getpid(), signal.SIGKILL)

cache.COMMIT_INTERVAL_S = 0.0
cache._write_manifest = killed
app.run(command_line.main, flags_parser=command_line.parse_flags)
"""


@pytest.mark.parametrize("encoder", ["frozen", "fine_tuned"])
def test_the_mode_prepares_what_training_reads(own_data_set, tmp_path, capsys, reads, encoder):
    prepare(small_run.config(own_data_set, encoder), PrepareRequest())
    told = capsys.readouterr().out
    assert "6 train, 3 interpolation, 3 extrapolation" in told
    assert str(tmp_path / "cache") in told and len(reads) == 16
    reads.clear()
    prepare(small_run.config(own_data_set, encoder), PrepareRequest())
    assert reads == []


def test_the_mode_refuses_a_config_that_makes_no_sense(own_data_set):
    with pytest.raises(UserError, match="training.batch_size is 0"):
        prepare(small_run.config(own_data_set, **{"training.batch_size": 0}), PrepareRequest())


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_killed_again_and_again_it_ends_with_the_same_bytes(own_data_set, tmp_path, num_processes):
    """The whole mode, readers included, killed at several moments and on its last row."""
    imitations = own_data_set / "vocal_imitations"
    rng = np.random.default_rng(0)
    for number in range(100, 400):
        noise = rng.uniform(-0.5, 0.5, rng.integers(100, 100_000))
        soundfile.write(imitations / f"{number:05d}_sound {number % 4}, a_tone.wav", noise, 44_100)
    config = small_run.config(own_data_set, "fine_tuned")

    def status(cache: str, killed_at: int = 1000) -> int:
        settings = {
            "data.dataset_dir": own_data_set,
            "data.cache_dir": tmp_path / cache,
            "data.input_duration_s": config.data.input_duration_s,
            "data.num_processes": num_processes,
            "model.encoder_width": config.model.encoder_width,
        }
        flags = [f"--config.{name}={value}" for name, value in settings.items()]
        code = KILLED.format(num_rows=killed_at)
        command = [sys.executable, "-c", code, "--mode=prepare", "--config=configs/vimsketch.py"]
        process = subprocess.run(command + flags, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        return process.returncode

    def finished(cache: str) -> int:
        manifests = list((tmp_path / cache).rglob("logmels*.json"))
        return len(json.loads(manifests[0].read_text())["rows"]) if manifests else 0

    assert status("undisturbed") == 0
    for num_rows in (1, 60, 150, 290):
        assert status("disturbed", killed_at=num_rows) == -signal.SIGKILL
        assert num_rows <= finished("disturbed") < 312
    assert status("disturbed") == 0
    for name in ("targets.npy", "targets.json", "logmels*.npy", "logmels*.json"):
        found, expected = (
            next((tmp_path / cache).rglob(name)).read_bytes()
            for cache in ("disturbed", "undisturbed")
        )
        assert found == expected, name
