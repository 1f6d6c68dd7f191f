"""A command's door: one line for each thing that ends it early, whatever its imports fail by."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from qvae_jax.system import entrance
from qvae_jax.system.errors import UserError

REPOSITORY = pathlib.Path(__file__).parents[2]
# Tests that run in the background, or under nohup, pass on to their processes that signals are ignored.
BEGIN = (
    "import signal\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "hasattr(signal, 'SIGHUP') and signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "from qvae_jax.system import entrance\nfrom qvae_jax.system.errors import UserError\n"
)


def run(body: str, *, cwd=REPOSITORY, **variables: str) -> tuple[int, str]:
    """Exit status and standard error of a program that runs body at the door."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", f"{BEGIN}with entrance.one_line():\n{lines}\n"],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise UserError('a\\nb \\x1b[2Kc')", 1, "error: a b \\x1b[2Kc\n"),
        (
            "raise PermissionError(13, 'Permission denied', 'far/config.json')",
            1,
            "error: far/config.json cannot be reached (Permission denied): check permissions.\n",
        ),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        ("import os; os.kill(os.getpid(), 2)", 130, "interrupted\n"),
        ("import os; os.kill(os.getpid(), 15)", 143, "terminated\n"),
        ("import os; os.kill(os.getpid(), 1)", 129, "terminated\n"),
    ],
)
def test_what_ends_a_command_is_one_line(body, status, said):
    assert run(body) == (status, said)


def test_what_is_half_done_is_cleared_away_at_a_signal(tmp_path):
    status, _ = run(
        "import os, pathlib\nfrom qvae_jax.system import files\n"
        f"with files.new_folder({str(tmp_path / 'out')!r}) as folder:\n"
        "    (folder / 'half').touch()\n"
        "    os.kill(os.getpid(), 15)"
    )
    assert status == 128 + signal.SIGTERM and os.listdir(tmp_path) == []


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    body = f"import os\nos.chdir({str(tmp_path)!r})\nos.rmdir({str(tmp_path)!r})\n"
    status, said = run(f"{body}with entrance.one_line(): print('never said')")
    assert status == 1 and said.startswith("error: the folder that this runs in has been removed")


def test_a_signal_that_is_ignored_stays_so():
    # nohup ignores SIGHUP before the program starts, as the outer door's block does here.
    ignored = "import os, signal\nsignal.signal(1, signal.SIG_IGN)\n"
    assert run(f"{ignored}with entrance.one_line(): os.kill(os.getpid(), 1)") == (0, "")


# --- Imports


def refused(capsys, statement: str, file: str = "elsewhere.py") -> str:
    """The line that ends a command where an import runs this statement of a file."""
    with pytest.raises(SystemExit) as raised, entrance.importing():
        exec(compile(statement, file, "exec"))
    output, error = capsys.readouterr()
    assert raised.value.code == 1 and output == "" and error.count("\n") == 1
    return error


def test_a_value_that_jax_does_not_take_is_named():
    status, said = run("with entrance.importing(): import jax", JAX_ENABLE_X64="maybe")
    assert status == 1 and said.count("\n") == 1
    assert said.startswith("error: JAX_ENABLE_X64=maybe in the environment does not suit JAX (")


@pytest.mark.parametrize(
    ("file", "imported"), [("random.py", "tempfile"), ("numpy/__init__.py", "scipy.linalg")]
)
def test_a_file_in_the_place_of_a_module_is_named(tmp_path, file, imported):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    status, said = run(f"with entrance.importing(): import {imported}", PYTHONPATH=path)
    assert status == 1 and said.count("\n") == 1
    assert said.startswith(f"error: {tmp_path / file} is taken for the module ")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("import no_such_package", "No module named 'no_such_package': python3 -m pip install"),
        ("from jax import no_such_name", "cannot start (ImportError: cannot import name"),
        ("import jax; jax.no_such_name", "cannot start (AttributeError: module 'jax' has no"),
        ("raise OSError('no memory')", "cannot start (OSError: no memory): mend what that names"),
    ],
)
def test_any_other_import_that_fails_is_one_line(capsys, statement, said):
    assert said in refused(capsys, statement)


def test_a_release_that_lacks_what_our_code_takes_is_one_line(capsys):
    said = refused(capsys, "import jax; jax.no_such_name", str(REPOSITORY / "qvae_jax/new.py"))
    assert "module 'jax' has no attribute" in said and "pip install" in said


@pytest.mark.parametrize("fault", ["1 / 0", "from qvae_jax.system import files; files.absent"])
def test_a_fault_of_the_package_itself_is_raised(fault):
    with pytest.raises((ZeroDivisionError, AttributeError)), entrance.importing():
        exec(compile(fault, str(REPOSITORY / "qvae_jax" / "new.py"), "exec"))


def test_a_mistake_of_the_user_is_raised():
    with pytest.raises(UserError), entrance.importing():
        raise UserError("a mistake")
