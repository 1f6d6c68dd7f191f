"""What pictures are drawn with: the same whatever is set for matplotlib."""

import logging
import os
import pathlib
import subprocess
import sys

import matplotlib
import pytest

from qvae_jax.system.errors import UserError
from qvae_jax.visualisation import canvas

REPOSITORY = pathlib.Path(__file__).parents[2]
DRAW = """
import sys
from qvae_jax.system.errors import UserError
from qvae_jax.visualisation import canvas
try:
    with canvas.drawing():
        figure = canvas.new_figure(2, 1)
        figure.subplots().set_title("title")
        figure.savefig(sys.argv[1], metadata={"Software": None})
except UserError as error:
    sys.exit(f"error: {error}")
"""


def drawn_elsewhere(path, **settings) -> tuple[int, str]:
    """Exit status and all that is said by a process of its own that draws a picture."""
    folder = settings.pop("folder", REPOSITORY)
    paths = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths} | settings
    command = [sys.executable, "-c", DRAW, str(path)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def drawn_here(path) -> bytes:
    with canvas.drawing():
        figure = canvas.new_figure(2, 1)
        figure.subplots().set_title("title")
        figure.savefig(path, metadata={"Software": None})
    return path.read_bytes()


@pytest.mark.parametrize(
    ("backend", "settings"),
    [
        ("module://matplotlib_inline.backend_inline", b"figure.facecolor: red\nno.such: thing\n"),
        ("nonsense", b"\xff\xfe: no text\n"),
    ],
)
def test_no_setting_changes_a_picture_or_prevents_it(tmp_path, backend, settings):
    (tmp_path / "matplotlibrc").write_bytes(settings)
    status, said = drawn_elsewhere(
        tmp_path / "there.png",
        MPLBACKEND=backend,
        MATPLOTLIBRC=str(tmp_path),
        MPLCONFIGDIR=str(tmp_path / "matplotlibrc" / "below a file"),
    )
    assert (status, said) == (0, "")
    assert (tmp_path / "there.png").read_bytes() == drawn_here(tmp_path / "here.png")


def test_a_damaged_file_of_settings_is_named(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe: no text\n")
    status, said = drawn_elsewhere(tmp_path / "there.png", folder=tmp_path)
    assert status == 1 and said.count("\n") == 1
    assert "no picture can be drawn" in said and "move a file matplotlibrc" in said


def test_settings_are_what_they_were_afterwards(tmp_path):
    logger = logging.getLogger("matplotlib")
    before = drawn_here(tmp_path / "before.png")
    with matplotlib.rc_context({"figure.facecolor": "red", "axes.titlesize": 30}):
        assert drawn_here(tmp_path / "after.png") == before
        with pytest.raises(UserError), canvas.drawing():
            assert logger.level == logging.ERROR
            raise UserError
        assert matplotlib.rcParams["figure.facecolor"] == "red"
    assert logger.level != logging.ERROR


def test_a_notebook_keeps_its_backend(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("MATPLOTLIBRC", "mine")
    before = dict(os.environ)
    with canvas._settings_hidden():
        assert "MPLBACKEND" not in os.environ
        assert pathlib.Path(os.environ["MATPLOTLIBRC"]).is_file()
    assert dict(os.environ) == before
