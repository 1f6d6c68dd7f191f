"""What a run trains where it trains a QVAE."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from qvae_jax import configuration
from qvae_jax.data.batches import Batch
from qvae_jax.data.prepared import Prepared, is_frozen, prepare
from qvae_jax.data.split_record import SplitRecord
from qvae_jax.models import stored, variables
from qvae_jax.models.mobilenet import LAST_LAYER
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError
from qvae_jax.training import feature_statistics, optimizer, steering, validation
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.qvae_loss import QVAELoss
from qvae_jax.training.setup import Setup
from qvae_jax.training.steered_loss import SteeredLoss
from qvae_jax.training.steering import Variation


@dataclasses.dataclass(frozen=True)
class QVAETask:
    """A QVAE, whose best checkpoint is that of the lowest loss; setup.Task says what is what."""

    objective: str = configuration.QVAE_OBJECTIVE
    best: stored.Best = stored.LOWEST_LOSS

    def model(self, config: ml_collections.ConfigDict, model_config: QVAEConfig) -> QVAE:
        """The QVAE."""
        return QVAE(model_config, rng=None)

    def initial_variables(
        self, config: ml_collections.ConfigDict, model_config: QVAEConfig
    ) -> Variables:
        """Drawn from training.seed, or those of a named checkpoint."""
        return configuration.initial_variables(config, model_config)

    def prepare(
        self,
        config: ml_collections.ConfigDict,
        model_config: QVAEConfig,
        first: Variables,
        workdir: pathlib.Path,
        layers: frozenset[int],
        recorded: SplitRecord | None,
    ) -> Prepared:
        """Log-mels, maps or features, and the sounds to be made of them."""
        return prepare(config, model_config, first, workdir, layers, recorded)

    def fitted(
        self,
        config: ml_collections.ConfigDict,
        model: QVAE,
        first: Variables,
        prepared: Prepared,
    ) -> Variables:
        """With the features' statistics, where the model standardises them and has none yet."""
        # Weights that have learnt with some statistics of the features keep them.
        if config.model.checkpoint or not model.config.standardise_features:
            return first
        graphdef = variables.split(model)[0]
        return feature_statistics.with_statistics(
            first, graphdef, prepared, precomputed=is_frozen(config)
        )

    def loss(
        self,
        config: ml_collections.ConfigDict,
        model: QVAE,
        layers: frozenset[int],
        prepared: Prepared,
        batch_size: int,
        steps_per_epoch: int,
        cut: Mapping[str, object],
    ) -> QVAELoss:
        """The loss; UserError where BatchNorm is to evaluate a batch without statistics of it."""
        if config.validation.batch_statistics and hasattr(model.decoder, "stem"):
            _check_batch_statistics(config, prepared, batch_size)
        return (SteeredLoss if model.config.is_steered else QVAELoss)(
            graphdef=variables.split(model)[0],
            weights=configuration.loss_weights(config),
            beta=_beta(config, steps_per_epoch),
            precomputed_features=config.training.encoder == "frozen",
            train_layers=_batch_norm_layers(config, layers),
            temperature=config.training.temperature,
            feature_noise=config.training.feature_noise,
            free_bits=config.beta.free_bits,
            first_layer=prepared.first_layer,
            sample_rate_hz=model.config.sample_rate_hz,
            compute_dtype=jnp.bfloat16 if config.training.dtype == "bfloat16" else None,
            **cut,
        )

    def evaluation(self, config: ml_collections.ConfigDict, loss: QVAELoss) -> Callable:
        """The loss at z = μ, and the audio."""
        return functools.partial(loss.evaluate, batch_statistics=config.validation.batch_statistics)

    def told(
        self, config: ml_collections.ConfigDict, model_config: QVAEConfig
    ) -> Callable[[Batch, int, np.ndarray], Batch]:
        """Of a steered model, curves that vary; else the batch as it is."""
        if not model_config.is_steered:
            return lambda batch, step, rows: batch
        variation, seed = Variation(**config.steering), config.training.seed

        def told(batch: Batch, step: int, rows: np.ndarray) -> Batch:
            return batch | steering.told(batch["controls"], variation, seed, step, rows)

        return told

    def validate(
        self, setup: Setup, model_variables: Variables, step: int, kept: RunCheckpoints
    ) -> dict[str, dict[str, float]]:
        """Mean loss and terms of each validated part."""
        return validation.validate(setup, model_variables, step, kept)


def _check_batch_statistics(config, prepared: Prepared, batch_size: int) -> None:
    """Raises UserError where a part's last batch holds one pair, and a decoder's stem one value.

    The other decoders' first BatchNorm sees three time steps, of which there are statistics.
    """
    shown = config.logging.num_samples
    for part, examples in prepared.parts.items():
        for count in (len(examples), min(shown, len(examples))):
            if count % batch_size == 1:
                raise UserError(
                    f"validation.batch_statistics: the last batch of {part} holds a single pair "
                    f"({count} in batches of {batch_size}), of which BatchNorm has no variance: "
                    "change training.batch_size or logging.num_samples, or set "
                    "validation.batch_statistics to False."
                )


def _batch_norm_layers(config, trained: frozenset[int]) -> frozenset[int]:
    """The encoder layers whose BatchNorm trains: those that learn or, as in the original, all."""
    drifting = config.fine_tuning.frozen_batch_norm == "train"
    if drifting and config.training.encoder == "fine_tuned":
        return frozenset(range(LAST_LAYER + 1))
    return trained


def _beta(config, steps_per_epoch: int) -> optax.Schedule:
    beta = config.beta
    if beta.schedule == "fixed":
        return optax.constant_schedule(beta.fixed)
    if beta.schedule == "cyclical":
        return optimizer.cyclical_beta(
            beta.minimum, beta.maximum, cycle_steps=beta.cycle_steps, proportion=beta.proportion
        )
    return optimizer.linear_beta(
        beta.initial,
        beta.target,
        warmup_epochs=config.optimizer.warmup_epochs,
        rampup_fraction=beta.rampup_fraction,
        num_epochs=config.training.num_epochs,
        steps_per_epoch=steps_per_epoch,
    )
