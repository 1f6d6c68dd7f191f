"""What a run is made of: versions, what happened to its settings, and its parameters."""

import subprocess

import numpy as np
from flax import nnx

from qvae_jax import runs
from qvae_jax.models import layers, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.system import files
from qvae_jax.training import environment, optimizer
from qvae_jax.training.environment import ALL_PARTS, Count


def test_the_environment_names_versions_commit_and_devices(tmp_path):
    environment.record_environment(tmp_path)
    found = files.read_json(tmp_path / runs.ENVIRONMENT_FILE)
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


def test_each_part_is_counted_once_and_in_order():
    trainable = {"encoder.features.16.kernel": np.ones((2, 3)), "decoder.final.bias": np.ones(4)}
    frozen = {"encoder.features.2.norm.scale": np.ones(5), "mu_head.bias": np.ones(1)}
    names = (
        "encoder.features.2.norm.scale",
        "encoder.features.16.kernel",
        "mu_head.bias",
        "decoder.final.bias",
    )
    assert list(environment.count_by_part(trainable, frozen, names).items()) == [
        ("encoder layer 2", Count(0, 5)),
        ("encoder layer 16", Count(6, 0)),
        ("mu_head", Count(0, 1)),
        ("decoder", Count(4, 0)),
        (ALL_PARTS, Count(10, 6)),
    ]


def test_the_table_of_a_whole_model_adds_up():
    model = QVAE(QVAEConfig(encoder_width=0.1), rng=None)
    params = variables.split(model)[1].params
    given = optimizer.split_trainable(params, frozenset({15, 16}))
    counts = environment.count_by_part(*given, variables.names_in_order(model))
    lines = environment.parameter_table(counts).splitlines()
    total = counts.pop(ALL_PARTS)
    assert sum(total) == sum(array.size for array in params.values())
    assert total == Count(*map(sum, zip(*counts.values())))
    assert [part for part, count in counts.items() if count.trainable] == [
        "encoder layer 15",
        "encoder layer 16",
        "mu_head",
        "logvar_head",
        "decoder",
    ]
    assert len(lines) == 1 + len(counts) + 1 and len(counts) == 17 + 4
    assert lines[-1].split() == ["all", f"{sum(total):,}", f"{total.trainable:,}"]


def test_a_part_that_is_not_known_here_is_counted_too():
    class Model(nnx.Module):
        def __init__(self):
            rng = np.random.default_rng(0)
            self.gesture = layers.Linear(2, 3, kernel_init=lambda *_: np.ones((2, 3)), rng=rng)

    params = variables.split(Model())[1].params
    counts = environment.count_by_part(params, {}, list(params))
    assert counts == {"gesture": Count(9, 0), ALL_PARTS: Count(9, 0)}
