"""Runs that are killed at random moments and go on: they end as if nothing had happened."""

import os
import pathlib
import random
import signal

import jax
import numpy as np
import pytest

import killed_run
import small_run
from killed_run import start
from qvae_jax.models import stored

KILLS_IN_A_RUN = 12


def final(workdir) -> dict:
    kept = stored.Checkpoints(workdir / "checkpoints")
    tree = kept.restore(kept.latest_step)
    kept.close()
    return tree | {"steps": sorted(os.listdir(workdir / "checkpoints"))}


def assert_same_run(found: pathlib.Path, expected: pathlib.Path) -> None:
    jax.tree.map(np.testing.assert_array_equal, final(found), final(expected))
    assert small_run.measured(found) == small_run.measured(expected)
    sounds = sorted(path.relative_to(expected) for path in expected.rglob("*.wav"))
    assert sounds and sounds == sorted(path.relative_to(found) for path in found.rglob("*.wav"))
    for sound in sounds:
        assert (found / sound).read_bytes() == (expected / sound).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(data_set, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    assert start(data_set, workdir) == 0
    return workdir


@pytest.mark.slow
def test_a_run_killed_in_a_step_and_in_a_save_ends_the_same(data_set, undisturbed, tmp_path):
    for moment in (("step", 5, 0.1), ("save", 2, 0.05), ("log", 1, 0.0)):
        assert start(data_set, tmp_path / "run", *moment) == -signal.SIGKILL, moment
    assert start(data_set, tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_runs_killed_at_fifty_random_moments_end_the_same(data_set, undisturbed, tmp_path):
    chance, kills, run = random.Random(0), dict.fromkeys(killed_run.PHASES, 0), 0
    while sum(kills.values()) < 50:
        run += 1
        workdir, in_this_run = tmp_path / f"run_{run}", 0
        while in_this_run < KILLS_IN_A_RUN and sum(kills.values()) < 50:
            phase, duration_s = chance.choice(list(killed_run.PHASES.items()))
            moment = (phase, chance.choice((1, 1, 2)), chance.uniform(0, duration_s))
            if start(data_set, workdir, *moment) == 0:
                break
            kills[phase] += 1
            in_this_run += 1
        assert start(data_set, workdir) == 0
        assert_same_run(workdir, undisturbed)
    print(f"{kills} in {run} runs")
