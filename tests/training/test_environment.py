"""What a run was made with, and what happened to its settings."""

import subprocess

from qvae_jax.system import files
from qvae_jax.training import environment


def test_the_environment_names_versions_commit_and_devices(tmp_path):
    environment.record_environment(tmp_path)
    found = files.read_json(tmp_path / environment.ENVIRONMENT_FILE)
    assert {"jax", "flax", "orbax-checkpoint", "numpy"} <= found["packages"].keys()
    assert all(version for version in found["packages"].values())
    assert found["processes"] == 1 and "cpu" in found["devices"]


def test_the_commit_is_that_of_the_code(monkeypatch):
    answers = {"rev-parse": "abc", "status": ""}
    monkeypatch.setattr(environment, "_git", lambda folder, command, *rest: answers[command])
    assert environment.git_commit() == "abc"
    answers["status"] = " M train.py"
    assert environment.git_commit() == "abc+"


def test_outside_a_repository_there_is_no_commit(monkeypatch, tmp_path):
    def run(*arguments, **options):
        raise subprocess.CalledProcessError(128, arguments)

    monkeypatch.setattr(subprocess, "run", run)
    assert environment.git_commit() is None


def test_an_event_that_happened_twice_at_once_is_kept_once(tmp_path):
    first, second = {"step": 1, "changed": {}}, {"step": 2, "changed": {}}
    for event in (first, first, second, first):
        environment.record_event(tmp_path, event)
    assert environment.read_history(tmp_path) == [first, second, first]
