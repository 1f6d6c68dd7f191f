"""Judges' checkpoints and pairs of encoders, changed at random: refused in one line."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weight_port import names

torch = pytest.importorskip("torch", reason="reads and writes PyTorch checkpoints")

from mutated_port import CHANGES, NAME, Outcome, Tensors, ported

EXAMPLES = settings(
    max_examples=6,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TABLES = {"samplecnn": names.samplecnn_tagger(), "aisfx": names.aisfx()}
PAIR = names.with_prefix(names.mobilenet(0.1), "im.", "")
TABLES["pair"] = PAIR | names.with_prefix(names.mobilenet(0.1), "rec.", "")


@pytest.fixture(scope="module", params=TABLES)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tensors(kind, narrow_judges, mn01_arrays) -> Tensors:
    pair = {f"{side}.{key}": array for side in ("im", "rec") for key, array in mn01_arrays.items()}
    arrays = (narrow_judges | {"pair": pair})[kind]
    return Tensors({key: torch.as_tensor(array) for key, array in arrays.items()})


def _file(tensors: dict) -> bytes:
    stream = io.BytesIO()
    torch.save(dict(tensors), stream)
    return stream.getvalue()


def _is_port_of(outcome: Outcome, kind: str, tensors: dict) -> bool:
    """Of a pair, the imitations' encoder is what is kept."""
    table = PAIR if kind == "pair" else TABLES[kind]
    return (
        (outcome.status, outcome.err, outcome.left) == (0, "", ["model", NAME])
        and outcome.saved.keys() == set(table.values())
        and all(
            np.array_equal(outcome.saved[name], names.to_our_axes(tensors[key].numpy()))
            for key, name in table.items()
        )
    )


def test_the_checkpoint_itself_is_ported(kind, tensors):
    assert _is_port_of(ported(_file(tensors)), kind, tensors)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
@EXAMPLES
@given(place=st.integers(0, 10**6))
def test_a_changed_tensor_is_refused(kind, tensors, change, place):
    keys = list(TABLES[kind])
    mutated = dict(tensors)
    change(mutated, keys[place % len(keys)])
    outcome = ported(_file(mutated))
    assert outcome.is_refusal, (keys[place % len(keys)], outcome)


@EXAMPLES
@given(place=st.integers(0, 2**40), bit=st.integers(0, 7), is_cut=st.booleans())
def test_a_damaged_file_is_refused_or_harmless(kind, tensors, place, bit, is_cut):
    content = bytearray(_file(tensors))
    place %= len(content)
    if is_cut:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    outcome = ported(bytes(content))
    harmless = not is_cut and _is_port_of(outcome, kind, tensors)
    assert outcome.is_refusal or harmless, (place, bit, is_cut, outcome)
