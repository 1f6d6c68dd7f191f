"""Initial weights: the decoder's three starts and the encoder's own, in torch's definitions.

Each is a function (rng, shape) -> float32 array with shape [..., in, out], every kernel's layout
here. They draw with NumPy on the host: drawing with jax.random compiles a program for each shape,
15 s for the whole model on 2 CPU cores, and its numbers depend on the backend. With rng None the
array is zeros, for a model that a checkpoint is about to fill.
"""

from collections.abc import Callable

import numpy as np

Initializer = Callable[[np.random.Generator | None, tuple[int, ...]], np.ndarray]


def fan_in(shape: tuple[int, ...]) -> int:
    """Inputs that one output sums over."""
    return int(np.prod(shape[:-1]))


def fan_out(shape: tuple[int, ...]) -> int:
    """Output channels times taps. Depthwise kernels count all channels, as in torch."""
    return int(np.prod(shape[:-2])) * shape[-1]


def normal(std: Callable[[tuple[int, ...]], float]) -> Initializer:
    """Normal numbers with mean 0 and the standard deviation std(shape)."""

    def draw(rng, shape):
        if rng is None:
            return np.zeros(shape, np.float32)
        return rng.standard_normal(shape, np.float32) * np.float32(std(shape))

    return draw


def he_uniform(rng: np.random.Generator | None, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform within ±√(6 / fan_in): torch's kaiming_uniform_ with its slope left at 0."""
    if rng is None:
        return np.zeros(shape, np.float32)
    bound = np.float32(np.sqrt(6.0 / fan_in(shape)))
    return (2.0 * rng.random(shape, np.float32) - 1.0) * bound


xavier_normal = normal(lambda shape: np.sqrt(2.0 / (fan_in(shape) + fan_out(shape))))
lecun_normal = normal(lambda shape: np.sqrt(1.0 / fan_in(shape)))
kaiming_fan_out = normal(lambda shape: np.sqrt(2.0 / fan_out(shape)))
kaiming_scaled = normal(lambda shape: np.sqrt(2.0 / fan_in(shape)) / 8.0)
zeros = normal(lambda shape: 0.0)
small_normal = normal(lambda shape: 0.01)

DECODER_INITIALIZERS: dict[str, Initializer] = {
    "he_uniform": he_uniform,
    "kaiming_scaled": kaiming_scaled,
    "fixed_std": normal(lambda shape: 0.005),
}
