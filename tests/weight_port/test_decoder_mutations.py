"""QVAE checkpoints of every decoder, changed at random: refused in one line."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from weight_port import names

torch = pytest.importorskip("torch", reason="reads and writes PyTorch checkpoints")

from mutated_port import CHANGES, Outcome, Tensors, ported
from weight_port import to_torch

LATENT_DIM = 4
EXAMPLES = settings(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", params=sorted(names.DECODERS))
def decoder_type(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tensors(decoder_type) -> Tensors:
    """Drawn weights under the original's keys, with the smallest encoder."""
    config = QVAEConfig(encoder_width=0.1, latent_dim=LATENT_DIM, decoder_type=decoder_type)
    drawn = variables.split(QVAE(config, rng=np.random.default_rng(5)))[1]
    return Tensors(to_torch.qvae_state_dict(drawn, 0.1, decoder_type))


def _ported(tensors: dict, stated: str | None) -> Outcome:
    """The port of a checkpoint, which may state its decoder's type."""
    config = {} if stated is None else {"config": {"decoder": {"type": stated}}}
    stream = io.BytesIO()
    torch.save({"state_dict": dict(tensors), "hyper_parameters": config}, stream)
    return ported(stream.getvalue())


def test_the_checkpoint_itself_is_ported(tensors, decoder_type):
    outcome = _ported(tensors, decoder_type)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.description["model"]["decoder_type"] == decoder_type
    assert outcome.description["model"]["latent_dim"] == LATENT_DIM
    table, transposed = names.qvae(0.1, decoder_type), names.transposed_keys(decoder_type)
    assert outcome.saved.keys() == set(table.values())
    for key, name in table.items():
        wanted = names.to_our_axes(
            tensors[key].numpy(), transposed=key in transposed, reverse=transposed.get(key, False)
        )
        np.testing.assert_array_equal(outcome.saved[name], wanted)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
@EXAMPLES
@given(place=st.integers(0, 10**6), stated=st.booleans())
def test_a_change_of_the_decoder_is_refused(tensors, decoder_type, change, place, stated):
    keys = [key for key in names.qvae(0.1, decoder_type) if key.startswith("decoder.")]
    mutated = dict(tensors)
    change(mutated, keys[place % len(keys)])
    outcome = _ported(mutated, decoder_type if stated else None)
    assert outcome.is_refusal, outcome


def test_another_decoders_type_among_the_hyper_parameters_is_refused(tensors, decoder_type):
    twins = {"original-plus", "original-res"}  # the same tensors, so what is stated is believed
    for other in sorted(names.DECODERS.keys() - {decoder_type}):
        outcome = _ported(tensors, other)
        if {other, decoder_type} == twins:
            assert outcome.status == 0 and outcome.description["model"]["decoder_type"] == other
        else:
            assert outcome.is_refusal, (other, outcome)
