"""The house's floors: a room imports only from those below it, as pyproject.toml lists them."""

import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).parents[1]


def test_the_contracts_of_imports_are_kept():
    pytest.importorskip("importlinter")
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    linted = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0 and "0 broken" in linted.stdout, linted.stdout + linted.stderr
