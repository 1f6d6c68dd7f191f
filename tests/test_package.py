"""What an installed package has: all rooms, all requirements, one command; and a silent import."""

import importlib
import pathlib
import subprocess
import sys
import tomllib

import pytest

import compiling
import qvae_jax

REPOSITORY = pathlib.Path(__file__).parents[1]
FIXTURES = REPOSITORY / "tests" / "fixtures"
SETTINGS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
EXTRAS = SETTINGS["project"]["optional-dependencies"]
SETUPTOOLS = SETTINGS["tool"]["setuptools"]


def required(name: str) -> set[str]:
    """The packages in a file of requirements, without those that it takes from another file."""
    lines = (REPOSITORY / name).read_text("utf-8").splitlines()
    return {line for line in lines if line and not line.startswith(("#", "-r"))}


def test_every_room_is_packaged():
    found = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for top in ("qvae_jax", "weight_port")
        for path in (REPOSITORY / top).rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == found | {"qvae_jax.configs"}
    assert SETUPTOOLS["package-dir"] == {"qvae_jax.configs": "configs"}


def test_every_file_that_is_read_is_packaged():
    listed = {
        REPOSITORY.joinpath(*package.split("."), name)
        for package, names in SETUPTOOLS["package-data"].items()
        for name in names
    }
    others = {
        path
        for top in ("qvae_jax", "weight_port")
        for path in (REPOSITORY / top).rglob("*.*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    # Only a checkout installs from this list; a package has its line as the extra `port`.
    assert listed == others - {REPOSITORY / "weight_port" / "requirements.txt"}


def test_requirements_are_one_list():
    assert SETUPTOOLS["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    assert set(EXTRAS["port"]) == required("weight_port/requirements.txt")
    inherited = {"qvae_jax[port,wandb,serve,export]"}
    extras = ("dev", "wandb", "serve", "export")
    of_extras = {package for extra in extras for package in EXTRAS[extra]} - inherited
    assert of_extras == required("requirements-dev.txt")
    assert inherited < set(EXTRAS["dev"])


def test_the_command_is_what_main_calls():
    module, _, function = SETTINGS["project"]["scripts"]["qvae"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert f"from {module} import {function}" in (REPOSITORY / "main.py").read_text()


@pytest.mark.parametrize("name", ["run", "ported"])
def test_loading_a_model_prints_nothing(name):
    program = "import sys, qvae_jax; qvae_jax.load(sys.argv[1])"
    loaded = subprocess.run(
        [sys.executable, "-c", program, FIXTURES / name],
        cwd=REPOSITORY,
        env=compiling.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, "", "")


def test_a_model_is_loaded_from_a_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", str(FIXTURES))
    assert qvae_jax.load("~/ported").source["checkpoint"] == str(FIXTURES / "ported")


def test_importing_the_package_costs_nothing():
    program = "import sys, qvae_jax; print('numpy' in sys.modules or 'jax' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.stdout == "False\n"
