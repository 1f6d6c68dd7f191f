"""Which latents are decoded: variations, interpolations, walks, draws from the prior."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from qvae_jax.system.errors import UserError

WALK_REACH = 3.0  # standard deviations of the prior, to either side
WALK_STEPS = 7  # one for each whole standard deviation
LARGEST_SEED = 2**32 - 1
INTERPOLATION, WALK, PRIOR = "interpolation", "walk", "prior"  # what labels begin with


@dataclasses.dataclass(frozen=True)
class Latent:
    """One latent to decode.

    Attributes:
        z: [latent].
        label: what tells its output from others of the same input, empty where it has none.
        place: of the input it comes from, counted from 1; None where it comes from none, or two.
        facts: what it is, for the manifest.
    """

    z: np.ndarray
    label: str
    place: int | None
    facts: dict


def check_noise(temperature: float, seed: int) -> None:
    """Raises UserError for a temperature or a seed that makes no sense."""
    if not (temperature >= 0 and np.isfinite(temperature)):
        raise UserError(f"--temperature is {temperature}: set it to 0 or more.")
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"--seed is {seed}: set it to a whole number from 0 to 2^32 - 1.")


def drawn(mu: np.ndarray, logvar: np.ndarray, temperature: float, key: Sequence[int]) -> np.ndarray:
    """z = μ + temperature·exp(½·logvar)·ε with ε ~ N(0, 1): float32 [latent].

    key seeds the noise: whole numbers from 0. At temperature 0 z is exactly μ.
    """
    if temperature == 0:
        return mu
    noise = np.random.default_rng(list(key)).standard_normal(mu.shape)
    return (mu + temperature * np.exp(0.5 * logvar) * noise).astype(np.float32)


def variations(
    mu: np.ndarray, logvar: np.ndarray, place: int, count: int, temperature: float, seed: int
) -> list[Latent]:
    """`count` draws from an input's posterior; the noise depends on seed, place and number."""
    labels = _labels("variation", count) if count > 1 else [""]
    return [
        Latent(
            drawn(mu, logvar, temperature, [seed, place, number]),
            label,
            place,
            {"variation": number, "seed": seed, "temperature": temperature},
        )
        for number, label in enumerate(labels, start=1)
    ]


def interpolation(
    first: np.ndarray, second: np.ndarray, num_steps: int, num_before: int = 0
) -> list[Latent]:
    """`num_steps` latents from one μ to another, both included, equally spaced along the way.

    Their numbers go on after num_before.
    """
    positions = np.linspace(0.0, 1.0, num_steps)
    return [
        Latent(between(first, second, position), label, None, {"position": float(position)})
        for position, label in zip(positions, _labels(INTERPOLATION, num_steps, num_before))
    ]


def between(first: np.ndarray, second: np.ndarray, position: float) -> np.ndarray:
    """The point on the arc from first (position 0) to second (1): float32 [latent].

    The direction turns at a constant rate (spherical interpolation, Shoemake 1985) and the norm
    changes linearly. Not along the chord: its middle lies nearer to the origin than both ends,
    where with many dimensions hardly any latent of a sound lies (White 2016, "Sampling Generative
    Networks"). Where no single arc exists, between parallel or opposite vectors or from the
    origin, it is the chord.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
    chord = (1 - position) * a + position * b
    if norm_a == 0 or norm_b == 0:
        return chord.astype(np.float32)
    cosine = np.clip(a @ b / (norm_a * norm_b), -1.0, 1.0)
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-6:
        return chord.astype(np.float32)
    weights = np.sin([(1 - position) * angle, position * angle]) / np.sin(angle)
    direction = weights[0] * a / norm_a + weights[1] * b / norm_b
    return (((1 - position) * norm_a + position * norm_b) * direction).astype(np.float32)


def walk(
    centre: np.ndarray, place: int | None, dimension: int, num_steps: int, num_before: int = 0
) -> list[Latent]:
    """`num_steps` latents around one, moved along a dimension from -3 to +3.

    The prior's standard deviation is 1 in every dimension, so these are prior deviations. Numbers
    go on after num_before.
    """
    steps = []
    labels = _labels(WALK, num_steps, num_before)
    for offset, label in zip(np.linspace(-WALK_REACH, WALK_REACH, num_steps), labels):
        z = np.array(centre, np.float32)
        z[dimension] += offset
        steps.append(Latent(z, label, place, {"dimension": dimension, "offset": float(offset)}))
    return steps


def prior(
    latent_dim: int, count: int, temperature: float, seed: int, num_before: int = 0
) -> list[Latent]:
    """`count` draws from N(0, temperature²); the noise depends on seed and number.

    Numbers go on after num_before.
    """
    zero = np.zeros(latent_dim, np.float32)
    return [
        Latent(
            drawn(zero, zero, temperature, [seed, number]),
            label,
            None,
            {"prior_sample": number, "seed": seed, "temperature": temperature},
        )
        for number, label in enumerate(_labels(PRIOR, count, num_before), start=num_before + 1)
    ]


def _labels(word: str, count: int, num_before: int = 0) -> list[str]:
    last = num_before + count
    digits = max(2, len(str(last)))
    return [f"{word}{number:0{digits}d}" for number in range(num_before + 1, last + 1)]
