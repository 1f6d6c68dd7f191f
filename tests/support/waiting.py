"""Waiting for what happens in another thread or process, however busy the machine is."""

import subprocess
import time
from collections.abc import Callable

HANG_S = 600.0  # ends what hangs, and nothing that is only slow


def until(happened: Callable[[], bool], process: subprocess.Popen | None = None) -> None:
    """Returns once happened() holds; fails after HANG_S, or where the process ends before it does."""
    deadline_s = time.monotonic() + HANG_S
    while not happened():
        ended = process is not None and process.poll() is not None
        assert not ended or happened(), f"the process ended before, with {process.returncode}"
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.01)
