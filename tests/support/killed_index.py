"""Run by a test in a process of its own: an index that is killed (SIGKILL) at random moments.

    python tests/support/killed_index.py LIBRARY NUM_KILLS

Each attempt goes on with what the one before it has left, in a process that is forked from this one,
so that the imports, which take seconds, are done once. One that comes to its end before it is killed
does not count, and the next begins anew. The last attempt is not killed.
"""

import os
import random
import shutil
import signal
import sys
import threading
import traceback

LONGEST_S = 0.08  # until the kill: about a tenth of what the whole takes


def attempt(library: str, delay_s: float | None = None) -> int:
    """The exit status of a process that indexes the library, and is killed after so long."""
    from hearing import Hearing
    from qvae_jax.retrieval import index

    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        if delay_s is not None:
            timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL))
            timer.start()
        index.PIECE_FILES = 4
        index.default_num_processes = lambda: 1  # to spend the time on what is written
        index.indexed(library, Hearing())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main(library: str, num_kills: str) -> None:
    from qvae_jax.system import caches

    rng, kills_left = random.Random(0), int(num_kills)
    while kills_left:
        status = attempt(library, rng.uniform(0, LONGEST_S))
        if status == -signal.SIGKILL:
            kills_left -= 1
        elif status == 0:
            shutil.rmtree(caches.user_cache_folder() / "search")
        else:
            raise SystemExit("an attempt failed")
    if attempt(library) != 0:
        raise SystemExit("the last attempt failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
