"""Diagnostics of epochs that never were, for the tests of what reads them."""

import numpy as np

from qvae_jax.diagnostics import arrays as diagnostics
from qvae_jax.diagnostics.arrays import Snapshot

PARTS = ("interpolation", "extrapolation")
GRADIENTS = {"encoder.features.16": 0.5, "mu_head": 0.1, "decoder.stages.0": 1.0}


def snapshot(
    epoch: int = 1,
    *,
    scale=1.0,
    logvar: float = -1.0,
    latent_dim: int = 4,
    num_samples: int = 6,
    parts: tuple[str, ...] = PARTS,
    **gradients: float,
) -> Snapshot:
    """Means of a deviation of `scale` (of each dimension), one log-variance, GRADIENTS changed."""
    rng = np.random.default_rng(epoch)
    arrays = {}
    for part in parts:
        mu = (scale * rng.standard_normal((num_samples, latent_dim))).astype(np.float32)
        summary = diagnostics.latent_summary(mu, np.full_like(mu, logvar))
        summary |= {"spread_db": rng.uniform(1, 2, 2), "spread_waveform": rng.uniform(0, 0.1, 2)}
        arrays |= {f"{part}/{name}": array for name, array in summary.items()}
    means = np.concatenate([arrays[f"{part}/mu"] for part in parts])
    arrays["pca"], arrays["pca_shares"] = diagnostics.principal_components(means)
    norms = GRADIENTS | gradients
    arrays["gradient_parts"] = np.array(list(norms))
    arrays["gradient_norms"] = np.array(list(norms.values()))
    return Snapshot(epoch, 3 * epoch, parts, arrays)
