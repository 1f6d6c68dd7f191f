"""Layers in turn, a few samples at once: what a sample leaves behind stays in the cache."""

import functools
import itertools

import jax

from qvae_jax.models import plain
from qvae_jax.system.each_sample import each_sample

# Samples that go through a step together, by the step's name; 1 where none is given. A long
# result, or a large map, fills the processor's cache alone, and the products of a short one are
# too little work for more than one core.
SAMPLES_AT_ONCE = {
    # The encoder, from its seventh inverted residual on.
    **{f"features.{layer}": 4 for layer in range(7, 17)},
    # The `original` decoders to 243 time steps, the others to 2,187.
    **{f"stages.{stage}": 8 for stage in range(6)},
    **{f"blocks.{block}": 8 for block in range(7)},
    "project": 8,
    "stem": 8,
}


def in_turn(steps, x: jax.Array) -> jax.Array:
    """plain.in_turn, in groups of samples up to the first step that sees the batch."""
    apart = list(itertools.takewhile(lambda step: not step.sees_batch, steps))
    for at_once, group in itertools.groupby(apart, _samples_at_once):
        x = each_sample(functools.partial(plain.in_turn, list(group)), x, at_once=at_once)
    return plain.in_turn(steps[len(apart) :], x)


def _samples_at_once(step: plain.Step) -> int:
    return SAMPLES_AT_ONCE.get(step.name, 1)
