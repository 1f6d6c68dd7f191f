"""A batch computed one sample after the other, which CPU forms do and an accelerator never."""

from collections.abc import Callable

import jax


def each_sample(
    function: Callable[[jax.Array], jax.Array], batch: jax.Array, *, at_once: int = 1
) -> jax.Array:
    """function(batch), computed for one sample, or a few, after the other.

    Args:
        function: [n, …] -> [n, …], in which no sample sees another.
        batch: [batch, …].
        at_once: the most samples that go together, where one alone is too little work. Groups
            are equal: of seven samples, where four may go together, each goes alone.
    """
    if len(batch) <= at_once:
        return function(batch)
    count = next(n for n in range(at_once, 0, -1) if len(batch) % n == 0)
    groups = batch.reshape(-1, count, *batch.shape[1:])
    results = jax.lax.map(function, groups)
    return results.reshape(len(batch), *results.shape[2:])
