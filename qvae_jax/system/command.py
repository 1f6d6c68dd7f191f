"""The command that this process was started with, for messages that tell what to run next."""

import pathlib
import shlex
import sys

NAME = "qvae"  # as pyproject.toml installs it
SCRIPT = "main.py"
CHECKOUT = pathlib.Path(__file__).parents[2]


def command() -> str:
    """`python3 main.py`, with its path as it was given, or `qvae`.

    A program that uses the package as a library is told what it has: main.py in a checkout, and
    qvae where the package is installed.
    """
    program = pathlib.Path(sys.argv[0])
    if program.name == SCRIPT:
        return f"python3 {shlex.quote(str(program))}"
    return f"python3 {SCRIPT}" if is_checkout() and program.stem != NAME else NAME


def install(extra: str) -> str:
    """The command that installs an extra of the package."""
    return f"python3 -m pip install '{'.' if is_checkout() else 'qvae_jax'}[{extra}]'"


def is_checkout() -> bool:
    """Whether the package lies in a checkout, which has main.py and the lists of requirements."""
    return (CHECKOUT / SCRIPT).is_file()
