"""The training step and the evaluation step: pure functions of (state, batch)."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from qvae_jax import losses
from qvae_jax.models import layers, variables
from qvae_jax.models.qvae import QVAE, sample_latent
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.training.optimizer import global_norm

Metrics = dict[str, jax.Array]


class TrainState(NamedTuple):
    """Everything that a step changes, and the parameters that it does not."""

    step: jax.Array  # steps taken so far, int32
    trainable: Arrays
    frozen: Arrays
    batch_stats: Arrays
    optimizer_state: Any
    average: Arrays | None = None  # exponential moving average of trainable; None without one

    def variables(self) -> Variables:
        """The model's variables, trainable and frozen together."""
        return Variables({**self.frozen, **self.trainable}, self.batch_stats)

    def averaged(self) -> Variables:
        """The variables to evaluate: with the averaged parameters, where an average is kept.

        BatchNorm's running statistics are averages already and are taken as they are.
        """
        trained = self.trainable if self.average is None else self.average
        return Variables({**self.frozen, **trained}, self.batch_stats)


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
        accumulation_steps: parts that a batch is computed in, one after the other. Loss and
            gradient are the parts' mean; BatchNorm and the spectral convergence see one part at a
            time, and the running statistics move once for each.
        average_decay: of the exponential moving average of the trained parameters.
        compute_dtype: of the encoder's trunk and the decoder, None for that of what they are
            given. Heads, losses, parameters and statistics keep their own.
        axis_name: inside jax.pmap or jax.shard_map, the axis along which the batch is cut.
        batch_norm_per_device: there, whether each device normalises by its own part of the batch.
    """

    loss_weights: losses.LossWeights
    beta: optax.Schedule
    learning_rate: optax.Schedule
    precomputed_features: bool
    train_layers: frozenset[int]
    temperature: float
    seed: int
    first_layer: int = 0
    accumulation_steps: int = 1
    average_decay: float = 0.0
    compute_dtype: Any = None
    axis_name: str | None = None
    batch_norm_per_device: bool = False


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation, options: StepOptions
) -> Callable[[TrainState, dict], tuple[TrainState, Metrics]]:
    """The step (state, batch) -> (state, metrics).

    A batch holds inputs [batch, …] and targets [batch, 59049]. Metrics are scalars: the total
    loss, its terms, β, the learning rate and the gradient's norm before clipping.
    """

    def loss(trainable: Arrays, state: TrainState, batch: dict, part: jax.Array | None = None):
        model_variables = state._replace(trainable=trainable).variables()
        model = _merged(graphdef, model_variables, options)
        features = _features(model, batch["inputs"], options)
        mu, logvar = model.posterior(features)
        key = jax.random.fold_in(jax.random.key(options.seed), state.step)
        if part is not None:
            key = jax.random.fold_in(key, part)
        noise_key, dropout_key = jax.random.split(key)
        z = sample_latent(mu, logvar, noise_key, options.temperature, options.axis_name)
        audio = _decoded(model, z, options, train=True, key=dropout_key)
        beta = options.beta(state.step)
        terms = _loss(audio, batch, mu, logvar, beta, options) | {"beta": jnp.asarray(beta)}
        return terms["total"], (terms, variables.batch_stats(model))

    gradient_of = jax.grad(loss, has_aux=True)

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, Metrics]:
        if options.accumulation_steps == 1:
            gradient, (terms, stats) = gradient_of(state.trainable, state, batch)
        else:
            gradient, (terms, stats) = _accumulated(
                gradient_of, state, batch, options.accumulation_steps
            )
        gradient, stats = _over_devices(gradient, stats, options)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, state.trainable
        )
        metrics = {
            **terms,
            "gradient_norm": global_norm(gradient),
            "learning_rate": jnp.asarray(options.learning_rate(state.step)),
        }
        trainable = optax.apply_updates(state.trainable, updates)
        average = state.average
        if average is not None:
            average = optax.incremental_update(trainable, average, 1.0 - options.average_decay)
        new_state = TrainState(
            state.step + 1, trainable, state.frozen, stats, optimizer_state, average
        )
        return new_state, metrics

    return train_step


def _accumulated(gradient_of: Callable, state: TrainState, batch: dict, num_parts: int):
    """What gradient_of gives for the batch, computed in parts of it one after the other."""
    # Part i has the rows i, i + num_parts, …: cut so, each device's rows fall into all parts alike.
    apart = lambda x: x.reshape(-1, num_parts, *x.shape[1:]).swapaxes(0, 1)

    def add_part(stats: Arrays, part_and_rows):
        part, rows = part_and_rows
        now = state._replace(batch_stats=stats)
        gradient, (terms, stats) = gradient_of(state.trainable, now, rows, part)
        return stats, (gradient, terms)

    parts = jnp.arange(num_parts), jax.tree.map(apart, batch)
    stats, of_parts = jax.lax.scan(add_part, state.batch_stats, parts)
    gradient, terms = jax.tree.map(lambda x: jnp.mean(x, axis=0), of_parts)
    return gradient, (terms, stats)


def _over_devices(gradient: Arrays, stats: Arrays, options: StepOptions) -> tuple[Arrays, Arrays]:
    """Gradient and running statistics of the whole batch from those of the devices' parts."""
    if options.axis_name is None:
        return gradient, stats
    # On every device the loss is already that of the whole batch, and a sum over devices passes
    # gradients on as a sum: each device has the derivative of as many equal losses as there are
    # devices by its own copy of the parameters. The mean over the copies is the gradient.
    gradient = jax.lax.pmean(gradient, options.axis_name)
    if options.batch_norm_per_device:
        stats = jax.lax.pmean(stats, options.axis_name)
    return gradient, stats


def make_eval_step(
    graphdef: nnx.GraphDef, options: StepOptions, *, batch_statistics: bool = False
) -> Callable[[Variables, dict, jax.Array], tuple[Metrics, jax.Array]]:
    """The step (variables, batch, β) -> (metrics, audio [batch, 59049]) at z = μ.

    BatchNorm runs on its running statistics, or, with batch_statistics, on those of the batch,
    as the original validates in its overfit mode. A batch may mark filling rows by `valid`.
    """

    def eval_step(model_variables: Variables, batch: dict, beta: jax.Array):
        model = _merged(graphdef, model_variables, options)
        mu, logvar = model.posterior(_features(model, batch["inputs"], options, train=False))
        audio = _decoded(model, mu, options, train=batch_statistics)
        return _loss(audio, batch, mu, logvar, beta, options), audio

    return eval_step


def make_posterior_step(
    graphdef: nnx.GraphDef, options: StepOptions, *, num_draws: int = 0
) -> Callable[[Variables, dict, jax.Array], tuple[Metrics, dict[str, jax.Array]]]:
    """The step (variables, batch, number) -> ({}, mu, logvar and audio) in evaluation mode.

    mu and logvar are [batch, latent]; audio [batch, num_draws, 59049] is of draws from the
    posterior, absent without any. Another number draws others.
    """

    def posterior_step(model_variables: Variables, batch: dict, number: jax.Array):
        model = _merged(graphdef, model_variables, options)
        mu, logvar = model.posterior(_features(model, batch["inputs"], options, train=False))
        rows = {"mu": mu, "logvar": logvar}
        if num_draws:
            key = jax.random.fold_in(jax.random.key(options.seed), number)

            def drawn(key: jax.Array) -> jax.Array:
                z = sample_latent(mu, logvar, key, axis_name=options.axis_name)
                return _decoded(model, z, options, train=False)

            # One after the other: only their audio needs memory together.
            rows["audio"] = jax.lax.map(drawn, jax.random.split(key, num_draws)).swapaxes(0, 1)
        return {}, rows

    return posterior_step


def _features(
    model: QVAE, inputs: jax.Array, options: StepOptions, *, train: bool = True
) -> jax.Array:
    if options.precomputed_features:
        return inputs
    train_layers = options.train_layers if train else frozenset()
    return model.features(
        _as_computed(inputs, options), first_layer=options.first_layer, train_layers=train_layers
    )


def _decoded(
    model: QVAE, z: jax.Array, options: StepOptions, *, train: bool, key: jax.Array | None = None
) -> jax.Array:
    audio = model.decode(_as_computed(z, options), train=train, key=key)
    return audio.astype(z.dtype)


def _as_computed(x: jax.Array, options: StepOptions) -> jax.Array:
    return x if options.compute_dtype is None else x.astype(options.compute_dtype)


def _loss(
    audio: jax.Array,
    batch: dict,
    mu: jax.Array,
    logvar: jax.Array,
    beta: jax.Array | float,
    options: StepOptions,
) -> Metrics:
    """The total loss and its terms."""
    total, terms = losses.qvae_loss(
        audio,
        batch["targets"],
        mu,
        logvar,
        beta=beta,
        weights=options.loss_weights,
        valid=batch.get("valid"),
        axis_name=options.axis_name,
    )
    return {"total": total, **terms}


def _merged(graphdef: nnx.GraphDef, model_variables: Variables, options: StepOptions) -> QVAE:
    model = variables.merge(graphdef, model_variables)
    if options.axis_name is not None:
        seen = () if options.batch_norm_per_device else (layers.BatchNorm,)
        model.set_attributes(
            layers.Dropout, *seen, axis_name=options.axis_name, raise_if_not_found=False
        )
    return model
