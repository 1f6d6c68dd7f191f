"""A file made of pieces, against the same bytes in one piece."""

import io
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.audio.pieces import Pieces

CONTENT = bytes(range(100))
spans = st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted).map(tuple)
moves = st.tuples(
    st.integers(-20, 150),
    st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]),
    st.integers(0, 60),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(head=st.binary(max_size=20), parts=st.lists(spans, max_size=4), moved=st.lists(moves))
def test_it_reads_as_the_same_bytes_in_one_piece(head, parts, moved):
    joined = io.BytesIO(head + b"".join(CONTENT[start:end] for start, end in parts))
    pieces = Pieces(head, io.BytesIO(CONTENT), parts)
    assert pieces.read() == joined.read()
    for offset, whence, num_bytes in moved:
        origin = {0: 0, 1: joined.tell(), 2: len(joined.getvalue())}[whence]
        place = max(0, origin + offset)
        assert pieces.seek(offset, whence) == joined.seek(place) == pieces.tell()
        assert pieces.read(num_bytes) == joined.read(num_bytes)


def test_a_file_that_has_become_shorter_ends_where_it_does():
    assert Pieces(b"ab", io.BytesIO(b"cde"), [(1, 9)]).read() == b"abde"
