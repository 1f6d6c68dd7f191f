"""A step that takes turns with itself: how often each side is called, and when it stops the run."""

import signal

import numpy as np
import pytest

from benchmarks.loop import STEPS_IN_A_TURN, InTurns


@pytest.mark.parametrize("num_turns", [1, 3])
def test_each_turn_of_calls_is_followed_by_as_many_bare_steps(monkeypatch, num_turns):
    raised, calls = [], []
    monkeypatch.setattr(signal, "raise_signal", raised.append)

    def step(state, batch):
        calls.append(state)
        return state + 1, {"loss": state}

    in_turns, state = InTurns(step, num_turns), np.zeros(())
    num_calls = STEPS_IN_A_TURN // 2 + num_turns * STEPS_IN_A_TURN
    for _ in range(num_calls):
        state, _ = in_turns(state, np.zeros(()))
    assert raised == []
    in_turns(state, np.zeros(()))
    assert raised == [signal.SIGTERM]
    assert state == num_calls  # bare steps do not count in the run's own state
    assert len(calls) == num_calls + 1 + num_turns * STEPS_IN_A_TURN
    assert np.shape(in_turns.turns) == (num_turns, 2, 2) and np.min(in_turns.turns) >= 0
