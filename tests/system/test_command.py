"""Messages name the command that was used."""

import pytest

from qvae_jax.system import command


@pytest.mark.parametrize(
    ("program", "is_checkout", "named"),
    [
        ("main.py", True, "python3 main.py"),
        ("../a b/main.py", True, "python3 '../a b/main.py'"),
        ("/usr/bin/qvae", True, "qvae"),
        ("/usr/bin/qvae", False, "qvae"),
        ("C:/bin/qvae.exe", False, "qvae"),
        ("my_program.py", True, "python3 main.py"),
        ("my_program.py", False, "qvae"),
        ("", False, "qvae"),  # an interactive Python
    ],
)
def test_the_command_is_the_one_that_was_used(monkeypatch, tmp_path, program, is_checkout, named):
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    if is_checkout:
        (tmp_path / "main.py").touch()
    monkeypatch.setattr("sys.argv", [program])
    assert command.command() == named


@pytest.mark.parametrize(("is_checkout", "what"), [(True, "."), (False, "qvae_jax")])
def test_an_extra_is_installed_from_where_the_package_comes(
    monkeypatch, tmp_path, is_checkout, what
):
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    if is_checkout:
        (tmp_path / "main.py").touch()
    assert command.install("serve") == f"python3 -m pip install '{what}[serve]'"
