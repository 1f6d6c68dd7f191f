"""Stand-ins for reading a file, importable in a process started afresh."""

import os
import pathlib
import sys

from qvae_jax.data.examine import Examination


def read(path: pathlib.Path) -> Examination:
    """Dies at files called "dies…", and gives the name of any other as its encoding."""
    if path.name.startswith("dies"):
        os._exit(11)
    print("a decoder's complaint", file=sys.stderr, flush=True)
    os.write(2, b"another")
    return Examination(encoding=path.name)
