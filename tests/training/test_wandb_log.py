"""Weights & Biases: what reaches it, and that nothing of it ends a run."""

import importlib.metadata
import json
import os
import sys
import types
from typing import Literal

import numpy as np
import pytest

import small_run
from qvae_jax.runs import WANDB_FILE, read_metrics
from qvae_jax.system.errors import UserError
from qvae_jax.training import wandb_log
from qvae_jax.training.metrics_log import Logs, open_log
from qvae_jax.training.wandb_log import WandbLog


class Run:
    """A wandb run that remembers what it is given; `failing` names the methods that raise."""

    def __init__(self, step: int = 0, failing: tuple[str, ...] = ()):
        self.step, self.failing, self.logged, self.finished = step, failing, [], 0

    def log(self, values: dict, step: int) -> None:
        if "log" in self.failing:
            raise ConnectionError("network is unreachable\nsecond line")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1
        if "finish" in self.failing:
            raise TimeoutError("timed out")


@pytest.fixture
def fake(monkeypatch):
    """A module in wandb's place; `run` is what its init gives, `inits` how it was called."""
    module = types.SimpleNamespace(run=Run(), inits=[], Settings=lambda **values: values)
    module.Audio = lambda samples, sample_rate: ("audio", len(samples), sample_rate)

    def init(**arguments):
        module.inits.append(arguments)
        if "init" in module.run.failing:
            raise RuntimeError("no API key")
        return module.run

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def opened(workdir, project: str = "sounds", settings: dict | None = None) -> Logs:
    """A run's logs with wandb alone among them."""
    return Logs(wandb=lambda: WandbLog(workdir, project, settings or {}))


def log_all(log) -> None:
    log.write(1, "train", {"total": 2.0, "kl": 0.5}, epoch=1)
    log.write(2, "interpolation", {"total": 3.0})
    log.write_audio(2, "train_01", np.zeros(9, np.float32), 22_050)
    log.flush()


def test_a_setting_that_wandb_refuses_is_named(tmp_path, fake, capsys):
    pydantic = pytest.importorskip("pydantic", reason="comes with wandb")
    settings = pydantic.create_model("Settings", mode=(Literal["online", "offline"], ...))
    fake.Settings = lambda **given: settings(mode="nonsense")
    opened(tmp_path).close()
    told = capsys.readouterr().out
    assert told.startswith("wandb failed (of its settings, mode: Input should be 'online' or")
    assert told.count("\n") == 1


def test_numbers_and_audio_reach_wandb(tmp_path, fake):
    log = opened(tmp_path, settings={"training": {"seed": 3}})
    log_all(log)
    log.close()
    log.close()
    assert fake.run.logged == [
        (1, {"train/total": 2.0, "train/kl": 0.5, "epoch": 1}),
        (2, {"interpolation/total": 3.0}),
        (2, {"audio/train_01": ("audio", 9, 22_050)}),
    ]
    [arguments] = fake.inits
    assert arguments["project"] == "sounds" and arguments["dir"] == str(tmp_path)
    assert arguments["config"] == {"training": {"seed": 3}} and fake.run.finished == 1


def test_a_resumed_run_goes_on_in_the_same_wandb_run_and_repeats_nothing(tmp_path, fake):
    opened(tmp_path).close()
    fake.run = Run(step=2)  # wandb has step 1
    log_all(opened(tmp_path))
    first, second = fake.inits
    assert first["id"] == second["id"] and second["resume"] == "allow"
    assert [step for step, _ in fake.run.logged] == [2, 2]


@pytest.mark.parametrize(
    "recorded", ["[]", "{}", '{"project": "sounds"}', '{"project": "sounds", "id": 3}']
)
def test_another_project_or_a_record_of_something_else_gets_a_new_run(tmp_path, fake, recorded):
    (tmp_path / WANDB_FILE).write_text(recorded)
    opened(tmp_path)
    opened(tmp_path, "other")
    first, second = fake.inits
    assert first["id"] and second["id"] and first["id"] != second["id"]
    assert json.loads((tmp_path / WANDB_FILE).read_text()) == {
        "project": "other",
        "id": second["id"],
    }


@pytest.mark.parametrize("failing", ["init", "log", "finish"])
def test_a_failure_is_said_once_and_ends_nothing(tmp_path, fake, capsys, failing):
    fake.run = Run(failing=(failing,))
    log = opened(tmp_path)
    log_all(log)
    log_all(log)
    log.close()
    told = capsys.readouterr()
    assert told.out.count("wandb failed (") == 1 and told.out.count("\n") == 1 and told.err == ""


@pytest.mark.parametrize(("project", "count"), [("sounds", 1), ("", 0)], ids=["set", "empty"])
def test_the_log_of_a_run_writes_to_wandb_where_the_config_says_so(tmp_path, fake, project, count):
    config = small_run.config(tmp_path, **{"logging.wandb": project})
    log = open_log(tmp_path, 0, config)
    log_all(log)
    log.close()
    assert len(read_metrics(tmp_path)) == 2 and os.path.exists(tmp_path / "tensorboard")
    assert len(fake.inits) == count and len(fake.run.logged) == 3 * count
    assert os.path.exists(tmp_path / WANDB_FILE) == bool(count)


def test_a_process_that_does_not_write_opens_nothing(tmp_path, fake, monkeypatch):
    monkeypatch.setattr("qvae_jax.training.hosts.is_writer", lambda: False)
    log = open_log(tmp_path, 0, small_run.config(tmp_path, **{"logging.wandb": "sounds"}))
    log_all(log)
    log.close()
    assert os.listdir(tmp_path) == [] and fake.inits == []


def test_a_project_without_wandb_is_the_users_to_mend(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    wandb_log.check("")
    with pytest.raises(UserError, match="logging.wandb is 'sounds', but .*pip install wandb"):
        wandb_log.check("sounds")


# --- With wandb itself


@pytest.fixture
def wandb(monkeypatch):
    """wandb, offline."""
    module = pytest.importorskip("wandb", reason="wandb is optional and not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield module
    module.teardown()  # or the next test would have the settings of this one


def test_offline_runs_lie_in_the_workdir_under_one_id(tmp_path, wandb, capfd):
    for _ in range(2):
        log = opened(tmp_path, settings=small_run.config(tmp_path).to_dict())
        log_all(log)
        log.close()
    wandb.teardown()  # waits for wandb's own process, which writes the files
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")
    run_id = json.loads((tmp_path / WANDB_FILE).read_text())["id"]
    files = list((tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))
    assert files and all(b"train/total" in path.read_bytes() for path in files)
    assert len(list((tmp_path / "wandb").rglob("*.wav"))) >= 1


def test_a_server_that_cannot_be_reached_ends_nothing(tmp_path, wandb, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_log, "INIT_TIMEOUT_S", 2.0)
    monkeypatch.setattr(wandb_log, "FINISH_TIMEOUT_S", 2.0)
    log = opened(tmp_path)
    log_all(log)
    log.close()
    assert capsys.readouterr().out.count("wandb failed (") == 1
