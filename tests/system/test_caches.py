"""Where libraries keep what they compile: at home, or where there is no home, elsewhere."""

import os
import stat
import tempfile

import pytest

from qvae_jax.system import caches
from qvae_jax.system.errors import UserError

NOWHERE = "/dev/null/home"  # cannot be made, not even by root


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """An empty folder for temporary files, and an environment that names no cache."""
    for variable in (*caches.OF_LIBRARIES, caches.VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", NOWHERE)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_at_home_numba_keeps_its_programs_beside_ours(monkeypatch, temporary, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    caches.prepare_for_libraries()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / ".cache/qvae_jax/numba")
    assert caches.VARIABLE not in os.environ and "MPLCONFIGDIR" not in os.environ
    assert os.listdir(temporary) == [] and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("variable", [None, "HOME", "XDG_CACHE_HOME"])
def test_without_a_home_all_is_kept_in_one_private_folder(
    monkeypatch, temporary, variable, capsys, tmp_path
):
    if variable == "XDG_CACHE_HOME":
        monkeypatch.setenv("HOME", str(tmp_path))
    if variable is not None:
        monkeypatch.setenv(variable, NOWHERE)
    else:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for unknown users
    caches.prepare_for_libraries()
    (folder,) = temporary.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert caches.user_cache_folder() == folder / "qvae_jax"
    for name in caches.OF_LIBRARIES:
        assert os.environ[name].startswith(f"{folder}/"), name
    assert capsys.readouterr() == ("", "")


def test_what_the_user_chose_stays(monkeypatch, temporary, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    caches.prepare_for_libraries()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path)


def test_a_folder_that_others_may_have_filled_is_not_used(temporary, capsys):
    (temporary / f"{caches.NAME}-{caches.USER}").mkdir(mode=0o777)
    (temporary / f"{caches.NAME}-{caches.USER}").chmod(0o777)
    caches.prepare_for_libraries()
    assert caches.VARIABLE not in os.environ
    output, error = capsys.readouterr()
    assert output == "" and error.startswith("note: neither") and error.count("\n") == 1


def test_where_nothing_can_be_written_a_mode_that_needs_a_folder_is_refused(monkeypatch, temporary):
    monkeypatch.setattr(tempfile, "tempdir", NOWHERE)
    with pytest.raises(UserError, match="set XDG_CACHE_HOME to a folder that can"):
        caches.prepare_for_libraries(required=True)


@pytest.mark.parametrize(
    ("named", "expected"),
    [("", ".cache"), ("~/kept", "kept"), ("relative", ".cache"), ("/kept", "/kept")],
)
def test_the_users_cache_folder(monkeypatch, tmp_path, named, expected):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    assert caches.user_cache_folder() == tmp_path / expected / "qvae_jax"
