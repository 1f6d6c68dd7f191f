"""What messages quote: the first line of another error, the first of many names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.system import errors
from qvae_jax.system.errors import UserError, counted, first_few, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("it is odd"), "it is odd"),
        (ValueError("\n first\nsecond\n"), "first"),
        (ValueError(), "ValueError"),
        (KeyError("phase"), "KeyError: 'phase'"),
        (ValueError(" \n"), "ValueError"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (UserError("Name another folder."), "Name another folder."),
        (ValueError("a" * 60 + "b" * 500 + "c" * 140), "a" * 60 + " … " + "c" * 140),
    ],
)
def test_the_first_line_of_an_error(error, line):
    assert first_line(error) == line


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=400))
def test_a_quoted_error_is_one_short_line(text):
    line = first_line(ValueError(text))
    assert len(line.splitlines()) == 1 and len(line) <= errors.LONGEST_QUOTE + 3


@pytest.mark.parametrize(
    ("number", "noun", "shown"),
    [
        (0, "file", "0 files"),
        (1, "file", "1 file"),
        (12_202, "file", "12202 files"),
        (2, "epoch", "2 epochs"),
        (2, "batch", "2 batches"),
    ],
)
def test_one_is_no_plural(number, noun, shown):
    assert counted(number, noun) == shown


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], ""),
        (["a"], "'a'"),
        (["a", "b, c", "d"], "'a', 'b, c', 'd'"),
        (("a", "b", "c", "d"), "'a', 'b', 'c', …"),
    ],
)
def test_the_first_few_names(names, shown):
    assert first_few(names) == shown
