"""A file as its decoder is to see it: with another beginning, or only some of its parts."""

import bisect
import io
import itertools
import os
from collections.abc import Sequence
from typing import BinaryIO


class Pieces(io.RawIOBase):
    """A file to read from: some bytes, followed by parts of another file.

    Args:
        head: what comes first.
        file: the other file, which stays open as long as this is read, and whose position changes.
        parts: what follows of it, as (start, end) in bytes.
    """

    def __init__(self, head: bytes, file: BinaryIO, parts: Sequence[tuple[int, int]]):
        super().__init__()
        parts = [(start, end) for start, end in parts if end > start]
        sizes = [len(head), *(end - start for start, end in parts)]
        self._sources = [(io.BytesIO(head), 0), *((file, start) for start, _ in parts)]
        self._ends = list(itertools.accumulate(sizes))
        self._position = 0

    def readable(self) -> bool:
        """True: it can be read."""
        return True

    def seekable(self) -> bool:
        """True: it can be read from any place."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place, counted from the start, from where it is, or from the end."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._ends[-1]}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def readinto(self, buffer) -> int:
        """Fills the buffer, but for what lies beyond the end; gives the number of bytes read."""
        wanted, num_read = memoryview(buffer).cast("B"), 0
        while num_read < len(wanted) and self._position < self._ends[-1]:
            piece = bisect.bisect_right(self._ends, self._position)
            (file, start), end = self._sources[piece], self._ends[piece]
            file.seek(start + self._position - (self._ends[piece - 1] if piece else 0))
            part = wanted[num_read : num_read + end - self._position]
            found = file.readinto(part)
            if not found:
                break  # the file has become shorter
            num_read += found
            self._position += found
        return num_read
