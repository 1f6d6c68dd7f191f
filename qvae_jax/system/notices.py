"""Notices on the command line."""

import warnings

from tqdm import tqdm

from qvae_jax.system.errors import Notice


def print_notices() -> None:
    """From now on prints each Notice as a line, the first time that it is given.

    Python would show the place in the code too, and again whenever any library has changed which
    warnings are shown. Other warnings are shown as before.
    """
    show_others, printed = warnings.showwarning, set()

    def show(message, category, *place, **more) -> None:
        if not issubclass(category, Notice):
            show_others(message, category, *place, **more)
        elif str(message) not in printed:
            printed.add(str(message))
            tqdm.write(f"warning: {message}")  # above a progress bar, if there is one

    warnings.showwarning = show
