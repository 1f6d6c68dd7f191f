"""A fast form of a convolution held to its plain form."""

import jax
import numpy as np

from filled import error

TOLERANCE = 1e-5  # relative to the largest


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_same_forms(fast, plain, x, kernel):
    """Results, and gradients by input and by kernel under a random cotangent."""

    @jax.jit  # both in one program: the examples' time is that of compiling
    def results(x, kernel, cotangent):
        pairs = ((form, *jax.vjp(form, x, kernel)) for form in (fast, plain))
        # Undifferentiated, a form may be another one.
        return [[form(x, kernel), y, *pull_back(cotangent)] for form, y, pull_back in pairs]

    cotangent = noise(*jax.eval_shape(plain, x, kernel).shape, seed=2)
    for ours, theirs in zip(*results(x, kernel, cotangent), strict=True):
        assert error(ours, theirs) < TOLERANCE
