"""The ends of epochs: what comes first, what may fail, and what a killed run makes up for."""

import signal
import types

import jax
import pytest

from qvae_jax.system.errors import UserError
from qvae_jax.training import loop
from qvae_jax.training.loop import EpochAction
from qvae_jax.training.state import Progress

SETUP = types.SimpleNamespace(
    steps_per_epoch=2, num_steps=10, stops_early=lambda progress: progress.stale_epochs > 5
)


class Told:
    """Stands in for checkpoints and logs: what they were told, one after the other."""

    def __init__(self):
        self.told = []

    def wait(self) -> None:
        self.told.append("on disk")

    def flush(self) -> None:
        self.told.append("flushed")


def action(told: Told, name: str, every_epochs: int = 1, *, done=(), error=None) -> EpochAction:
    def act(setup, state, log, epoch, step):
        told.told.append((name, epoch, step))
        if error is not None:
            raise error

    return EpochAction(name, every_epochs, act, lambda setup, epoch: epoch in done)


def epochs(told: Told, *actions: EpochAction) -> loop._EpochEnds:
    return loop._EpochEnds(SETUP, told, told, actions)


@pytest.mark.parametrize(
    ("every_epochs", "last", "expected"),
    [(0, False, []), (0, True, []), (1, False, [1, 2, 3]), (2, False, [2]), (2, True, [1, 2, 3])],
)
def test_an_action_is_due_at_its_interval_and_at_the_end(every_epochs, last, expected):
    due = action(Told(), "samples", every_epochs)
    assert [epoch for epoch in (1, 2, 3) if due.is_due(epoch, last)] == expected


@pytest.mark.parametrize("error", [ValueError("no colour\nmore"), UserError("the disk is full")])
def test_an_action_that_fails_is_said_once_and_the_others_follow(capsys, error):
    told = Told()
    ends = epochs(told, action(told, "samples", error=error), action(told, "diagnostics"))
    for epoch in (1, 2):
        ends._act(ends._actions, None, epoch, 2 * epoch)
    assert told.told == [
        *("on disk", ("samples", 1, 2), ("diagnostics", 1, 2), "flushed"),
        *("on disk", ("samples", 2, 4), ("diagnostics", 2, 4), "flushed"),
    ]
    said = capsys.readouterr().out
    reason = str(error).splitlines()[0]
    assert said.count("\n") == 1 and f"the samples of epoch 1 could not be made ({reason})" in said


def test_an_interrupt_is_no_failure():
    told = Told()
    ends = epochs(told, action(told, "samples", error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        ends._act(ends._actions, None, 1, 2)


def test_the_end_of_another_process_is_no_failure_of_a_picture(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    told, error = Told(), jax.errors.JaxRuntimeError("connection lost")
    ends = epochs(told, action(told, "samples", error=error))
    with pytest.raises(jax.errors.JaxRuntimeError):
        ends._act(ends._actions, None, 1, 2)


@pytest.mark.parametrize(
    ("step", "stale_epochs", "done", "expected"),
    [
        (0, 0, (), []),  # a new run
        (3, 0, (), []),  # in an epoch
        (2, 0, (), []),  # not due
        (4, 0, (), [("samples", 2, 4)]),
        (4, 0, (2,), []),
        (10, 0, (), [("samples", 5, 10)]),  # the last one
        (6, 9, (), [("samples", 3, 6)]),  # it stopped early
    ],
)
def test_a_run_makes_up_for_what_a_kill_has_kept_it_from(step, stale_epochs, done, expected):
    told = Told()
    ends = epochs(told, action(told, "samples", 2, done=done))
    ends.make_up(None, Progress(1.0, stale_epochs), step)
    assert [entry for entry in told.told if isinstance(entry, tuple)] == expected


def test_what_cannot_be_looked_for_is_made_again(capsys):
    def closed(setup, epoch):
        raise PermissionError("no permission to look")

    told = Told()
    blind = action(told, "samples", error=OSError("closed."))._replace(is_done=closed)
    epochs(told, blind).make_up(None, Progress(), 2)
    assert ("samples", 1, 2) in told.told
    assert "samples of epoch 1 could not be made (closed); the run" in capsys.readouterr().out


@pytest.mark.parametrize("number", loop.STOPPING)
def test_a_signal_is_remembered_once_and_one_of_nohup_is_not(number):
    came = []
    before = signal.signal(number, lambda *given: came.append(given[0]))
    try:
        with loop._stop_signals() as requested:
            assert not requested()
            signal.raise_signal(number)
            assert requested() and not came
            signal.raise_signal(number)
            assert came == [number]
        signal.signal(number, signal.SIG_IGN)
        with loop._stop_signals() as requested:
            signal.raise_signal(number)
            assert requested() == (number != signal.SIGHUP), "which nohup has it ignore"
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_closed_terminal_is_among_the_signals():
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} == set(loop.STOPPING)
