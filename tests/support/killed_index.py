"""Run by a test in a process of its own: an index that is killed at some moment.

    python tests/support/killed_index.py LIBRARY [DELAY_S]

It is killed (SIGKILL) DELAY_S after it has begun; without a delay it runs to its end.
"""

import os
import signal
import sys
import threading


def main(library: str, delay_s: str = "") -> None:
    from hearing import Hearing
    from qvae_jax.retrieval import index

    index.PIECE_FILES = 4
    index.default_num_processes = lambda: 1  # to spend the time on what is written
    if delay_s:
        timer = threading.Timer(float(delay_s), os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    index.indexed(library, Hearing())


if __name__ == "__main__":
    main(*sys.argv[1:])
