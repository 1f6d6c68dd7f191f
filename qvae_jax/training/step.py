"""The training step and the evaluation step: pure functions of (state, batch)."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from qvae_jax import losses
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAE, sample_latent
from qvae_jax.models.variables import Arrays, Variables

Metrics = dict[str, jax.Array]


class TrainState(NamedTuple):
    """Everything that a step changes, and the parameters that it does not."""

    step: jax.Array  # steps taken so far, int32
    trainable: Arrays
    frozen: Arrays
    batch_stats: Arrays
    optimizer_state: Any

    def variables(self) -> Variables:
        """The model's variables, trainable and frozen together."""
        return Variables({**self.frozen, **self.trainable}, self.batch_stats)


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """What a step does beyond state and batch; all of it is fixed when it is compiled.

    Attributes:
        loss_weights: of the loss terms.
        beta: weight of the KL term at each step.
        learning_rate: at each step, only to be reported; the optimiser has its own.
        precomputed_features: whether a batch's inputs are features rather than log-mels.
        train_layers: encoder layers whose BatchNorm runs in training mode.
        temperature: of the latent's noise; 0 trains on z = μ.
        seed: of that noise.
        first_layer: encoder layer whose input a batch's inputs are, 0 where they are log-mels.
    """

    loss_weights: losses.LossWeights
    beta: optax.Schedule
    learning_rate: optax.Schedule
    precomputed_features: bool
    train_layers: frozenset[int]
    temperature: float
    seed: int
    first_layer: int = 0


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation, options: StepOptions
) -> Callable[[TrainState, dict], tuple[TrainState, Metrics]]:
    """The step (state, batch) -> (state, metrics).

    A batch holds inputs [batch, …] and targets [batch, 59049]. Metrics are scalars: the total
    loss, its terms, β, the learning rate and the gradient's norm before clipping.
    """

    def loss(trainable: Arrays, state: TrainState, batch: dict):
        model = variables.merge(graphdef, state._replace(trainable=trainable).variables())
        features = _features(model, batch["inputs"], options)
        mu, logvar = model.posterior(features)
        key = jax.random.fold_in(jax.random.key(options.seed), state.step)
        noise_key, dropout_key = jax.random.split(key)
        z = sample_latent(mu, logvar, noise_key, options.temperature)
        audio = model.decode(z, train=True, key=dropout_key)
        beta = options.beta(state.step)
        total, terms = losses.qvae_loss(
            audio, batch["targets"], mu, logvar, beta=beta, weights=options.loss_weights
        )
        return total, (terms | {"beta": jnp.asarray(beta)}, variables.batch_stats(model))

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, Metrics]:
        gradient_of = jax.value_and_grad(loss, has_aux=True)
        (total, (terms, stats)), gradient = gradient_of(state.trainable, state, batch)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, state.trainable
        )
        metrics = {
            "total": total,
            **terms,
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate": jnp.asarray(options.learning_rate(state.step)),
        }
        new_state = TrainState(
            state.step + 1,
            optax.apply_updates(state.trainable, updates),
            state.frozen,
            stats,
            optimizer_state,
        )
        return new_state, metrics

    return train_step


def make_eval_step(
    graphdef: nnx.GraphDef, options: StepOptions, *, batch_statistics: bool = False
) -> Callable[[Variables, dict, jax.Array], tuple[Metrics, jax.Array]]:
    """The step (variables, batch, β) -> (metrics, audio [batch, 59049]) at z = μ.

    BatchNorm runs on its running statistics, or, with batch_statistics, on those of the batch,
    as the original validates in its overfit mode. A batch may mark filling rows by `valid`.
    """

    def eval_step(model_variables: Variables, batch: dict, beta: jax.Array):
        model = variables.merge(graphdef, model_variables)
        mu, logvar = model.posterior(_features(model, batch["inputs"], options, train=False))
        audio = model.decode(mu, train=batch_statistics)
        total, terms = losses.qvae_loss(
            audio,
            batch["targets"],
            mu,
            logvar,
            beta=beta,
            weights=options.loss_weights,
            valid=batch.get("valid"),
        )
        return {"total": total, **terms}, audio

    return eval_step


def _features(
    model: QVAE, inputs: jax.Array, options: StepOptions, *, train: bool = True
) -> jax.Array:
    if options.precomputed_features:
        return inputs
    train_layers = options.train_layers if train else frozenset()
    return model.features(inputs, first_layer=options.first_layer, train_layers=train_layers)
