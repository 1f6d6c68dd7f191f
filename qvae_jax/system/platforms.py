"""What the CPU wants done otherwise than an accelerator, decided in one place."""

from collections.abc import Callable

import jax


def on_cpu() -> bool:
    """Whether programs are compiled for the CPU, by default."""
    return jax.default_backend() == "cpu"


def samples_apart() -> bool:
    """Whether a batch is better computed one sample after the other than at once.

    What a sample leaves behind then stays in the processor's cache, which a whole batch would
    exceed: two to three times as fast for the log-mel and the encoder. An accelerator wants the
    batch at once, and so do several devices, each of which has a part of it.
    """
    return on_cpu() and jax.device_count() == 1


def computed_once(x: jax.Array) -> jax.Array:
    """x, for which the compiler shall not put what it is computed from where it is used.

    XLA's CPU backend does that to save memory traffic which its caches make cheap. It heeds this
    while it simplifies, and forgets it before it fuses; the losses are a sixth faster for it.
    """
    return jax.lax.optimization_barrier(x) if samples_apart() else x


def each_sample(
    function: Callable[[jax.Array], jax.Array], batch: jax.Array, *, at_once: int = 1
) -> jax.Array:
    """function(batch), computed for one sample after the other where samples_apart().

    Args:
        function: [n, …] -> [n, …], in which no sample sees another.
        batch: [batch, …].
        at_once: the most samples that go together, where one alone is too little work. Groups
            are equal: of seven samples, where four may go together, each goes alone.
    """
    if not samples_apart() or len(batch) <= at_once:
        return function(batch)
    count = next(n for n in range(at_once, 0, -1) if len(batch) % n == 0)
    groups = batch.reshape(-1, count, *batch.shape[1:])
    results = jax.lax.map(function, groups)
    return results.reshape(len(batch), *results.shape[2:])
