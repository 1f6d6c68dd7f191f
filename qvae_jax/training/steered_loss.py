"""The loss of a steered model: its sound of the target's own curves, and its gesture's distance."""

import dataclasses

import jax
import jax.numpy as jnp

from qvae_jax.models import global_batch, noise, variables
from qvae_jax.models.steered import Steered, gesture_distance, within_range
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.training.qvae_loss import QVAELoss
from qvae_jax.training.step import Metrics


@dataclasses.dataclass(frozen=True)
class SteeredLoss(QVAELoss):
    """The loss of a steered model, fixed when its step is compiled.

    A batch holds, besides inputs and targets, the targets' curves as controls [batch, 243, 4] and
    their lengths in samples, int [batch], both of 22,050 Hz; in training maybe told, bool [batch,
    4]: where a curve is not, the gesture head's takes its place.
    """

    def __call__(
        self, model_variables: Variables, batch: dict, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Arrays]]:
        """In training mode: the total, its terms and β, and the running statistics afterwards."""
        model = self._merged(model_variables)
        mu, logvar, z, noise_key = self._drawn(model, batch["inputs"], key)
        seeds = noise.of_rows(noise_key, len(z), self.axis_name)
        gestured, durations_s = self._gesture(model.decoder, z)
        # What the renderer makes of the gesture is no reason for the head to gesture otherwise.
        instead = jax.lax.stop_gradient(within_range(gestured))
        curves = batch["controls"]
        if "told" in batch:
            curves = jnp.where(batch["told"][:, None, :], curves, instead)
        audio = self._rendered(model.decoder, z, curves, seeds, train=True)
        beta = self.beta(step)
        total, terms = self._compared(audio, batch, mu, logvar, beta)
        total, terms = self._with_gesture(total, terms, gestured, durations_s, batch)
        return total, (terms | {"beta": jnp.asarray(beta)}, variables.batch_stats(model))

    def evaluate(
        self,
        model_variables: Variables,
        batch: dict,
        step: jax.Array,
        *,
        batch_statistics: bool = False,
    ) -> tuple[Metrics, jax.Array]:
        """At z = μ, steered by the targets' own curves, with noise that is always the same.

        Gives the total and its terms; by_gesture, the audio terms' total where the gesture head
        steers; and the audio [batch, samples] of the targets' curves. There is no BatchNorm in the
        decoder that batch_statistics could concern.
        """
        model = self._merged(model_variables)
        mu, logvar = model.posterior(self._features(model, batch["inputs"], train=False))
        seeds = jnp.zeros((len(mu), 2), jnp.uint32)
        gestured, durations_s = self._gesture(model.decoder, mu)
        audio = self._rendered(model.decoder, mu, batch["controls"], seeds)
        total, terms = self._compared(audio, batch, mu, logvar, self.beta(step))
        total, terms = self._with_gesture(total, terms, gestured, durations_s, batch)
        alone = self._rendered(model.decoder, mu, within_range(gestured), seeds)
        by_gesture, _ = self._compared(alone, batch, mu, logvar, 0.0)
        return {"total": total, **terms, "by_gesture": by_gesture}, audio

    def _gesture(self, decoder: Steered, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        curves, durations_s = decoder.gesture(self._as_computed(z))
        return curves.astype(z.dtype), durations_s.astype(z.dtype)

    def _rendered(self, decoder: Steered, z, curves, seeds, *, train: bool = False) -> jax.Array:
        return decoder.renderer(self._as_computed(z), curves, seeds, train=train).astype(z.dtype)

    def _with_gesture(
        self,
        total: jax.Array,
        terms: Metrics,
        gestured: jax.Array,
        durations_s: jax.Array,
        batch: dict,
    ) -> tuple[jax.Array, Metrics]:
        """The total and the terms with the gesture's distance among them."""
        each = gesture_distance(gestured, durations_s, batch["controls"], batch["lengths"])
        valid = batch.get("valid")
        share = 1.0
        if valid is not None:
            each = jnp.where(valid, each, 0.0)
            share = global_batch.mean(valid.astype(each.dtype), None, self.axis_name)
        distance = global_batch.mean(each, None, self.axis_name) / share
        total += self.weights.gesture * distance
        return total, terms | {"gesture": jax.lax.stop_gradient(distance)}
