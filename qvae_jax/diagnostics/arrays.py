"""What the latent and the gradients say about a run's health: pure functions of arrays."""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qvae_jax import losses
from qvae_jax.models.variables import Arrays

ACTIVE_VARIANCE = 0.01  # of a posterior mean over the data (Burda et al., 2016)
NUM_GENERATIONS = 5  # stochastic ones of the same sample, as in the original
MEL_WINDOW = 1024  # of losses.MEL_WINDOWS; the spread is measured on these mel bands
DECIBELS_OF_NEPERS = 10.0 / np.log(10.0)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The diagnostics of one epoch, as probe.examine gave them."""

    epoch: int
    step: int
    parts: tuple[str, ...]
    arrays: dict[str, np.ndarray]

    def of(self, part: str, name: str) -> np.ndarray:
        """An array of a part."""
        return self.arrays[f"{part}/{name}"]

    @property
    def gradient_norms(self) -> dict[str, float]:
        """Norms of the gradient, by part of the model."""
        norms = self.arrays["gradient_norms"]
        return dict(zip(self.arrays["gradient_parts"].tolist(), norms.tolist()))


def kl_per_element(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """KL(N(μ, e^logvar) ‖ N(0, 1)) of each dimension, in nats: two [samples, latent] -> the same.

    Its sum over dimensions is losses.kl_divergence.
    """
    mu, logvar = np.asarray(mu, np.float64), np.asarray(logvar, np.float64)
    with np.errstate(over="ignore"):  # an infinite variance has an infinite divergence
        return 0.5 * (np.square(mu) + np.exp(logvar) - 1.0 - logvar)


def mean_variance(mu: np.ndarray) -> np.ndarray:
    """Variance over the samples of each dimension's posterior mean: [samples, latent] -> [latent].

    A dimension is active where it exceeds ACTIVE_VARIANCE (Burda et al., 2016).
    """
    return np.var(np.asarray(mu, np.float64), axis=0)


def principal_components(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two principal components: [samples, dims] -> [samples, 2], and their shares of variance [2].

    The sign of a component is that which makes its largest loading positive. Components that there
    are not are zero; all is NaN where a point is not finite.
    """
    points = np.asarray(points, np.float64)
    if not np.isfinite(points).all():
        return np.full((len(points), 2), np.nan), np.full(2, np.nan)
    centred = points - points.mean(axis=0)
    _, lengths, loadings = np.linalg.svd(centred, full_matrices=False)
    found = min(2, len(lengths))
    loadings = loadings[:found]
    largest = np.abs(loadings).argmax(axis=1)
    loadings = loadings * np.sign(loadings[np.arange(found), largest])[:, None]
    coordinates, shares = np.zeros((len(points), 2)), np.zeros(2)
    coordinates[:, :found] = centred @ loadings.T
    total = np.sum(np.square(lengths))
    shares[:found] = np.square(lengths[:found]) / total if total > 0 else 0.0
    return coordinates, shares


def latent_summary(mu: np.ndarray, logvar: np.ndarray) -> dict[str, np.ndarray]:
    """All that diagnostics keep of one part's posteriors, from mu and logvar [samples, latent].

    Returns:
        mu, logvar [samples, latent]; kl_per_sample [samples] and kl_per_dimension [latent] in nats,
        the latter the mean over samples; mean_variance [latent]; active, bool [latent].
    """
    kl = kl_per_element(mu, logvar)
    variance = mean_variance(mu)
    return {
        "mu": mu,
        "logvar": logvar,
        "kl_per_sample": kl.sum(axis=1),
        "kl_per_dimension": kl.mean(axis=0),
        "mean_variance": variance,
        "active": variance > ACTIVE_VARIANCE,
    }


def spread(
    generations: jax.Array, sample_rate_hz: int = losses.SAMPLE_RATE_HZ
) -> dict[str, jax.Array]:
    """How far generations of the same sample differ: [batch, generations, samples] -> two [batch].

    spread_waveform is the standard deviation over the generations, root mean square over time, of a
    full scale of 1. spread_db is that of the level in decibels of mel bands, mean over bands and
    frames: there a mere shift of phase counts for little.
    """
    levels = jax.vmap(lambda audio: _mel_levels_db(audio, sample_rate_hz))(generations)
    return {
        "spread_waveform": jnp.sqrt(jnp.mean(jnp.var(generations, axis=1), axis=1)),
        "spread_db": jnp.mean(jnp.std(levels, axis=1), axis=(1, 2)),
    }


def gradient_norms(gradient: Arrays) -> dict[str, jax.Array]:
    """The L2 norm of a gradient within each part: encoder layers, heads, decoder stages."""
    by_part: dict[str, Arrays] = {}
    for name, array in gradient.items():
        by_part.setdefault(part_of(name), {})[name] = array
    return {part: optax.tree.norm(arrays) for part, arrays in by_part.items()}


def parts_of(names: Iterable[str]) -> list[str]:
    """The parts that arrays belong to, each once, in the order of their names."""
    return list(dict.fromkeys(map(part_of, names)))


def part_of(name: str) -> str:
    """The part that an array belongs to: `decoder.stages.3.conv.kernel` -> `decoder.stages.3`.

    It is two modules deep, or as deep as the first list of modules, of which it is one.
    """
    *modules, _ = name.split(".")
    in_list = next((i for i, module in enumerate(modules) if module.isdigit()), 1)
    return ".".join(modules[: max(2, in_list + 1)])


def _mel_levels_db(audio: jax.Array, sample_rate_hz: int) -> jax.Array:
    """Mel levels of audio [batch, samples]: [batch, frames, mels], in dB."""
    energies = losses.spectra(audio, sample_rate_hz).mel[MEL_WINDOW]
    return DECIBELS_OF_NEPERS * jnp.log(energies + losses.LOG_FLOOR)
