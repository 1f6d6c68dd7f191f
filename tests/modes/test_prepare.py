"""`--mode=prepare`: what it says, and that a kill costs nothing."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

import small_run
from qvae_jax.modes.prepare import prepare
from qvae_jax.modes.requests import PrepareRequest
from qvae_jax.system.errors import UserError

REPOSITORY = pathlib.Path(__file__).parents[2]


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

    def started(cache: str) -> subprocess.Popen:
        settings = {
            "data.dataset_dir": own_data_set,
            "data.cache_dir": tmp_path / cache,
            "data.input_duration_s": config.data.input_duration_s,
            "data.num_processes": num_processes,
            "model.encoder_width": config.model.encoder_width,
        }
        flags = [f"--config.{name}={value}" for name, value in settings.items()]
        code = (
            "from absl import app; from qvae_jax import command_line as c; "
            "from qvae_jax.data import cache; cache.COMMIT_INTERVAL_S = 0.05; "
            "app.run(c.main, flags_parser=c.parse_flags)"
        )
        command = [sys.executable, "-c", code, "--mode=prepare", "--config=configs/vimsketch.py"]
        return subprocess.Popen(command + flags, cwd=REPOSITORY, stdout=subprocess.DEVNULL)

    def finished(cache: str) -> int:
        manifests = list((tmp_path / cache).rglob("logmels*.json"))
        return len(json.loads(manifests[0].read_text())["rows"]) if manifests else 0

    assert started("undisturbed").wait() == 0
    for num_rows in (1, 60, 150, 290):
        process = started("disturbed")
        while finished("disturbed") < num_rows and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert finished("disturbed") >= num_rows
    assert finished("disturbed") < 312, "it was never killed in time"
    assert started("disturbed").wait() == 0
    for name in ("targets.npy", "targets.json", "logmels*.npy", "logmels*.json"):
        found, expected = (
            next((tmp_path / cache).rglob(name)).read_bytes()
            for cache in ("disturbed", "undisturbed")
        )
        assert found == expected, name
