"""The QVAE's loss in training and in evaluation, as pure functions of (variables, batch)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from qvae_jax import losses
from qvae_jax.models import global_batch, layers, noise, variables
from qvae_jax.models.qvae import QVAE, sample_latent
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.training.step import Metrics

FEATURE_NOISE = 1  # what its key is folded with, so that it is another than those split off


@dataclasses.dataclass(frozen=True)
class QVAELoss:
    """The loss of a QVAE, from which its training step is made; fixed when that is compiled.

    A batch holds inputs [batch, …] and targets [batch, samples] at sample_rate_hz.

    Attributes:
        graphdef: the model's structure.
        weights: of the loss terms.
        beta: weight of the KL term at each step.
        precomputed_features: whether a batch's inputs are features rather than log-mels.
        train_layers: encoder layers whose BatchNorm runs in training mode.
        temperature: of the latent's noise; 0 trains on z = μ.
        feature_noise: spread of the noise on the features, as a share of their own.
        free_bits: nats that each dimension's KL divergence may have for nothing.
        first_layer: encoder layer whose input a batch's inputs are, 0 where they are log-mels.
        sample_rate_hz: of targets and of the model's sounds.
        compute_dtype: of the encoder's trunk and the decoder, None for that of what they are
            given. Heads, losses, parameters and statistics keep their own.
        axis_name: inside jax.pmap or jax.shard_map, the axis along which the batch is cut.
        batch_norm_per_device: there, whether each device normalises by its own part of the batch.
    """

    graphdef: nnx.GraphDef
    weights: losses.LossWeights
    beta: optax.Schedule
    precomputed_features: bool
    train_layers: frozenset[int]
    temperature: float
    feature_noise: float = 0.0
    free_bits: float = 0.0
    first_layer: int = 0
    sample_rate_hz: int = losses.SAMPLE_RATE_HZ
    compute_dtype: Any = None
    axis_name: str | None = None
    batch_norm_per_device: bool = False

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the terms that are computed."""
        return losses.terms_of(self.weights)

    @property
    def measured(self) -> tuple[str, ...]:
        """What is shown of a validation beside the total."""
        return self.terms

    def __call__(
        self, model_variables: Variables, batch: dict, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Arrays]]:
        """In training mode: the total, its terms and β, and the running statistics afterwards."""
        model = self._merged(model_variables)
        mu, logvar, z, decoder_key = self._drawn(model, batch["inputs"], key)
        seeds = noise.of_rows(decoder_key, len(z), self.axis_name)
        audio = self._decoded(model, z, train=True, key=decoder_key, seeds=seeds)
        beta = self.beta(step)
        total, terms = self._compared(audio, batch, mu, logvar, beta)
        return total, (terms | {"beta": jnp.asarray(beta)}, variables.batch_stats(model))

    def evaluate(
        self,
        model_variables: Variables,
        batch: dict,
        step: jax.Array,
        *,
        batch_statistics: bool = False,
    ) -> tuple[Metrics, jax.Array]:
        """At z = μ, with the β of a step: the total and its terms, and the audio [batch, samples].

        BatchNorm runs on its running statistics, or, with batch_statistics, on those of the batch,
        as the original validates in its overfit mode; nothing is dropped out. A batch may mark
        filling rows by `valid`: neither these statistics nor the loss see them.
        """
        model = self._merged(model_variables)
        mu, logvar = model.posterior(self._features(model, batch["inputs"], train=False))
        if batch_statistics:
            model.decoder.set_attributes(layers.BatchNorm, valid=batch.get("valid"))
            model.decoder.set_attributes(layers.Dropout, rate=0.0, raise_if_not_found=False)
        audio = self._decoded(model, mu, train=batch_statistics)
        total, terms = self._compared(audio, batch, mu, logvar, self.beta(step))
        return {"total": total, **terms}, audio

    def posterior(
        self, model_variables: Variables, inputs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the latent in evaluation mode, two [batch, latent]."""
        model = self._merged(model_variables)
        return model.posterior(self._features(model, inputs, train=False))

    def draws(
        self, model_variables: Variables, inputs: jax.Array, key: jax.Array, num_draws: int
    ) -> jax.Array:
        """Audio [batch, num_draws, samples] of draws from the posterior, in evaluation mode."""
        model = self._merged(model_variables)
        mu, logvar = model.posterior(self._features(model, inputs, train=False))

        def drawn(key: jax.Array) -> jax.Array:
            z = sample_latent(mu, logvar, key, axis_name=self.axis_name)
            return self._decoded(model, z, train=False)

        # One after the other, so that no more than their audio is in memory together.
        return jax.lax.map(drawn, jax.random.split(key, num_draws)).swapaxes(0, 1)

    def _merged(self, model_variables: Variables) -> QVAE:
        model = variables.merge(self.graphdef, model_variables)
        if self.axis_name is not None:
            seen = () if self.batch_norm_per_device else (layers.BatchNorm,)
            model.set_attributes(
                layers.Dropout, *seen, axis_name=self.axis_name, raise_if_not_found=False
            )
        return model

    def _features(self, model: QVAE, inputs: jax.Array, *, train: bool = True) -> jax.Array:
        if self.precomputed_features:
            return inputs
        return model.features(
            self._as_computed(inputs),
            first_layer=self.first_layer,
            train_layers=self.train_layers if train else frozenset(),
        )

    def _drawn(
        self, model: QVAE, inputs: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """In training: the posterior's mean and log-variance, a latent drawn, and a key for the rest."""
        mu, logvar = self._posterior_in_training(model, inputs, key)
        latent_key, decoder_key = jax.random.split(key)
        z = sample_latent(mu, logvar, latent_key, self.temperature, self.axis_name)
        return mu, logvar, z, decoder_key

    def _posterior_in_training(
        self, model: QVAE, inputs: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the latent of features that are blurred by noise."""
        features = self._features(model, inputs)
        if self.feature_noise:
            key = jax.random.fold_in(key, FEATURE_NOISE)
            normal = lambda shape: jax.random.normal(key, shape, features.dtype)
            drawn = global_batch.draw(normal, features.shape, self.axis_name)
            spread = model.standardise.spread[...] / layers.wideness(features.shape[-1])
            features += self.feature_noise * spread * drawn
        return model.posterior(features)

    def _decoded(
        self,
        model: QVAE,
        z: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
        seeds: jax.Array | None = None,
    ) -> jax.Array:
        audio = model.decode(self._as_computed(z), train=train, key=key, seeds=seeds)
        return audio.astype(z.dtype)

    def _as_computed(self, x: jax.Array) -> jax.Array:
        return x if self.compute_dtype is None else x.astype(self.compute_dtype)

    def _compared(
        self,
        audio: jax.Array,
        batch: dict,
        mu: jax.Array,
        logvar: jax.Array,
        beta: jax.Array | float,
    ) -> tuple[jax.Array, Metrics]:
        lengths = batch.get("lengths")
        if lengths is not None:  # in samples of the curves' rate
            lengths = lengths * (self.sample_rate_hz // losses.SAMPLE_RATE_HZ)
        return losses.qvae_loss(
            audio,
            batch["targets"],
            mu,
            logvar,
            beta=beta,
            weights=self.weights,
            valid=batch.get("valid"),
            lengths=lengths,
            free_bits=self.free_bits,
            axis_name=self.axis_name,
            sample_rate_hz=self.sample_rate_hz,
        )
