"""Model folders of what was ported: whole or not at all, and bit for bit."""

import pathlib

import numpy as np
import pytest

from qvae_jax.models import stored
from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="weight_port.source imports it")

from weight_port import port, writing
from weight_port.source import Source
from weight_port.weight_sets import EFFICIENTAT


@pytest.fixture
def encoder_source(mn01_arrays) -> Source:
    return Source(pathlib.Path("some.ckpt"), "0" * 64, EFFICIENTAT, dict(mn01_arrays), {}, {})


def _fail_with(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: No space left on device [os_error_code='28']"),
        RuntimeError(),
    ],
    ids=["system", "tensorstore", "without a word"],
)
def test_a_save_that_fails_leaves_nothing_behind(tmp_path, encoder_source, monkeypatch, error):
    monkeypatch.setattr(stored.ocp.PyTreeCheckpointer, "save", _fail_with(error))
    with pytest.raises(UserError, match="model cannot be written"):
        writing.write(port.port_all(encoder_source), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small_for_the_arrays_is_found_before_orbax_starts(
    tmp_path, encoder_source, monkeypatch
):
    started = []
    monkeypatch.setattr(stored, "save_models", lambda *_: started.append(True))
    monkeypatch.setattr(writing.np, "save", _fail_with(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="model cannot be written .No space left on device."):
        writing.write(port.port_all(encoder_source), tmp_path / "model")
    assert not started and list(tmp_path.iterdir()) == []


def test_what_is_written_is_read_back_bit_for_bit(tmp_path, encoder_source):
    ported = port.port(encoder_source)
    writing.write({".": ported}, tmp_path / "deep" / "model")
    found = stored.load_encoder(tmp_path / "deep" / "model")
    for name, array in (ported.variables.params | ported.variables.batch_stats).items():
        loaded = (found.params | found.batch_stats)[name]
        np.testing.assert_array_equal(loaded, array)
        assert loaded.dtype == np.float32
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]
