"""Memory that compiling leaves behind is given back before the program runs."""

import jax
import numpy as np

from qvae_jax.system import memory


def test_freed_memory_is_given_back_between_compiling_and_running(monkeypatch):
    order = []
    monkeypatch.setattr(memory, "WORTHWHILE_S", 0.0)
    monkeypatch.setattr(memory, "give_back_freed_memory", lambda: order.append("given back"))

    def program(x):
        return jax.pure_callback(lambda x: (order.append("run"), x)[1], x, x)

    x = np.float32(1.5)
    with memory.given_back_after_compiling():
        assert float(jax.jit(program)(x)) == 1.5
        assert order == ["given back", "run"]
    assert float(jax.jit(lambda x: program(x) + 1)(x)) == 2.5
    assert order.count("given back") == 1, "and only while it is wanted"


def test_what_compiles_fast_is_not_worth_it(monkeypatch):
    given_back = []
    monkeypatch.setattr(memory, "WORTHWHILE_S", 1e9)
    monkeypatch.setattr(memory, "give_back_freed_memory", lambda: given_back.append(True))
    with memory.given_back_after_compiling():
        jax.jit(lambda x: x - 3)(np.float32(1.0))
    assert not given_back


def test_freed_pieces_leave_the_process():
    """Many small ones, as a compiler's: glibc keeps them until it is told."""
    resident = lambda: int(open("/proc/self/statm").read().split()[1])
    pieces = [bytes(2000) for _ in range(100_000)]
    keep = bytearray(1)  # above them, so that the heap's end stays where it is
    full = resident()
    del pieces
    memory.give_back_freed_memory()
    assert resident() < full - 0.5 * 100_000 * 2000 / 4096
    del keep
