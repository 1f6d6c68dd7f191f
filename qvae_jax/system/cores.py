"""How many of the processor's cores there are to use."""

import os


def num_usable_cores() -> int:
    """Cores that this process may run on: containers and `taskset` may leave fewer than there are.

    Where the system does not tell, as on macOS, all cores count.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
