"""Encoders for query by vocal imitation: one hears imitations, the other sounds, or one hears both.

Greif et al. (2024) and the QVIM baseline train two that begin with the same AudioSet weights; the
entry that won the QVIM challenge of 2025 shares one.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from qvae_jax.models import layers
from qvae_jax.models.mobilenet import MobileNetV3
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.models.variables import Arrays, Variables

IMITATION, REFERENCE = "imitation", "reference"


class QVIM(nnx.Module):
    """One or two MobileNetV3, and maybe the temperature that their cosines are divided by.

    Attributes:
        imitation: the encoder that hears imitations, and sounds too where there is no other.
        reference: that of sounds; None where one is shared.
        tau: the temperature, where it is learnt.
    """

    def __init__(
        self,
        config: QVAEConfig,
        *,
        shared: bool = False,
        learnt_temperature: float | None = None,
        rng=None,
    ):
        self.imitation = encoder_network(config, rng=rng)
        self.reference = None if shared else encoder_network(config, rng=rng)
        learns = learnt_temperature is not None
        self.tau = nnx.Param(jnp.float32(learnt_temperature)) if learns else None

    def of(self, side: str) -> MobileNetV3:
        """The encoder of a side, IMITATION or REFERENCE."""
        is_own = side == REFERENCE and self.reference is not None
        return self.reference if is_own else self.imitation

    def embedded(
        self, side: str, logmels: jax.Array, *, train_layers: frozenset[int] = frozenset()
    ) -> jax.Array:
        """Embeddings of unit norm of one side: [batch, mel, frames] -> [batch, channels].

        BatchNorm of train_layers runs in training mode. Embeddings are float32 at least.
        """
        return layers.normalised(self.of(side).pooled(logmels, train_layers=train_layers))

    def pairs(
        self,
        imitations: jax.Array,
        references: jax.Array,
        *,
        train_layers: frozenset[int] = frozenset(),
    ) -> tuple[jax.Array, jax.Array]:
        """Embeddings of both sides, from log-mels [batch, mel, frames] each.

        A shared encoder hears both at once, so that BatchNorm normalises both sides alike, as it
        will when it only evaluates.
        """
        if self.reference is not None:
            given = ((IMITATION, imitations), (REFERENCE, references))
            return tuple(self.embedded(*one, train_layers=train_layers) for one in given)
        # Row by row, so that a batch that is cut among devices stays cut as it is.
        both = jnp.stack([imitations, references], axis=1)
        heard = self.embedded(
            IMITATION, both.reshape(-1, *both.shape[2:]), train_layers=train_layers
        )
        heard = heard.reshape(len(both), 2, -1)
        return heard[:, 0], heard[:, 1]


def begun(
    imitation: Variables, reference: Variables, *, shared: bool, learnt_temperature: float | None
) -> Variables:
    """The variables of a QVIM whose encoders have these."""
    sides = {IMITATION: imitation} if shared else {IMITATION: imitation, REFERENCE: reference}
    named = lambda part: {
        f"{side}.{name}": array
        for side, of_side in sides.items()
        for name, array in getattr(of_side, part).items()
    }
    params = named("params")
    if learnt_temperature is not None:
        params["tau"] = jnp.float32(learnt_temperature)
    return Variables(params, named("batch_stats"))


def encoders(qvim: Variables) -> dict[str, Variables]:
    """The variables of each encoder by its side, of which a shared one has IMITATION alone."""

    def of(side: str, arrays: Arrays) -> Arrays:
        prefix = f"{side}."
        return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}

    found = {
        side: Variables(*(of(side, arrays) for arrays in qvim)) for side in (IMITATION, REFERENCE)
    }
    return {side: of_side for side, of_side in found.items() if of_side.params}
