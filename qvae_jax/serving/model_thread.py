"""One thread that the model runs in, and the queue in front of it: first come, first served."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

MOST_WAITING = 128


class Busy(Exception):
    """As many orders wait as may."""


class ModelThread:
    """Runs what is submitted, one after the other, in order.

    It is a daemon: what XLA computes cannot be broken off, and a program that ends is not to wait
    for a sound that nobody will hear.
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._waiting = queue.Queue(most_waiting)
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, function: Callable, *arguments: object) -> Future:
        """The future result of function(*arguments); raises Busy where too many wait already.

        One that is cancelled before its turn costs nothing.
        """
        future = Future()
        try:
            self._waiting.put_nowait((future, function, arguments))
        except queue.Full:
            raise Busy from None
        return future

    def stop(self, within_s: float) -> bool:
        """Takes nothing more from the queue; gives whether the thread has come to its end."""
        while True:
            try:
                future, *_ = self._waiting.get_nowait()
            except queue.Empty:
                break
            if future is not None:  # of an earlier call, which the thread has not come to yet
                future.cancel()
        self._waiting.put((None, None, ()))
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            future, function, arguments = self._waiting.get()
            if future is None:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function(*arguments)
            except BaseException as error:  # its caller is told
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, function, arguments  # or the last order would stay in memory
            result = None
