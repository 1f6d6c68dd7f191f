"""Work ahead of its consumer: in order, no further ahead than said, and failing at its place."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import waiting
from qvae_jax.generation import ahead
from qvae_jax.system.errors import UserError


def test_results_come_in_order_whichever_is_done_first():
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(waiting.HANG_S)
        if item == 1:
            second_is_done.set()
        return 10 * item

    with ThreadPoolExecutor(2) as threads:
        assert list(ahead.in_order(threads, work, range(40))) == [10 * i for i in range(40)]


def test_items_are_taken_no_further_ahead_than_said():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(2) as threads:
        results = ahead.in_order(threads, str, items())
        for number in range(100):
            assert next(results) == str(number)
            assert len(taken) <= number + 1 + ahead.NUM_AHEAD


def test_what_fails_is_raised_at_its_place():
    def work(item: int) -> int:
        if item == 2:
            raise UserError("no")
        return item

    with ThreadPoolExecutor(2) as threads:
        results = ahead.in_order(threads, work, range(5))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(UserError, match="no"):
            next(results)


def test_nothing_gives_nothing():
    with ThreadPoolExecutor(2) as threads:
        assert list(ahead.in_order(threads, str, [])) == []
