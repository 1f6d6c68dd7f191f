"""Folders for what can be made or fetched again: this package's own, and its libraries'."""

import contextlib
import os
import pathlib
import sys
import tempfile

from qvae_jax.system.errors import UserError

VARIABLE = "XDG_CACHE_HOME"
NAME = "qvae_jax"
# Matplotlib and wandb keep files elsewhere too, and not every system's numba heeds VARIABLE.
OF_LIBRARIES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
NUMBA = OF_LIBRARIES[0]
USER = os.getuid() if hasattr(os, "getuid") else None  # Windows has no numbers of users
NO_FOLDER = (
    "neither the user's cache folder nor a temporary one can be written, so nothing compiled is "
    f"kept: set {VARIABLE} to a folder that can."
)


def user_cache_folder() -> pathlib.Path:
    """$XDG_CACHE_HOME/qvae_jax or ~/.cache/qvae_jax; UserError where there is no home either."""
    named = os.path.expanduser(os.environ.get(VARIABLE, ""))
    if os.path.isabs(named):  # others are to be ignored, says the standard that defines it
        return pathlib.Path(named, NAME)
    try:
        return pathlib.Path.home() / ".cache" / NAME
    except RuntimeError as error:  # neither $HOME nor an entry in the list of users
        raise UserError(NO_FOLDER) from error


def prepare_for_libraries(*, required: bool = False) -> None:
    """Lets every library keep what it compiles and lists in a folder that can be written.

    numba and Matplotlib raise where they find none; for numba that is so in an installation that
    the user may not change and without a home. Call this before libraries are imported, for they
    look only then. Where the user's cache folder cannot be written, a temporary one of this user
    takes its place, also for the processes that this one starts. Where there is none either, one
    line says so, or UserError is raised if one is required.
    """
    with contextlib.suppress(UserError):
        own = user_cache_folder()
        if is_writable(own):
            os.environ.setdefault(NUMBA, str(own / "numba"))
            return
    instead = _temporary_folder()
    if instead is None and required:
        raise UserError(NO_FOLDER)
    if instead is None:
        print(f"note: {NO_FOLDER}", file=sys.stderr)
        return
    os.environ[VARIABLE] = str(instead)
    for variable in OF_LIBRARIES:
        os.environ.setdefault(variable, str(instead / variable.partition("_")[0].lower()))


def is_writable(folder: pathlib.Path) -> bool:
    """Whether files can be made in a folder, which is made where it is absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _temporary_folder() -> pathlib.Path | None:
    """A folder that other users can neither read nor have prepared; the same one at each start."""
    try:
        folder = pathlib.Path(tempfile.gettempdir(), f"{NAME}-{USER}")
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    is_private = status.st_uid == USER and status.st_mode & 0o77 == 0
    return folder if is_private and is_writable(folder) else None
