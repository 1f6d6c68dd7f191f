"""Steps in groups of samples: what goes together, and that the result is the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forms import noise
from qvae_jax.models import decoders, mobilenet, plain, variables
from qvae_jax.models.cpu import steps


def _recording(names: list[str], trained: int | None, seen: list) -> list[plain.Step]:
    """Steps that add one and note the samples they are given; from trained on, the batch's mean."""

    def apply(number, x):
        seen.append((names[number], len(x)))
        return x + (jnp.mean(x) if trained is not None and number >= trained else 1.0)

    return [
        plain.Step(name, lambda x, i=i: apply(i, x), trained is not None and i >= trained)
        for i, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("names", "trained", "groups"),
    [
        (["stages.5", "stages.6", "audio"], None, [4, 1, 1]),
        (["project", "stem", "blocks.6", "blocks.7", "final"], None, [4, 4, 4, 1, 1]),
        (["features.6", "features.7", "features.16"], None, [1, 4, 4]),
        (["features.6", "features.7", "features.8"], 2, [1, 4, 4]),
        (["features.0", "features.1"], 1, [1, 4]),
        (["stages.5", "stages.6"], 0, [4, 4]),
        (["features.7", "features.6", "features.8"], None, [4, 1, 4]),
    ],
)
def test_samples_go_together_by_the_step(names, trained, groups):
    seen, x = [], noise(4, 3)
    ours = steps.in_turn(_recording(names, trained, seen), x)
    assert list(dict.fromkeys(seen)) == list(zip(names, groups, strict=True))
    np.testing.assert_allclose(ours, plain.in_turn(_recording(names, trained, []), x), rtol=1e-6)


def test_no_steps_change_nothing():
    np.testing.assert_array_equal(steps.in_turn([], np.arange(3.0)), np.arange(3.0))


def test_the_names_are_those_of_layers():
    draw = lambda rng, shape: np.zeros(shape, np.float32)
    made = [make(4, width=0.01, kernel_init=draw, rng=None) for make in decoders.DECODERS.values()]
    models = [model for model in made if isinstance(model, decoders.Decoder)]
    names = {step.name for model in models for step in model.steps(train=False, key=None)}
    encoder = mobilenet.MobileNetV3(0.1, rng=None)
    names |= {f"features.{layer}" for layer in range(len(encoder.features))}
    assert set(steps.SAMPLES_AT_ONCE) <= names


def test_the_encoder_is_the_same_layer_by_layer():
    structure, given = variables.split(mobilenet.MobileNetV3(0.1, rng=np.random.default_rng(0)))
    layers = dict(last_layer=8, train_layers=frozenset({8}))  # groups of 1 and 4, then the batch

    @jax.jit
    def both(given, logmel):
        one, other = (variables.merge(structure, given) for _ in range(2))
        return one.last_map(logmel, **layers), other.maps(logmel, **layers)[-1]

    ours, theirs = both(given, noise(4, 16, 20))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
