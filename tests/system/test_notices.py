"""Notices on the command line: one line each, once."""

import warnings

import pytest

from qvae_jax.system.errors import Notice
from qvae_jax.system.notices import print_notices


@pytest.fixture
def printed(capsys):
    """What has been printed to standard output since."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        print_notices()
        yield lambda: capsys.readouterr().out


def test_a_notice_is_printed_once_as_a_line(printed):
    for _ in range(3):
        warnings.warn("x.wav is loud", Notice, stacklevel=1)
        warnings.warn("y.wav is loud", Notice, stacklevel=1)
        warnings.simplefilter("always")  # after which Python shows again what it has shown
    assert printed() == "warning: x.wav is loud\nwarning: y.wav is loud\n"


def test_other_warnings_are_shown_as_ever(capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        print_notices()
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["something else"]
    assert capsys.readouterr().out == ""
