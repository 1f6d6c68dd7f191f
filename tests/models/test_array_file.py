"""Arrays in one file: there and back bit for bit, and no other file is taken for one."""

import hashlib
import io
import json
import os
import pickle
import stat
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qvae_jax.models import array_file
from qvae_jax.system.errors import UserError

RNG = np.random.default_rng(0)
ARRAYS = {
    "params/decoder.kernel": RNG.standard_normal((3, 4, 5)).astype(np.float32),
    "params/scale": np.float32(2.5).reshape(()),
    "params/empty": np.zeros((0, 3), np.float32),
    "params/wide": RNG.standard_normal((2, 3)),
    "params/half": RNG.standard_normal(7).astype(np.float16),
    "batch_stats/brain": RNG.standard_normal((4, 2)).astype(jnp.bfloat16),
    "batch_stats/odd": np.array([np.nan, -np.inf, -0.0, 1e-45], np.float32),
    "params/é": np.ones(1, np.float32),
}


def same(found, expected) -> bool:
    return found.keys() == expected.keys() and all(
        (found[n].dtype, found[n].shape, found[n].tobytes()) == (a.dtype, a.shape, a.tobytes())
        for n, a in expected.items()
    )


def contents(header, data: bytes) -> bytes:
    """A file with this header, a dict or the text itself."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changes) -> dict:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


def pickled() -> bytes:
    return pickle.dumps({"params/a": np.zeros(3)})


def zipped() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", pickled())
        return file.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The bytes of a file of all ARRAYS."""
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    array_file.write(path, ARRAYS)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


# --- There and back


def test_arrays_come_back_bit_for_bit(path):
    digest = array_file.write(path, ARRAYS)
    assert same(array_file.read(path), ARRAYS) and same(array_file.read(path, digest), ARRAYS)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_arrays_that_lie_otherwise_in_memory_and_of_devices_come_back(path):
    lying = {"a": np.arange(12.0, dtype=np.float32).reshape(3, 4).T, "b": np.zeros(9)[::3]}
    array_file.write(path, lying | {"c": jnp.ones((2, 2))})
    assert same(array_file.read(path), lying | {"c": np.ones((2, 2), np.float32)})


def test_a_file_is_as_any_other_user_may_read_it(path):
    array_file.write(path, ARRAYS)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_what_is_read_can_be_changed(path):
    array_file.write(path, ARRAYS)
    array_file.read(path)["params/half"][0] = 1


# --- What is no such file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with the length"),
        (b"\x02\0\0", "does not begin with the length"),
        (b"\xff" * 40, "does not begin with the length"),
        ((2**24 + 1).to_bytes(8, "little") + b"{}", "does not begin with the length"),
        ((2**20).to_bytes(8, "little") + b"{}", "its header is cut short"),
        (contents(b"\xff\xfe", b""), "can't decode"),
        (contents(b"[" * 5000, b""), "no whole file of arrays"),
        (contents([], b""), "no whole file of arrays"),
        (contents({"a": entry()}, b""), "no whole file of arrays"),
        (contents({"a": entry()}, bytes(7)), "no whole file of arrays"),
        (contents({"a": entry()}, bytes(9)), "no whole file of arrays"),
        (contents({"a": entry(shape=[3])}, bytes(8)), "no whole file of arrays"),
        (contents({"a": entry(shape=[2**63])}, bytes(8)), "no whole file of arrays"),
        (contents({"a": entry(shape=[2**40] * 8)}, bytes(8)), "no whole file of arrays"),
        (contents({"a": entry(shape=[-2])}, bytes(8)), "no whole file of arrays"),
        (contents({"a": entry(data_offsets=[8, 0])}, bytes(8)), "no whole file of arrays"),
        (contents({"a": entry(), "b": entry()}, bytes(8)), "no whole file of arrays"),
        (
            contents({"a": entry(), "b": entry(data_offsets=[4, 12])}, bytes(12)),
            "no whole file of arrays",
        ),
        (
            contents({"a": entry(), "b": entry(data_offsets=[12, 20])}, bytes(20)),
            "no whole file of arrays",
        ),
        (contents({"a": entry(dtype="I32")}, bytes(8)), "a is of type I32, and weights are of"),
        (contents({"a": entry(dtype="float")}, bytes(8)), "no whole file of arrays"),
        (
            contents(b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2), bytes(8)),
            "its header says something twice",
        ),
        (
            contents(
                b'{"a":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}', bytes(8)
            ),
            "its header says something twice",
        ),
        (pickled(), "is a pickle, which could run code"),
        (zipped(), "is a zip archive, as PyTorch writes them"),
        (b"version https://git-lfs.example/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
    ],
)
def test_anything_else_is_refused_in_one_line(path, content, message):
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        array_file.read(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_whose_header_cannot_be_meant_is_not_read_whole(path):
    with path.open("wb") as file:
        file.write(b"\xff" * 8)
        file.truncate(2**40)  # a terabyte of nothing
    with pytest.raises(UserError, match="does not begin with the length"):
        array_file.read(path)


def test_a_file_that_is_none_is_refused(path):
    for make in (lambda: None, path.mkdir):
        make()
        with pytest.raises(UserError, match="model.safetensors cannot be read"):
            array_file.read(path)


def test_other_bytes_than_those_meant_are_refused(path):
    digest = array_file.write(path, ARRAYS)
    array_file.write(path, ARRAYS | {"params/scale": np.float32(2.6).reshape(())})
    with pytest.raises(UserError, match="is not the file that was written: its sha256"):
        array_file.read(path, digest)


def test_a_file_cut_anywhere_is_refused(whole, path):
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in [*range(0, header, 37), *range(header, len(whole), 29)]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            array_file.read(path)


@st.composite
def mutations(draw, num_bytes: int) -> list[tuple[int, int, bytes]]:
    """Some places at which some bytes go and others come; most of them in the header."""
    places = st.integers(0, num_bytes - 1) | st.integers(0, 900)
    one = st.tuples(places, st.integers(0, 5), st.binary(max_size=5) | st.sampled_from(WORDS))
    return draw(st.lists(one, min_size=1, max_size=4))


WORDS = [b'"', b"}", b"{", b"[0,8]", b"F64", b"I32", b"BF16", b"-1", b"99999999999999999999", b"\0"]


@given(st.data())
def test_a_mutated_file_is_refused_or_its_arrays_are_those_of_its_bytes(
    whole, tmp_path_factory, data
):
    content = whole
    for place, gone, come in data.draw(mutations(len(whole))):
        content = content[:place] + come + content[place + gone :]
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(content)
    try:
        found = array_file.read(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:  # a name or a number of another value; nothing of the size or of the places is
        assert sum(a.nbytes for a in found.values()) == sum(a.nbytes for a in ARRAYS.values())
    # A digest beside it leaves nothing to be read wrongly.
    digest = hashlib.sha256(whole).hexdigest()
    try:
        assert same(array_file.read(path, digest), ARRAYS) and content == whole
    except UserError:
        assert content != whole
