"""What an error says, in a line."""

import pytest

from qvae_jax.system.errors import first_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(" one\ntwo"), "one"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("a" * 60 + "b" * 100 + "c" * 140), "a" * 60 + " … " + "c" * 140),
    ],
)
def test_an_error_in_a_line(error, expected):
    assert first_line(error) == expected
