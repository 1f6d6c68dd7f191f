"""What stays the same from the first step of a run to its last, as the config says."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax.numpy as jnp
import ml_collections
import optax

from qvae_jax import configuration
from qvae_jax.data.prepared import Prepared
from qvae_jax.models import variables
from qvae_jax.models.mobilenet import LAST_LAYER
from qvae_jax.models.qvae import QVAE
from qvae_jax.system.errors import UserError, counted
from qvae_jax.training import devices, optimizer
from qvae_jax.training.qvae_loss import QVAELoss
from qvae_jax.training.state import Progress
from qvae_jax.training.steered_loss import SteeredLoss
from qvae_jax.training.steering import Variation
from qvae_jax.training.step import StepOptions, make_train_step

# The first of these parts that there is chooses the best checkpoint and stops the run early.
MONITORED = ("interpolation", "extrapolation", "library", "train")


@dataclasses.dataclass(frozen=True)
class Setup:
    """What stays the same from the first step to the last.

    Attributes:
        config, workdir, prepared: of the run.
        names: of all the model's arrays, in the order in which a sound passes them.
        placement: of state and batches on the devices.
        batch_size, steps_per_epoch, num_steps: of all devices and epochs together.
        loss: of which the steps are made.
        variation: how the curves vary that a steered model is told; None of another.
        step_options: how they are taken.
        train_step: (state, batch) -> (state, metrics), compiled.
        eval_step: (variables, batch, step) -> (metrics, audio), compiled.
    """

    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    prepared: Prepared
    names: tuple[str, ...]
    placement: devices.Placement
    batch_size: int
    steps_per_epoch: int
    num_steps: int
    loss: QVAELoss
    variation: Variation | None
    step_options: StepOptions
    train_step: Callable
    eval_step: Callable

    @property
    def validated(self) -> list[str]:
        """The parts that validation measures: the held-out ones, or training pairs without any."""
        held_out = [name for name in self.prepared.parts if name != "train"]
        return held_out or ["train"]

    @property
    def monitored(self) -> str:
        """The part whose loss chooses the best checkpoint."""
        return next(name for name in MONITORED if name in self.validated)

    def stops_early(self, progress: Progress) -> bool:
        """Whether the monitored loss has not fallen for as long as the config waits."""
        patience = self.config.early_stopping.patience_epochs
        return bool(patience) and progress.stale_epochs >= patience


def set_up(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    model: QVAE,
    layers: frozenset[int],
    prepared: Prepared,
) -> tuple[Setup, optax.GradientTransformation]:
    """The set-up of a run of this model, whose encoder learns in these layers, and its optimiser.

    The model may have shapes alone. Raises UserError where a batch is too small or does not divide
    by the devices, and where BatchNorm is to evaluate on a batch of which it has no statistics.
    """
    examples = prepared.parts["train"]
    placement = devices.arrange(config.parallel, config.batch_norm)
    batch_size = _batch_size(config, len(examples), placement)
    steps_per_epoch = config.training.steps_per_epoch or len(examples) // batch_size
    learning_rate, encoder_rate = _learning_rates(config, steps_per_epoch)
    update_rule = optimizer.adamw(
        learning_rate,
        encoder_rate,
        beta1=config.optimizer.beta1,
        beta2=config.optimizer.beta2,
        weight_decay=config.optimizer.weight_decay,
        clip_norm=config.optimizer.clip_norm,
    )
    cut = {
        "axis_name": placement.axis_name,
        "batch_norm_per_device": config.batch_norm == "per_device",
    }
    loss = (SteeredLoss if model.config.is_steered else QVAELoss)(
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
    options = StepOptions(
        learning_rate=learning_rate,
        seed=config.training.seed,
        accumulation_steps=config.training.accumulation_steps,
        average_decay=config.ema.decay,
        average_warms_up=config.ema.warm_up,
        **cut,
    )
    evaluate = functools.partial(loss.evaluate, batch_statistics=config.validation.batch_statistics)
    if config.validation.batch_statistics and hasattr(model.decoder, "stem"):
        _check_batch_statistics(config, prepared, batch_size)
    setup = Setup(
        config=config,
        workdir=workdir,
        prepared=prepared,
        names=tuple(variables.names_in_order(model)),
        placement=placement,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        num_steps=config.training.num_epochs * steps_per_epoch,
        loss=loss,
        variation=Variation(**config.steering) if model.config.is_steered else None,
        step_options=options,
        train_step=devices.compile_train_step(
            make_train_step(loss, update_rule, options), placement
        ),
        eval_step=devices.compile_eval_step(evaluate, placement),
    )
    return setup, update_rule


def _batch_size(config, num_examples: int, placement: devices.Placement) -> int:
    """The config's, or that of all training pairs where there are fewer."""
    batch_size = min(config.training.batch_size, num_examples)
    if batch_size < 2:
        raise UserError(
            f"a batch holds {counted(batch_size, 'example')} of "
            f"{counted(num_examples, 'training pair')}, too few for BatchNorm to train on: set "
            "training.batch_size to 2 or more, or give more pairs or sounds."
        )
    num_parts = config.training.accumulation_steps
    devices.check_batch_size(batch_size, placement.mesh.size, num_parts)
    return batch_size


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


def _learning_rates(config, steps_per_epoch: int) -> tuple[optax.Schedule, optax.Schedule]:
    """Of heads and decoder, and of the encoder."""
    fine_tuned = config.training.encoder == "fine_tuned"
    peak = config.optimizer.learning_rate
    peaks = (peak, config.fine_tuning.learning_rate if fine_tuned else peak)
    if config.optimizer.schedule == "constant":
        return tuple(optax.constant_schedule(peak) for peak in peaks)
    return tuple(
        optimizer.cosine_learning_rate(
            peak,
            final=config.optimizer.final_learning_rate,
            warmup_epochs=config.optimizer.warmup_epochs,
            num_epochs=config.training.num_epochs,
            steps_per_epoch=steps_per_epoch,
        )
        for peak in peaks
    )


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
