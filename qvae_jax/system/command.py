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
    is_installed = program.stem == NAME or not (CHECKOUT / SCRIPT).is_file()
    return NAME if is_installed else f"python3 {SCRIPT}"
