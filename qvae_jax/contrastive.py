"""Losses that draw an imitation to its own sound and away from the other sounds of the batch.

Embeddings are rows of unit norm, imitation i beside its own sound i. A batch may be cut among
devices (axis_name, see models/global_batch.py): an imitation is compared with the sounds of the
whole batch, and losses and gradients are those of one device.
"""

import jax
import jax.numpy as jnp

from qvae_jax.models import global_batch

SAME_SOUND = ("left_out", "wrong")  # what becomes of a sound's other places in the batch


def nt_xent(
    imitations: jax.Array,
    references: jax.Array,
    sounds: jax.Array,
    temperature: jax.Array | float,
    *,
    same_sound: str = "left_out",
    axis_name: str | None = None,
) -> jax.Array:
    """NT-Xent from imitations to sounds (Chen et al., 2020): a scalar, of at least 0.

    The mean cross-entropy of each imitation's own sound among all, by cosine / |temperature|.

    Args:
        imitations, references: embeddings [batch, d].
        sounds: which sound each row is of, int [batch].
        temperature: τ; its sign does not count.
        same_sound: where a sound stands twice, its other places are "left_out" of the softmax of a
            row (Greif et al., 2024), or "wrong" answers like any other.
        axis_name: see above.
    """
    is_own, is_same = _places(sounds, axis_name)
    logits = imitations @ global_batch.all_rows(references, axis_name).T / jnp.abs(temperature)
    if same_sound == "left_out":
        logits = jnp.where(is_same & ~is_own, -jnp.inf, logits)
    own = jnp.sum(jnp.where(is_own, logits, 0), axis=1)
    return global_batch.mean(jax.nn.logsumexp(logits, axis=1) - own, None, axis_name)


def semi_hard_triplet(
    imitations: jax.Array,
    references: jax.Array,
    sounds: jax.Array,
    margin: float,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Triplet loss with semi-hard negatives (Schroff et al., 2015): a scalar from 0 to 2 + margin.

    The mean of max(0, margin + d(own) - d(other)) with the cosine distance d = 1 - cos. The other
    is the nearest different sound that is farther from the imitation than its own; where all are
    nearer, the farthest of them. Arguments are as those of nt_xent.
    """
    is_own, is_same = _places(sounds, axis_name)
    distances = 1 - imitations @ global_batch.all_rows(references, axis_name).T
    own = jnp.sum(jnp.where(is_own, distances, 0), axis=1)
    is_farther = ~is_same & (distances > own[:, None])
    nearest = jnp.min(jnp.where(is_farther, distances, jnp.inf), axis=1)
    farthest = jnp.max(jnp.where(is_same, -jnp.inf, distances), axis=1)
    other = jnp.where(is_farther.any(axis=1), nearest, farthest)
    return global_batch.mean(jax.nn.relu(margin + own - other), None, axis_name)


def _places(sounds: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Which place of the whole batch is a row's own, and which are of its sound: bool [rows, all]."""
    of_all = global_batch.all_rows(sounds, axis_name)
    rows = jnp.arange(len(sounds)) + global_batch.first_row(len(sounds), axis_name)
    return rows[:, None] == jnp.arange(len(of_all)), sounds[:, None] == of_all
