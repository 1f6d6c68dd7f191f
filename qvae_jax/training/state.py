"""The training state: made anew, written to a checkpoint, and read back from one."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qvae_jax.models import stored
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.training.optimizer import split_trainable


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


@dataclasses.dataclass
class Progress:
    """What early stopping remembers: the best validation loss, and the epochs since then."""

    best_loss: float = math.inf
    stale_epochs: int = 0

    def update(self, loss: float, epochs: int, min_delta: float) -> None:
        """Counts a validation that comes `epochs` epochs after the one before."""
        if loss < self.best_loss - min_delta:
            self.best_loss, self.stale_epochs = loss, 0
        else:
            self.stale_epochs += epochs


def new_state(
    model_variables: Variables, layers: frozenset[int], optimizer: optax.GradientTransformation
) -> TrainState:
    """The state before the first step."""
    trainable, frozen = split_trainable(model_variables.params, layers)
    return TrainState(
        jnp.zeros((), jnp.int32),
        trainable,
        frozen,
        model_variables.batch_stats,
        optimizer.init(trainable),
    )


def to_checkpoint(state: TrainState, progress: Progress) -> dict[str, Arrays]:
    """The state as flat dicts of arrays; its step is the checkpoint's number."""
    tree = {
        **state.variables()._asdict(),
        "optimizer": _flat(state.optimizer_state),
        "progress": {key: np.asarray(v) for key, v in dataclasses.asdict(progress).items()},
    }
    return tree if state.average is None else tree | {stored.AVERAGE: state.average}


def from_checkpoint(
    saved: dict[str, Arrays],
    step: int,
    layers: frozenset[int],
    optimizer: optax.GradientTransformation,
    *,
    where: str,
) -> tuple[TrainState, Progress]:
    """The state and progress that to_checkpoint wrote; UserError where the optimiser's differs."""
    fresh = new_state(Variables(saved["params"], saved["batch_stats"]), layers, optimizer)
    names = _flat(fresh.optimizer_state)
    stored.compare(saved["optimizer"], names, where=where)
    structure = jax.tree.structure(fresh.optimizer_state)
    leaves = [jnp.asarray(saved["optimizer"][name]) for name in names]
    state = fresh._replace(
        step=jnp.asarray(step, jnp.int32), optimizer_state=jax.tree.unflatten(structure, leaves)
    )
    progress = Progress(
        float(saved["progress"]["best_loss"]), int(saved["progress"]["stale_epochs"])
    )
    return state, progress


def with_average(state: TrainState, saved: dict[str, Arrays]) -> TrainState:
    """The state with an average of its trained parameters: the saved one, or one that begins here."""
    average = dict(state.trainable)  # not the same arrays: a step takes the memory of both
    average = {name: np.array(array) for name, array in average.items()}
    average |= {n: a for n, a in saved.get(stored.AVERAGE, {}).items() if n in average}
    return state._replace(average=average)


def _flat(tree) -> Arrays:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
