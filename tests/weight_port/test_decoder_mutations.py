"""QVAE checkpoints of every decoder, changed at random: refused in one line."""

import contextlib
import io
import pathlib
import tempfile
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qvae_jax import files
from qvae_jax.models import decoders, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.training import checkpoints
from weight_port import names

torch = pytest.importorskip("torch", reason="reads and writes PyTorch checkpoints")

from weight_port import to_torch  # noqa: E402
from weight_port.__main__ import main  # noqa: E402

LATENT_DIM = 4
EXAMPLES = settings(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Checkpoint(dict):
    """A state dict that does not fill the screen when a test fails."""

    def __repr__(self):
        return f"<{len(self)} tensors>"


@pytest.fixture(scope="module", params=sorted(decoders.DECODERS))
def decoder_type(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tensors(decoder_type) -> Checkpoint:
    """Drawn weights under the original's keys, with the smallest encoder."""
    config = QVAEConfig(encoder_width=0.1, latent_dim=LATENT_DIM, decoder_type=decoder_type)
    drawn = variables.split(QVAE(config, rng=np.random.default_rng(5)))[1]
    return Checkpoint(to_torch.qvae_state_dict(drawn, 0.1, decoder_type))


def _ported(tensors: dict, stated: str | None) -> tuple[int, str, dict | None, list[str]]:
    """(exit status, stderr, what was saved, what is left) of a checkpoint's port.

    The folder is kept in memory: Orbax would take minutes.
    """
    saved, err = [], io.StringIO()

    def keep(directory, description, arrays):
        with files.new_folder(directory):
            saved.append((description, arrays.params | arrays.batch_stats))

    config = {} if stated is None else {"config": {"decoder": {"type": stated}}}
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(err),
        mock.patch.object(checkpoints, "save_model", keep),
    ):
        path = pathlib.Path(folder) / "mutated.ckpt"
        torch.save({"state_dict": dict(tensors), "hyper_parameters": config}, path)
        status = main([str(path), str(pathlib.Path(folder) / "model")])
        left = sorted(entry.name for entry in pathlib.Path(folder).iterdir())
    return status, err.getvalue(), saved[0] if saved else None, left


def _assert_refused(outcome) -> None:
    status, err, saved, left = outcome
    assert status == 1 and err.startswith("error: ") and len(err.splitlines()) == 1, outcome[:2]
    assert "mutated.ckpt" in err and saved is None and left == ["mutated.ckpt"]


def test_the_checkpoint_itself_is_ported(tensors, decoder_type):
    status, err, (description, ours), _ = _ported(tensors, decoder_type)
    assert (status, err) == (0, "")
    assert description["model"]["decoder_type"] == decoder_type
    assert description["model"]["latent_dim"] == LATENT_DIM
    table, transposed = names.qvae(0.1, decoder_type), names.transposed_keys(decoder_type)
    assert ours.keys() == set(table.values())
    for key, name in table.items():
        wanted = names.to_our_axes(
            tensors[key].numpy(), transposed=key in transposed, reverse=transposed.get(key, False)
        )
        np.testing.assert_array_equal(ours[name], wanted)


def _drop(tensors, key):
    del tensors[key]


def _rename(tensors, key):
    tensors[f"{key}_old"] = tensors.pop(key)


def _add(tensors, key):
    tensors[f"decoder.extra.{key}"] = tensors[key]


def _grow(tensors, key):
    tensors[key] = torch.cat([tensors[key], tensors[key]])


def _flatten(tensors, key):
    tensors[key] = tensors[key].reshape(1, -1, 1, 1)


def _turn(tensors, key):
    tensors[key] = tensors[key].double().to(torch.int64)


def _break(tensors, key):
    tensors[key] = torch.full_like(tensors[key], float("nan"))


CHANGES = (_drop, _rename, _add, _grow, _flatten, _turn, _break)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
@EXAMPLES
@given(place=st.integers(0, 10**6), stated=st.booleans())
def test_a_change_of_the_decoder_is_refused(tensors, decoder_type, change, place, stated):
    keys = [key for key in names.qvae(0.1, decoder_type) if key.startswith("decoder.")]
    mutated = dict(tensors)
    change(mutated, keys[place % len(keys)])
    _assert_refused(_ported(mutated, decoder_type if stated else None))


def test_another_decoders_type_among_the_hyper_parameters_is_refused(tensors, decoder_type):
    twins = {"original-plus", "original-res"}  # the same tensors, so what is stated is believed
    for other in sorted(decoders.DECODERS.keys() - {decoder_type}):
        outcome = _ported(tensors, other)
        if {other, decoder_type} == twins:
            assert outcome[0] == 0 and outcome[2][0]["model"]["decoder_type"] == other
        else:
            _assert_refused(outcome)
