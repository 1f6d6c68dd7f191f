"""Standard output and standard error on which nothing fails: what is said never ends the work."""

import errno
import io
import os
import sys

LAST_STANDARD = 2  # 0 is standard input, 1 output, 2 error


def make_safe() -> None:
    """Replaces this process's standard output and standard error by ones that never raise.

    A character that the stream's encoding lacks is written as its escape. Where a pipe is closed
    from the other end (`| head`), a terminal gone or a disk full, the rest goes nowhere; but for
    a pipe's, standard error says so. A stream that the process began without goes nowhere too.
    """
    _open_what_is_closed()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")
        elif isinstance(stream, io.TextIOWrapper):
            stream = _safe(stream, name)
        setattr(sys, name, stream)


def _open_what_is_closed() -> None:
    # The next file that is opened takes the lowest free number, and what a library in C prints to
    # standard output would end up in it.
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > LAST_STANDARD:
            os.close(descriptor)
            return


def _safe(stream: io.TextIOWrapper, name: str) -> io.TextIOWrapper:
    raw = _Forgiving(stream.fileno(), name)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Forgiving(io.FileIO):
    """A descriptor to write to; from the first failure on, what is written is dropped."""

    def __init__(self, descriptor: int, name: str):
        super().__init__(descriptor, "w", closefd=False)
        self.named = name
        self.failed = False

    def write(self, data) -> int:
        if not self.failed:
            try:
                return super().write(data)
            except OSError as error:
                self.failed = True
                if self.named == "stdout" and error.errno != errno.EPIPE:
                    print(
                        f"warning: standard output takes no more ({error.strerror}): what follows "
                        "is lost.",
                        file=sys.stderr,
                    )
        return memoryview(data).nbytes
