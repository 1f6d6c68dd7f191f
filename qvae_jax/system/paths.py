"""Paths as users write them."""

import os
import re

from qvae_jax.system.errors import UserError


def local_path(text: str) -> str:
    """A path with `~` and `~USER` at its beginning replaced by that home folder.

    A shell does so itself only where an argument begins with them, which `--workdir=~/run` does
    not. Variables such as $HOME it has replaced everywhere.
    Raises UserError for addresses such as file:///tmp/run, and where a home folder is not known.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise UserError(
            f"{text!r} is an address: give the path of a file or folder of this machine alone."
        )
    path = os.path.expanduser(text)
    home = path.partition(os.sep)[0]
    if home.startswith("~") and (home == "~" or not os.path.lexists(path)):
        raise UserError(
            f"the home folder {home!r} of {text!r} is not known: write the whole path, or "
            f"./{text} for what is called so."
        )
    return path
