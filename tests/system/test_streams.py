"""Standard output that is closed, full, gone, or cannot say a letter never ends a program."""

import os
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]
PROGRAM = (
    "import sys; from qvae_jax.system import streams; streams.make_safe()\n"
    "for _ in range(3): print('μ …', flush=True)\n"
    "print('done', file=sys.stderr)\n"
)


def run(program: str = PROGRAM, redirected: str = "", **variables: str):
    """The program under sh, which redirects its streams."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirected}', "sh", sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=os.environ | variables,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "μ …"),
        ("ascii", r"\u03bc \u2026"),
        ("cp1252", r"\u03bc …"),
        ("ascii:strict", r"\u03bc \u2026"),
    ],
)
def test_a_letter_that_the_encoding_lacks_is_escaped(encoding, expected):
    done = run(PYTHONIOENCODING=encoding)
    said = done.stdout.decode(encoding.partition(":")[0]).splitlines()
    assert (done.returncode, said, done.stderr) == (0, [expected] * 3, b"done\n")


@pytest.mark.parametrize(
    ("redirected", "errors"),
    [
        (">&-", ["done"]),
        ("2>&-", []),
        (">&- 2>&- <&-", []),
        ("| true", ["done"]),
        ("2>/dev/full", []),
        (
            ">/dev/full",
            [
                "warning: standard output takes no more (No space left on device): what follows is "
                "lost.",
                "done",
            ],
        ),
    ],
)
def test_output_that_goes_nowhere_ends_nothing(redirected, errors):
    done = run(redirected=redirected)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == errors


def test_unbuffered_output_goes_out_at_once():
    done = run(
        "from qvae_jax.system import streams; streams.make_safe(); import os\n"
        "print('said'); os._exit(0)",
        PYTHONUNBUFFERED="1",
    )
    assert done.stdout == b"said\n"


def test_a_file_does_not_get_the_number_of_a_closed_stream():
    program = (
        "import os, sys; from qvae_jax.system import streams; streams.make_safe()\n"
        "sys.exit(os.open('/dev/zero', os.O_RDONLY))"
    )
    assert run(program, ">&- 2>&- <&-").returncode > 2
