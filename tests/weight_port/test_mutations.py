"""Checkpoints changed at random: either an error of one line, or the very numbers of the source."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from weight_port import names

torch = pytest.importorskip("torch", reason="reads and writes PyTorch checkpoints")

from mutated_port import NAME, Outcome, Tensors, ported

TABLE = names.mobilenet(0.1)
KEYS = sorted(TABLE)


def _is_port_of(outcome: Outcome, tensors: dict) -> bool:
    return (
        outcome.status == 0
        and outcome.err == ""
        and outcome.left == ["model", NAME]
        and outcome.saved.keys() == set(TABLE.values())
        and all(
            np.array_equal(outcome.saved[name], names.to_our_axes(tensors[key].numpy()))
            for key, name in TABLE.items()
        )
    )


def _file(tensors: dict, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(tensors, stream, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def tensors(mn01_arrays) -> Tensors:
    return Tensors({key: torch.as_tensor(array) for key, array in mn01_arrays.items()})


@pytest.fixture(scope="module")
def whole_file(tensors) -> bytes:
    return _file(dict(tensors))


@pytest.fixture(scope="module")
def old_file(tensors) -> bytes:
    return _file(dict(tensors), _use_new_zipfile_serialization=False)


def _examples(number: int):
    """Always the same examples, and no clock that a busy machine could miss."""
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


# --- keys

KEY_CHANGES = {
    "dropped": lambda tensors, key: tensors.pop(key),
    "added": lambda tensors, key: tensors.update({f"{key}.0": tensors[key]}),
    "added elsewhere": lambda tensors, key: tensors.update({f"head.{key}": tensors[key]}),
    "renamed": lambda tensors, key: tensors.update({f"{key}s": tensors.pop(key)}),
    "in capitals": lambda tensors, key: tensors.update({key.upper(): tensors.pop(key)}),
    "prefixed": lambda tensors, key: tensors.update({f"module.{key}": tensors.pop(key)}),
    "prefixed twice": lambda tensors, key: tensors.update({f"features.{key}": tensors.pop(key)}),
    "a number": lambda tensors, key: tensors.update({7: tensors.pop(key)}),
}


@_examples(48)
@given(key=st.sampled_from(KEYS), change=st.sampled_from(sorted(KEY_CHANGES)))
def test_a_changed_key_is_refused(tensors, key, change):
    mutated = dict(tensors)
    KEY_CHANGES[change](mutated, key)
    outcome = ported(_file(mutated))
    assert outcome.is_refusal, (change, key, outcome)


@_examples(20)
@given(data=st.data())
def test_swapping_two_tensors_of_different_shapes_is_refused(tensors, data):
    key, other = data.draw(st.lists(st.sampled_from(KEYS), min_size=2, max_size=2, unique=True))
    mutated = tensors | {key: tensors[other], other: tensors[key]}
    outcome = ported(_file(mutated))
    if tensors[key].shape == tensors[other].shape:
        # No shape can tell; what comes out is what the file says, unless that cannot be.
        negative = outcome.is_refusal and "negative variances" in outcome.err
        assert negative or _is_port_of(outcome, mutated), (key, other, outcome)
    else:
        assert outcome.is_refusal, (key, other, outcome)


# --- shapes, types and numbers

SHAPE_CHANGES = {
    "reversed": lambda tensor: tensor.permute(*reversed(range(tensor.ndim))),
    "flat": lambda tensor: tensor.reshape(-1),
    "cut": lambda tensor: tensor[:-1],
    "grown": lambda tensor: torch.cat([tensor, tensor]),
    "empty": lambda tensor: tensor[:0],
    "one more axis": lambda tensor: tensor[None],
    "last axis": lambda tensor: tensor[..., None],
    "one number": lambda tensor: tensor.sum(),
    "stretched": lambda tensor: tensor.expand(3, *tensor.shape),
}


@_examples(40)
@given(key=st.sampled_from(KEYS), change=st.sampled_from(sorted(SHAPE_CHANGES)))
def test_a_changed_shape_is_refused(tensors, key, change):
    changed = SHAPE_CHANGES[change](tensors[key])
    outcome = ported(_file(tensors | {key: changed}))
    if changed.shape == tensors[key].shape:
        event("the same shape after all")
        assert _is_port_of(outcome, tensors | {key: changed}), (change, key, outcome)
    else:
        assert outcome.is_refusal, (change, key, outcome)


@_examples(24)
@given(
    key=st.sampled_from(KEYS),
    dtype=st.sampled_from(["float16", "bfloat16", "float64", "int64", "bool", "complex64"]),
)
def test_another_type_is_converted_where_it_holds_such_numbers_and_else_refused(
    tensors, key, dtype
):
    changed = tensors[key].to(getattr(torch, dtype))
    outcome = ported(_file(tensors | {key: changed}))
    if changed.is_floating_point():
        assert _is_port_of(outcome, tensors | {key: changed.float()}), (key, dtype, outcome)
    else:
        assert outcome.is_refusal, (key, dtype, outcome)


@_examples(20)
@given(
    key=st.sampled_from(KEYS),
    number=st.sampled_from([np.nan, np.inf, -np.inf, 1e300]),
    place=st.integers(0, 10**6),
)
def test_a_single_number_that_is_none_is_refused(tensors, key, number, place):
    changed = tensors[key].double().flatten()
    changed[place % changed.numel()] = number
    outcome = ported(_file(tensors | {key: changed.reshape(tensors[key].shape)}))
    assert outcome.is_refusal, (key, number, outcome)


def _prefixed(tensors: dict, prefix: str) -> dict:
    return {prefix + key: tensor for key, tensor in tensors.items()}


HARMLESS = {
    "wrapped": lambda tensors: {"state_dict": dict(tensors), "epoch": 3},
    "without counters": lambda tensors: {k: tensors[k] for k in KEYS},
    "in another order": lambda tensors: dict(reversed(tensors.items())),
    "as parameters": lambda tensors: {
        k: torch.nn.Parameter(t, requires_grad=t.is_floating_point()) for k, t in tensors.items()
    },
    "strided": lambda tensors: {k: torch.stack([t, t], -1)[..., 0] for k, t in tensors.items()},
    "under a name": lambda tensors: {"model_state_dict": dict(tensors), "optimizer": {"lr": 0.1}},
    "prefixed throughout": lambda tensors: _prefixed(tensors, "net."),
    "by DataParallel, compiled": lambda tensors: _prefixed(tensors, "module._orig_mod."),
    "averaged": lambda tensors: _prefixed(tensors, "module.") | {"n_averaged": torch.tensor(3)},
    "as arrays": lambda tensors: {k: t.numpy() for k, t in tensors.items()},
    "with a score": lambda tensors: {"model": dict(tensors), "best": np.float64(0.4)},
    "with the losses' windows": lambda tensors: tensors | {"loss_fn.window": torch.ones(9)},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("change", HARMLESS)
def test_a_harmless_change_changes_nothing(tensors, change, zipped):
    content = _file(HARMLESS[change](tensors), _use_new_zipfile_serialization=zipped)
    outcome = ported(content)
    assert _is_port_of(outcome, tensors), (change, outcome)


# --- bytes

PLACES = st.integers(0, 2**40)  # taken modulo the length of the file


@_examples(60)
@given(length=PLACES)
def test_a_truncated_file_is_refused(whole_file, length):
    outcome = ported(whole_file[: length % len(whole_file)])
    assert outcome.is_refusal, (length, outcome)


@_examples(200)
@given(place=PLACES, bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_harmless(tensors, whole_file, place, bit):
    """Harmless: in the padding between records, in a time stamp."""
    content = bytearray(whole_file)
    content[place % len(content)] ^= 1 << bit
    outcome = ported(bytes(content))
    event("refused" if outcome.status else "harmless")
    assert outcome.is_refusal or _is_port_of(outcome, tensors), (place, bit, outcome)


@_examples(100)
@given(places=st.tuples(PLACES, PLACES), inserted=st.binary(max_size=50))
def test_a_spliced_file_is_refused_or_harmless(tensors, whole_file, places, inserted):
    first, last = sorted(place % len(whole_file) for place in places)
    outcome = ported(whole_file[:first] + inserted + whole_file[last:])
    event("refused" if outcome.status else "harmless")
    assert outcome.is_refusal or _is_port_of(outcome, tensors), (first, last, outcome)


@_examples(100)
@given(place=PLACES, length=st.integers(1, 5000))
def test_a_zeroed_stretch_is_refused_or_harmless(tensors, whole_file, place, length):
    """As a disk leaves it that lost a block."""
    content = bytearray(whole_file)
    first = place % len(content)
    last = min(first + length, len(content))
    content[first:last] = bytes(last - first)
    outcome = ported(bytes(content))
    event("refused" if outcome.status else "harmless")
    assert outcome.is_refusal or _is_port_of(outcome, tensors), (first, last, outcome)


@_examples(60)
@given(place=PLACES, bit=st.integers(0, 7))
def test_a_flipped_bit_in_an_old_file_never_raises(old_file, place, bit):
    """The format before torch 1.6 has no checksums; its keys and shapes lie at the start."""
    content = bytearray(old_file)
    content[place % (len(content) // 20)] ^= 1 << bit
    outcome = ported(bytes(content))
    event("refused" if outcome.status else "read")
    assert outcome.is_refusal or outcome.status == 0, (place, bit, outcome)


@_examples(60)
@given(content=st.binary(max_size=300), start=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04"]))
def test_bytes_at_random_are_refused(content, start):
    outcome = ported(start + content)
    assert outcome.is_refusal, (start, content, outcome)
