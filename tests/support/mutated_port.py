"""What `python -m weight_port` makes of a checkpoint that a test has changed. Needs torch."""

import contextlib
import io
import pathlib
import tempfile
from typing import NamedTuple
from unittest import mock

import torch

from qvae_jax.models import stored
from qvae_jax.system import files
from weight_port.__main__ import main

NAME = "mutated.pt"


class Tensors(dict):
    """A state dict that does not fill the screen when a test fails."""

    def __repr__(self):
        return f"<{len(self)} tensors>"


class Outcome(NamedTuple):
    """What the command line made of one file; description and saved are None where it refused."""

    status: int
    err: str
    left: list[str]
    description: dict | None = None
    saved: Tensors | None = None

    @property
    def is_refusal(self) -> bool:
        """Whether one line names the file, and nothing was written."""
        return (
            self.status == 1
            and self.err.startswith("error: ")
            and NAME in self.err
            and len(self.err.splitlines()) == 1
            and self.left == [NAME]
            and self.saved is None
        )


def ported(content: bytes) -> Outcome:
    """Ports a file of these bytes, with the folder kept in memory: Orbax would take minutes."""
    kept = []

    def keep(directory, models):
        with files.new_folder(directory):
            (description, variables), *_ = models.values()
            kept.extend([description, Tensors(variables.params | variables.batch_stats)])

    err = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(err),
        mock.patch.object(stored, "save_models", keep),
    ):
        path = pathlib.Path(folder) / NAME
        path.write_bytes(content)
        status = main([str(path), str(pathlib.Path(folder) / "model")])
        left = sorted(entry.name for entry in pathlib.Path(folder).iterdir())
    return Outcome(status, err.getvalue(), left, *kept)


# --- One tensor of a state dict, changed in place


def _drop(tensors, key):
    del tensors[key]


def _rename(tensors, key):
    tensors[f"{key}_old"] = tensors.pop(key)


def _add(tensors, key):
    first, _, rest = key.partition(".")
    tensors[f"{first}.extra.{rest}"] = tensors[key]


def _grow(tensors, key):
    tensors[key] = torch.cat([tensors[key], tensors[key]])


def _flatten(tensors, key):
    tensors[key] = tensors[key].reshape(1, -1, 1, 1, 1)


def _turn(tensors, key):
    tensors[key] = tensors[key].double().to(torch.int64)


def _break(tensors, key):
    tensors[key] = torch.full_like(tensors[key], float("nan"))


CHANGES = (_drop, _rename, _add, _grow, _flatten, _turn, _break)
