"""The loss of encoders for search in training, and their embeddings, of (variables, batch)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from qvae_jax import contrastive
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import layers, variables
from qvae_jax.models.qvim import IMITATION, QVIM, REFERENCE
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.training.step import Metrics
from qvae_jax.training.varied_sounds import Augmentation, varied_log_mels

SIDES = (IMITATION, REFERENCE)
CHOSEN = "_chosen"  # after a side's name: which one augmentation each of its rows gets


@dataclasses.dataclass(frozen=True)
class ContrastiveLoss:
    """The loss of a QVIM, from which its training step is made; fixed when that is compiled.

    A batch holds waveforms [batch, samples] of each side, imitation and reference; which sound each
    row is of, sounds, int [batch]; and, where a clip gets one augmentation at most, imitation_chosen
    and reference_chosen, int [batch].

    Attributes:
        graphdef: the model's structure.
        front_end: what the encoders hear of a sound.
        train_layers: encoder layers whose BatchNorm runs in training mode.
        temperature: τ, where the model does not learn it.
        same_sound: see contrastive.nt_xent.
        triplet: weight of the triplet loss.
        triplet_margin: of its distances.
        augmentation: how the sounds vary.
        compute_dtype: of the encoders, None for that of the log-mels.
        axis_name: inside jax.pmap or jax.shard_map, the axis along which the batch is cut.
        batch_norm_per_device: there, whether each device normalises by its own part of the batch.
    """

    graphdef: nnx.GraphDef
    front_end: FrontEnd
    train_layers: frozenset[int]
    temperature: float = 0.07
    same_sound: str = "left_out"
    triplet: float = 0.0
    triplet_margin: float = 0.6
    augmentation: Augmentation = Augmentation()
    compute_dtype: Any = None
    axis_name: str | None = None
    batch_norm_per_device: bool = False

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the terms that are computed."""
        return ("nt_xent", "triplet") if self.triplet else ("nt_xent",)

    @property
    def measured(self) -> tuple[str, ...]:
        """What is shown of a validation beside the MRR."""
        return ("recall_at_1", "recall_at_2", "ndcg")

    def __call__(
        self, model_variables: Variables, batch: dict, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Arrays]]:
        """In training mode: the total, its terms and τ, and the running statistics afterwards."""
        model = self._merged(model_variables)
        logmels = (self._varied(side, batch, key) for side in SIDES)
        embedded = model.pairs(*map(self._as_computed, logmels), train_layers=self.train_layers)
        tau = self.temperature if model.tau is None else model.tau[...]
        given = (*embedded, batch["sounds"])
        total = contrastive.nt_xent(
            *given, tau, same_sound=self.same_sound, axis_name=self.axis_name
        )
        terms = {"nt_xent": total}
        if self.triplet:
            terms["triplet"] = contrastive.semi_hard_triplet(
                *given, self.triplet_margin, axis_name=self.axis_name
            )
            total += self.triplet * terms["triplet"]
        terms = jax.lax.stop_gradient(terms | {"temperature": jnp.asarray(tau)})
        return total, (terms, variables.batch_stats(model))

    def evaluate(
        self, model_variables: Variables, batch: dict, step: jax.Array
    ) -> tuple[Metrics, dict[str, jax.Array]]:
        """No metrics, and embeddings [batch, channels] of each side that the batch has sounds of."""
        model = self._merged(model_variables)
        return {}, {
            side: model.embedded(side, self._as_computed(log_mel(batch[side], self.front_end)))
            for side in SIDES
            if side in batch
        }

    def _varied(self, side: str, batch: dict, key: jax.Array) -> jax.Array:
        return varied_log_mels(
            jax.random.fold_in(key, SIDES.index(side)),
            batch[side],
            batch.get(side + CHOSEN),
            self.augmentation,
            self.front_end,
            axis_name=self.axis_name,
        )

    def _merged(self, model_variables: Variables) -> QVIM:
        model = variables.merge(self.graphdef, model_variables)
        if self.axis_name is not None and not self.batch_norm_per_device:
            model.set_attributes(layers.BatchNorm, axis_name=self.axis_name)
        return model

    def _as_computed(self, x: jax.Array) -> jax.Array:
        return x if self.compute_dtype is None else x.astype(self.compute_dtype)
