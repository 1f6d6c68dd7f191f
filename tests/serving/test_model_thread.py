"""The queue in front of the model: in order, bounded, and ended without waiting for the last."""

import threading

import pytest

import waiting
from qvae_jax.serving.model_thread import Busy, ModelThread


@pytest.fixture
def held():
    """A thread of two places whose first order runs until the event is set."""
    thread, go, begun = ModelThread(most_waiting=2), threading.Event(), threading.Event()
    thread.submit(lambda: (begun.set(), go.wait()))
    assert begun.wait(waiting.HANG_S)
    yield thread, go
    go.set()
    assert thread.stop(waiting.HANG_S)


def test_orders_run_one_after_the_other_in_the_order_in_which_they_came():
    thread, seen = ModelThread(), []
    futures = [thread.submit(seen.append, number) for number in range(50)]
    for future in futures:
        future.result(waiting.HANG_S)
    assert seen == list(range(50))
    assert thread.stop(waiting.HANG_S)


def test_more_than_may_wait_are_refused_and_the_others_are_served(held):
    thread, go = held
    kept = [thread.submit(int, "1"), thread.submit(int, "2")]
    with pytest.raises(Busy):
        thread.submit(int, "3")
    go.set()
    assert [future.result(waiting.HANG_S) for future in kept] == [1, 2]


def test_what_an_order_raises_is_raised_where_its_result_is_asked_for(held):
    thread, go = held
    failing, next_one = thread.submit(int, "no number"), thread.submit(int, "4")
    go.set()
    with pytest.raises(ValueError, match="no number"):
        failing.result(waiting.HANG_S)
    assert next_one.result(waiting.HANG_S) == 4


def test_an_order_that_is_cancelled_before_its_turn_is_not_run(held):
    thread, go = held
    ran = []
    cancelled, last = thread.submit(ran.append, 1), thread.submit(ran.append, 2)
    assert cancelled.cancel()
    go.set()
    last.result(waiting.HANG_S)
    assert ran == [2]


def test_stopping_cancels_what_waits_and_tells_whether_something_still_runs(held):
    thread, go = held
    waiting_one = thread.submit(int, "5")
    assert not thread.stop(within_s=0.01)
    assert waiting_one.cancelled()
    go.set()
