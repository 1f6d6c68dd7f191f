"""Runs a model on a bounded number of examples, to get what its diagnostics are made from.

Each program has the shape of an evaluation step, (state, batch, number) -> (whole, rows), so that
it runs on devices and hosts as one does; batches have one size, so that it compiles once.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import optax

from qvae_jax.data import batches
from qvae_jax.data.batches import Examples
from qvae_jax.diagnostics import arrays as diagnostics
from qvae_jax.models.variables import Variables
from qvae_jax.training import devices
from qvae_jax.training.qvae_loss import QVAELoss
from qvae_jax.training.state import TrainState
from qvae_jax.training.step import StepOptions, make_train_step


@dataclasses.dataclass(frozen=True)
class Probe:
    """The compiled programs, and the devices that they run on."""

    posterior: Callable
    generations: Callable
    gradients: Callable
    placement: devices.Placement


def make_probe(loss: QVAELoss, options: StepOptions, placement: devices.Placement) -> Probe:
    """The programs for a model in training; nothing is compiled before it is used."""

    def posterior(model_variables: Variables, batch: dict, number: jax.Array):
        mu, logvar = loss.posterior(model_variables, batch["inputs"])
        return {}, {"mu": mu, "logvar": logvar}

    def generations(model_variables: Variables, batch: dict, number: jax.Array):
        key = jax.random.fold_in(jax.random.key(options.seed), number)
        num_draws = diagnostics.NUM_GENERATIONS
        audio = loss.draws(model_variables, batch["inputs"], key, num_draws)
        return {}, diagnostics.spread(audio, loss.sample_rate_hz)

    programs = (posterior, generations, _gradient_step(loss, options))
    return Probe(
        *(devices.compile_eval_step(program, placement) for program in programs), placement
    )


def examine(
    probe: Probe,
    state: TrainState,
    validated: Mapping[str, Examples],
    trained: Examples,
    batch_size: int,
    num_examples: int,
    names: Sequence[str],
) -> dict[str, np.ndarray]:
    """What diagnostics keep of a state, the same on every process.

    Args:
        probe: of the model.
        state: on the devices. Latents are those of its averaged variables.
        validated: the parts to look at; num_examples of each at most, spaced evenly.
        trained: a batch of these, always the same one, has the gradient taken of.
        batch_size: of every batch; generations are those of each part's first.
        names: of the model's arrays, in the order in which the parts' gradients are to come.

    Returns:
        The arrays of diagnostics.latent_summary and diagnostics.spread below `PART/`;
        gradient_parts, the names, and gradient_norms [parts]; pca [samples of all parts, 2] and
        pca_shares [2], of the means of all parts together.
    """
    found: dict[str, np.ndarray] = {}
    for part, examples in validated.items():
        few = _spaced(examples, num_examples)
        for name, array in _latents(probe, state.averaged(), few, batch_size).items():
            found[f"{part}/{name}"] = array
    means = np.concatenate([found[f"{part}/mu"] for part in validated])
    found["pca"], found["pca_shares"] = diagnostics.principal_components(means)
    norms = _gradient_norms(probe, state, trained, batch_size)
    parts = [part for part in diagnostics.parts_of(names) if part in norms]
    found["gradient_parts"] = np.array(parts)
    found["gradient_norms"] = np.array([norms[part] for part in parts])
    return found


def _latents(
    probe: Probe, model_variables: Variables, examples: Examples, batch_size: int
) -> dict[str, np.ndarray]:
    posteriors, spreads = [], {}
    own = devices.own_rows(batch_size, probe.placement)
    for number, batch in enumerate(batches.evaluation_batches(examples, batch_size, own)):
        placed = devices.put_batch({"inputs": batch["inputs"]}, probe.placement)
        _, rows = probe.posterior(model_variables, placed, np.int32(0))
        posteriors.append([_rows(rows[name], probe) for name in ("mu", "logvar")])
        if number == 0:
            _, rows = probe.generations(model_variables, placed, np.int32(0))
            spreads = {name: _rows(rows[name], probe)[: len(examples)] for name in rows}
    mu, logvar = (np.concatenate(arrays)[: len(examples)] for arrays in zip(*posteriors))
    return {**diagnostics.latent_summary(mu, logvar), **spreads}


def _gradient_norms(
    probe: Probe, state: TrainState, examples: Examples, batch_size: int
) -> dict[str, float]:
    """Norms by part of the gradient that a training step takes of one batch."""
    own = devices.own_rows(batch_size, probe.placement)
    batch = _spaced(examples, batch_size).batch(np.arange(batch_size)[own])
    placed = devices.put_batch(batch, probe.placement)
    bare = state._replace(optimizer_state=None, average=None)
    norms, _ = probe.gradients(bare, placed, np.int32(0))
    norms = jax.device_get(devices.get_state(norms, probe.placement))
    return {part: float(norm) for part, norm in norms.items()}


def _gradient_step(loss: QVAELoss, options: StepOptions) -> Callable:
    """A step (state, batch, number) -> (norms by part, nothing by rows) that changes no state."""
    # The training step itself, so that the gradient is its own; its rule keeps the norms where an
    # optimiser would keep its moments, and moves nothing.
    rule = optax.GradientTransformation(
        init=lambda params: None,
        update=lambda gradient, state, params=None: (
            optax.tree.zeros_like(gradient),
            diagnostics.gradient_norms(gradient),
        ),
    )
    train_step = make_train_step(loss, rule, options)

    def gradient_step(state: TrainState, batch: dict, number: jax.Array):
        moved, _ = train_step(state, batch)
        return moved.optimizer_state, {}

    return gradient_step


def _spaced(examples: Examples, count: int) -> Examples:
    """At most so many examples, evenly spaced, because those of one sound lie beside each other."""
    return examples.at(
        np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
    )


def _rows(array: jax.Array, probe: Probe) -> np.ndarray:
    return devices.get_rows(array, probe.placement)
