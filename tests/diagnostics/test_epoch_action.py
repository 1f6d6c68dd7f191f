"""Diagnostics as an action of the training loop."""

import types

import pytest

from qvae_jax.diagnostics import epoch_action, files, probe
from snapshots import snapshot


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """A set-up whose probe finds what snapshots.py makes up."""
    monkeypatch.setattr(probe, "make_probe", lambda *given: None)
    monkeypatch.setattr(probe, "examine", lambda *given: snapshot().arrays)
    return types.SimpleNamespace(
        workdir=tmp_path,
        config=types.SimpleNamespace(
            diagnostics=types.SimpleNamespace(every_epochs=3, num_examples=6)
        ),
        prepared=types.SimpleNamespace(
            parts=dict.fromkeys(("train", "interpolation", "extrapolation"))
        ),
        validated=["interpolation", "extrapolation"],
        steps_per_epoch=2,
        batch_size=2,
        **dict.fromkeys(("loss", "step_options", "placement", "names")),
    )


def test_an_epoch_is_done_once_it_is_written(setup):
    action = epoch_action.diagnostics_action(setup, 0)
    assert action.every_epochs == 3 and not action.is_done(setup, 3)
    action.act(setup, None, None, 3, 6)
    assert action.is_done(setup, 3) and not action.is_done(setup, 2)
    [found] = files.read_all(setup.workdir)
    assert (found.epoch, found.step, found.parts) == (3, 6, tuple(setup.validated))
    (setup.workdir / "diagnostics" / "epoch_0003.png").unlink()
    assert not action.is_done(setup, 3), "its picture comes last"


def test_what_an_earlier_attempt_wrote_of_later_epochs_is_removed(setup):
    action = epoch_action.diagnostics_action(setup, 0)
    for epoch in (3, 6):
        action.act(setup, None, None, epoch, 2 * epoch)
    action = epoch_action.diagnostics_action(setup, 7)  # in the fourth epoch
    assert action.is_done(setup, 3) and not action.is_done(setup, 6)


def test_what_cannot_be_removed_ends_no_run(setup, capsys):
    (setup.workdir / "diagnostics" / "epoch_0009.png").mkdir(parents=True)
    action = epoch_action.diagnostics_action(setup, 0)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "epoch_0009.png" in said and "; the run goes on." in said
    action.act(setup, None, None, 3, 6)
    assert action.is_done(setup, 3)
