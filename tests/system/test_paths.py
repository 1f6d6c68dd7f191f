"""Paths as users write them: ~ is a home folder, an address is no path."""

import pwd

import pytest

from qvae_jax.system.errors import UserError
from qvae_jax.system.paths import local_path


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/homes/me")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~", "/homes/me"),
        ("~/x", "/homes/me/x"),
        ("~root/x", f"{pwd.getpwnam('root').pw_dir}/x"),
        ("a/~/b", "a/~/b"),
        ("./~", "./~"),
        ("$HOME/x", "$HOME/x"),
        ("C:/x", "C:/x"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_only_a_home_folder_at_the_beginning_is_replaced(home, text, expected):
    assert local_path(text) == expected


@pytest.mark.parametrize(
    "text", ["file:///tmp/x", "gs://bucket/x", "https://a.b/c", "s3:/bucket/x"]
)
def test_an_address_is_no_path(text):
    with pytest.raises(UserError, match="is an address: give the path of a file or folder"):
        local_path(text)


def test_a_name_that_begins_so_is_a_file_if_there_is_one(home, tmp_path):
    with pytest.raises(UserError, match=r"'~nobody_of_that_name' .* or \./~nobody_of_that_name"):
        local_path("~nobody_of_that_name")
    (tmp_path / "~nobody_of_that_name").touch()
    assert local_path("~nobody_of_that_name") == "~nobody_of_that_name"


def test_without_a_home_a_folder_of_that_name_is_not_taken_for_it(home, monkeypatch, tmp_path):
    (tmp_path / "~").mkdir()
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(UserError, match="the home folder '~' of '~/x' is not known"):
        local_path("~/x")
