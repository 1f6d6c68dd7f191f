"""What every command does at its door: streams that hold, and one line for what ends it early.

No JAX here, nor any other package: what an import can fail by is explained here too.
"""

import contextlib
import importlib.machinery
import os
import pathlib
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

from qvae_jax.system import streams
from qvae_jax.system.command import CHECKOUT, is_checkout
from qvae_jax.system.errors import UserError, first_line

ENDING = ("SIGTERM", "SIGHUP")  # the latter where a terminal closes; Windows has none


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """A command's whole run, which a mistake of the user or a signal ends with one line.

    The exit status is 1 after a UserError, and 128 and the signal's number after a signal. What is
    half done is cleared away then as after any other exception.
    """
    streams.make_safe()
    _raise_at_signals()
    try:
        _require_current_folder()
        yield
    except UserError as error:
        exit_with(str(error))
    except PermissionError as error:  # even a look, where a folder on the way may not be entered
        exit_with(f"{error.filename} cannot be reached ({error.strerror}): check permissions.")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Ends a command with one line where an import fails by the environment's fault.

    A fault of this package's own code is raised as it is, and so is a UserError.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not _is_the_environments(error):
            raise
        exit_with(_explained(error))


def exit_with(message: str) -> NoReturn:
    """Ends the process with a message on standard error, on one line, and status 1."""
    print("error: " + on_one_line(message), file=sys.stderr)
    sys.exit(1)


def on_one_line(text: str) -> str:
    """Text with its lines joined and terminal controls escaped, which names of files may hold."""
    return escaped(" ".join(text.splitlines()))


def escaped(text: str) -> str:
    """Text with line breaks and terminal controls as their escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def install_command(package: str | None = None) -> str:
    """What installs the requirements, or one package."""
    if is_checkout():
        return "python3 -m pip install -r requirements.txt"
    return f"python3 -m pip install --upgrade {package or 'qvae_jax'}"


def _raise_at_signals() -> None:
    """Lets signals that would kill this process raise instead, so that it clears away.

    In a container, where it is process 1, they would do nothing at all.
    """

    def leave(number, frame):
        signal.signal(number, signal.SIG_IGN)
        print("terminated", file=sys.stderr)
        sys.exit(128 + number)

    for number in (getattr(signal, name) for name in ENDING if hasattr(signal, name)):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, leave)


def _require_current_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            "the folder that this runs in has been removed: change to another one."
        ) from error


def _is_the_environments(error: Exception) -> bool:
    is_ours = pathlib.Path(_files_of(error)[-1]).is_relative_to(CHECKOUT / "qvae_jax")
    # An old release lacks what our code takes from it.
    lacks = isinstance(error, AttributeError) and re.match("module '(?!qvae_jax)", str(error))
    return not is_ours or isinstance(error, ImportError) or bool(lacks)


def _explained(error: Exception) -> str:
    said = f"{type(error).__name__}: {first_line(error)}"
    for name, file in _files_in_the_way():
        if repr(name) in str(error) or file in _files_of(error):
            return (
                f"{file} is taken for the module {name!r} ({said}): rename it, or take its folder "
                "out of PYTHONPATH."
            )
    for variable, value in os.environ.items():
        if variable.startswith("JAX_") and variable.lower() in str(error).lower():
            return f"{variable}={value} in the environment does not suit JAX ({said}): unset it."
    if isinstance(error, ModuleNotFoundError):
        return f"{first_line(error)}: {install_command(error.name)}"
    return (
        f"this program cannot start ({said}): mend what that names, or install what it needs anew: "
        f"{install_command()}"
    )


def _files_in_the_way() -> Iterator[tuple[str, str]]:
    """Imported modules of the current folder or PYTHONPATH that hide others of the same name."""
    named = {*os.environ.get("PYTHONPATH", "").split(os.pathsep), sys.path[0]} - {str(CHECKOUT)}
    others = [folder for folder in sys.path if folder not in named]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        folder = os.path.dirname(file.removesuffix(f"{os.sep}__init__.py"))
        if folder in named and importlib.machinery.PathFinder.find_spec(name, others):
            yield name, file


def _files_of(error: Exception) -> list[str]:
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
