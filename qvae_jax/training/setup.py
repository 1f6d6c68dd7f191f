"""What stays the same from the first step of a run to its last, as the config says."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Protocol

import ml_collections
import numpy as np
import optax
from flax import nnx

from qvae_jax.data.batches import Batch
from qvae_jax.data.prepared import Prepared
from qvae_jax.data.split_record import SplitRecord
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.stored import Best
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError, counted
from qvae_jax.training import devices, optimizer
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.state import Progress
from qvae_jax.training.step import Loss, StepOptions, make_train_step

# The first of these parts that there is chooses the best checkpoint and stops the run early.
MONITORED = ("interpolation", "extrapolation", "library", "train")


class Task(Protocol):
    """What a run trains: whatever a QVAE's run and that of encoders for search do not share.

    Attributes:
        objective: config.training.objective of its configs.
        best: by what its best checkpoint is chosen.
    """

    objective: str
    best: Best

    def model(self, config: ml_collections.ConfigDict, model_config: QVAEConfig) -> nnx.Module:
        """The model, of which the shapes alone count."""

    def initial_variables(
        self, config: ml_collections.ConfigDict, model_config: QVAEConfig
    ) -> Variables:
        """The weights that a new run begins with."""

    def prepare(
        self,
        config: ml_collections.ConfigDict,
        model_config: QVAEConfig,
        first: Variables,
        workdir: pathlib.Path,
        layers: frozenset[int],
        recorded: SplitRecord | None,
    ) -> Prepared:
        """What the run learns from; see data.prepared."""

    def fitted(
        self,
        config: ml_collections.ConfigDict,
        model: nnx.Module,
        first: Variables,
        prepared: Prepared,
    ) -> Variables:
        """A new run's first weights, once it is known what it learns from."""

    def loss(
        self,
        config: ml_collections.ConfigDict,
        model: nnx.Module,
        layers: frozenset[int],
        prepared: Prepared,
        batch_size: int,
        steps_per_epoch: int,
        cut: Mapping[str, object],
    ) -> Loss:
        """The loss of the steps; its `terms` and `measured` name what is shown of it.

        cut: how the batch is cut among devices, axis_name and batch_norm_per_device. Raises
        UserError for batches that it cannot take.
        """

    def evaluation(self, config: ml_collections.ConfigDict, loss: Loss) -> Callable:
        """The step (variables, batch, step) -> (metrics, what it gives for each row)."""

    def told(
        self, config: ml_collections.ConfigDict, model_config: QVAEConfig
    ) -> Callable[[Batch, int, np.ndarray], Batch]:
        """What a step is given of (batch, step, rows): these rows of the step's whole batch."""

    def validate(
        self, setup: "Setup", model_variables: Variables, step: int, kept: RunCheckpoints
    ) -> dict[str, dict[str, float]]:
        """What is measured of each validated part, best.value among it."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What stays the same from the first step to the last.

    Attributes:
        task: what is trained.
        config, workdir, prepared: of the run.
        names: of all the model's arrays, in the order in which a sound passes them.
        placement: of state and batches on the devices.
        batch_size, steps_per_epoch, num_steps: of all devices and epochs together.
        loss: of which the steps are made.
        told: (batch, step, rows) -> what a step is given of it.
        step_options: how they are taken.
        train_step: (state, batch) -> (state, metrics), compiled.
        eval_step: (variables, batch, step) -> (metrics, what there is for each row), compiled.
    """

    task: Task
    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    prepared: Prepared
    names: tuple[str, ...]
    placement: devices.Placement
    batch_size: int
    steps_per_epoch: int
    num_steps: int
    loss: Loss
    told: Callable
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
        """The part whose loss, or MRR, chooses the best checkpoint."""
        return next(name for name in MONITORED if name in self.validated)

    def stops_early(self, progress: Progress) -> bool:
        """Whether the monitored part has not become better for as long as the config waits."""
        patience = self.config.early_stopping.patience_epochs
        return bool(patience) and progress.stale_epochs >= patience


def set_up(
    task: Task,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    model: nnx.Module,
    model_config: QVAEConfig,
    layers: frozenset[int],
    prepared: Prepared,
) -> tuple[Setup, optax.GradientTransformation]:
    """The set-up of a run of this model, whose encoder learns in these layers, and its optimiser.

    The model may have shapes alone. Raises UserError where a batch is too small or does not divide
    by the devices, and where the task cannot take it.
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
    loss = task.loss(config, model, layers, prepared, batch_size, steps_per_epoch, cut)
    options = StepOptions(
        learning_rate=learning_rate,
        seed=config.training.seed,
        accumulation_steps=config.training.accumulation_steps,
        average_decay=config.ema.decay,
        average_warms_up=config.ema.warm_up,
        **cut,
    )
    setup = Setup(
        task=task,
        config=config,
        workdir=workdir,
        prepared=prepared,
        names=tuple(variables.names_in_order(model)),
        placement=placement,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        num_steps=config.training.num_epochs * steps_per_epoch,
        loss=loss,
        told=task.told(config, model_config),
        step_options=options,
        train_step=devices.compile_train_step(
            make_train_step(loss, update_rule, options), placement
        ),
        eval_step=devices.compile_eval_step(task.evaluation(config, loss), placement),
    )
    return setup, update_rule


def _batch_size(config, num_examples: int, placement: devices.Placement) -> int:
    """The config's, or that of all training pairs where there are fewer."""
    if num_examples < 2:
        raise UserError(
            f"there is {counted(num_examples, 'example')} to train on, and training needs at least "
            "2: give more pairs or sounds."
        )
    if config.training.batch_size < 2:
        raise UserError(
            f"training.batch_size is {config.training.batch_size}, too few examples for BatchNorm: "
            "set it to 2 or more."
        )
    batch_size = min(config.training.batch_size, num_examples)
    num_parts = config.training.accumulation_steps
    devices.check_batch_size(batch_size, placement.mesh.size, num_parts)
    return batch_size


def _learning_rates(config, steps_per_epoch: int) -> tuple[optax.Schedule, optax.Schedule]:
    """Of heads and decoder, or of encoders for search; and of a QVAE's encoder."""
    fine_tuned = config.training.encoder == "fine_tuned"
    peak = config.optimizer.learning_rate
    peaks = (peak, config.fine_tuning.learning_rate if fine_tuned else peak)
    return tuple(_learning_rate(config, peak, steps_per_epoch) for peak in peaks)


def _learning_rate(config, peak: float, steps_per_epoch: int) -> optax.Schedule:
    settings = config.optimizer
    if settings.schedule == "constant":
        return optax.constant_schedule(peak)
    epochs = {"warmup_epochs": settings.warmup_epochs, "steps_per_epoch": steps_per_epoch}
    if settings.schedule == "cosine":
        num_epochs = config.training.num_epochs
        return optimizer.cosine_learning_rate(
            peak, final=settings.final_learning_rate, num_epochs=num_epochs, **epochs
        )
    epochs["decay_epochs"] = settings.decay_epochs
    if settings.schedule == "rise_and_cosine":
        return optimizer.rise_and_cosine(peak, low=settings.final_learning_rate, **epochs)
    return optimizer.exponential_and_line(
        peak,
        final=settings.final_learning_rate,
        constant_epochs=settings.constant_epochs,
        **epochs,
    )
