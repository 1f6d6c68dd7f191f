"""The training state into a checkpoint and back, and what early stopping remembers."""

import math

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError
from qvae_jax.training import optimizer, state
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.state import Progress

LAYERS = frozenset({1})
NAMES = (
    "encoder.features.0.kernel",
    "encoder.features.1.kernel",
    "encoder.features.11.kernel",
    "encoder.classifier.kernel",
    "mu_head.kernel",
    "decoder.stages.0.conv.kernel",
)


def model_variables() -> Variables:
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal((2, 3)).astype(np.float32) for name in NAMES}
    return Variables(params, {"encoder.features.0.norm.mean": np.ones(3, np.float32)})


def update_rule() -> optax.GradientTransformation:
    rate = optax.constant_schedule(0.01)
    return optimizer.adamw(rate, rate, beta1=0.9, beta2=0.99, weight_decay=0.1, clip_norm=1.0)


def after_steps(num_steps: int, current=None):
    """The state after steps whose gradients are all the parameters themselves."""
    rule = update_rule()
    current = current or state.new_state(model_variables(), LAYERS, rule)
    for _ in range(num_steps):
        updates, optimizer_state = rule.update(
            current.trainable, current.optimizer_state, current.trainable
        )
        current = current._replace(
            step=current.step + 1,
            trainable=optax.apply_updates(current.trainable, updates),
            optimizer_state=optimizer_state,
        )
    return current


def assert_same(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_new_state_divides_the_parameters():
    new = after_steps(0)
    assert set(new.trainable) == {NAMES[1], NAMES[4], NAMES[5]}
    assert set(new.frozen) == set(NAMES) - set(new.trainable)
    assert int(new.step) == 0
    assert_same(new.variables(), model_variables())


def test_a_state_comes_back_through_a_checkpoint_on_disk(tmp_path):
    before, progress = after_steps(3), Progress(0.1 + 0.2, 7)
    kept = RunCheckpoints(tmp_path)
    kept.save(3, state.to_checkpoint(before, progress), None)
    after, found = state.from_checkpoint(
        kept.restore(3), 3, LAYERS, update_rule(), where="checkpoints"
    )
    kept.close()
    assert_same(after, before)
    assert found == progress
    assert_same(after_steps(2, after), after_steps(5))


def test_a_run_without_a_validation_yet_comes_back():
    tree = state.to_checkpoint(after_steps(0), Progress())
    _, progress = state.from_checkpoint(tree, 0, LAYERS, update_rule(), where="checkpoints")
    assert progress == Progress(math.inf, 0)


def test_a_checkpoint_holds_flat_arrays_only():
    tree = state.to_checkpoint(after_steps(1), Progress())
    assert set(tree) == {"params", "batch_stats", "optimizer", "progress"}
    assert all(np.ndim(array) <= 2 for part in tree.values() for array in part.values())
    assert set(tree["params"]) == set(NAMES)


@pytest.mark.parametrize("layers", [frozenset(), frozenset({0, 1})])
def test_an_optimizer_of_other_layers_is_refused(layers):
    tree = state.to_checkpoint(after_steps(1), Progress())
    with pytest.raises(UserError, match=r"run/checkpoints .*encoder\.features\.[01]\.kernel"):
        state.from_checkpoint(tree, 1, layers, update_rule(), where="run/checkpoints")


def test_early_stopping_counts_epochs_without_enough_progress():
    progress = Progress()
    for loss, stale in [(5.0, 0), (4.995, 2), (4.9, 0), (4.9, 2), (6.0, 4), (4.894, 6), (4.89, 0)]:
        progress.update(loss, 2, 0.007)
        assert progress.stale_epochs == stale
    assert progress.best_loss == 4.89


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.floats(-100, 100), min_size=1), st.floats(0, 1))
def test_the_best_loss_is_never_far_from_the_lowest(losses, min_delta):
    progress = Progress()
    for loss in losses:
        progress.update(loss, 1, min_delta)
    assert min(losses) <= progress.best_loss <= min(losses) + min_delta + 1e-9
    assert 0 <= progress.stale_epochs < len(losses)
