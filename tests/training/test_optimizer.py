"""Which parameters learn, and AdamW against torch's."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from filled import error
from qvae_jax.models import qvae, variables
from qvae_jax.training import optimizer, schedules

RECIPE = dict(beta1=0.95, beta2=0.999, weight_decay=1e-4, clip_norm=2.0)


@pytest.fixture(scope="module")
def params():
    config = qvae.QVAEConfig(encoder_width=0.1, latent_dim=2)
    return variables.split(qvae.QVAE(config, rng=None))[1].params


@pytest.mark.parametrize("layers", [set(), {1}, {1, 11, 16}, set(range(17))])
def test_split_trainable(params, layers):
    trainable, frozen = optimizer.split_trainable(params, frozenset(layers))
    assert trainable.keys() | frozen.keys() == params.keys()
    assert not trainable.keys() & frozen.keys()
    assert all(array is params[name] for name, array in (trainable | frozen).items())
    # Layer 1 is not layer 11: what learns is told apart by whole numbers.
    in_encoder = [name.split(".") for name in trainable if name.startswith("encoder.")]
    assert {int(parts[2]) for parts in in_encoder} == layers
    assert all(parts[1] == "features" for parts in in_encoder)
    assert {name.split(".")[0] for name in frozen} <= {"encoder"}


def _arrays(seed: int, scale: float) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"encoder.features.1.kernel": (4, 3), "mu_head.bias": (5,), "decoder.kernel": (2, 3)}
    return {name: scale * random.standard_normal(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("scale", [1e-3, 10.0])  # below the norm that is clipped, and above
def test_adamw_equals_torch_with_a_rate_for_each_group(scale):
    pytest.importorskip("torch", reason="compares with torch.optim.AdamW")
    torch = importlib.import_module("torch")
    start, gradients = _arrays(0, 1.0), [_arrays(seed, scale) for seed in range(1, 7)]
    rates = {"encoder": [1e-3, 2e-3, 3e-3, 1e-3, 0.0, 1e-3], "rest": [1e-2, 1e-2, 1e-3, 0, 1, 2]}

    theirs = {name: torch.from_numpy(array.copy()) for name, array in start.items()}
    encoder = [tensor for name, tensor in theirs.items() if name.startswith("encoder.")]
    rest = [tensor for name, tensor in theirs.items() if not name.startswith("encoder.")]
    peer = torch.optim.AdamW(
        [{"params": encoder}, {"params": rest}], lr=1.0, betas=(0.95, 0.999), weight_decay=1e-4
    )
    with jax.enable_x64(True):
        schedule = lambda values: lambda step: jnp.asarray(values)[step]
        ours = optimizer.adamw(schedule(rates["rest"]), schedule(rates["encoder"]), **RECIPE)
        params = jax.tree.map(jnp.asarray, start)
        state, update = ours.init(params), jax.jit(ours.update)
        for i, gradient in enumerate(gradients):
            updates, state = update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            for name, tensor in theirs.items():
                tensor.grad = torch.from_numpy(gradient[name].copy())
            torch.nn.utils.clip_grad_norm_(theirs.values(), 2.0)
            for group, name in zip(peer.param_groups, ("encoder", "rest"), strict=True):
                group["lr"] = rates[name][i]
            peer.step()
            # torch clips by norm + 1e-6, hence 1e-6 and not less.
            for name, tensor in theirs.items():
                assert error(params[name], tensor) < 1e-6, (i, name)


def test_first_step_is_the_rate_of_its_group():
    # Adam's first step is the rate times the gradient's sign, whatever the gradient's size.
    params = {"encoder.features.1.kernel": jnp.zeros(3), "decoder.kernel": jnp.zeros(3)}
    ours = optimizer.adamw(schedules.constant(0.5), schedules.constant(0.25), **RECIPE)
    gradient = jax.tree.map(lambda _: jnp.asarray([100.0, -3.0, 0.01]), params)
    updates, _ = ours.update(gradient, ours.init(params), params)
    expected = np.asarray([-1.0, 1.0, -1.0])
    np.testing.assert_allclose(updates["decoder.kernel"], 0.5 * expected, rtol=1e-3)
    np.testing.assert_allclose(updates["encoder.features.1.kernel"], 0.25 * expected, rtol=1e-3)


def test_decay_applies_to_every_parameter():
    params = {"decoder.bias": jnp.ones(3), "decoder.norm.scale": jnp.full(2, 4.0)}
    ours = optimizer.adamw(schedules.constant(0.5), schedules.constant(0.5), **RECIPE)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = ours.update(zero, ours.init(params), params)
    np.testing.assert_allclose(updates["decoder.bias"], -0.5 * 1e-4, rtol=1e-5)
    np.testing.assert_allclose(updates["decoder.norm.scale"], -0.5 * 1e-4 * 4, rtol=1e-5)


@pytest.mark.parametrize(
    "sizes",
    [(1,), (3, 70), (optimizer.FEW_NUMBERS,), (2, optimizer.FEW_NUMBERS - 1, 5000, 9000)],
)
@pytest.mark.parametrize("scale", [0.0, 1e-4, 10.0])
def test_norm_and_clipping_equal_optax(sizes, scale):
    random = np.random.default_rng(0)
    drawn = {str(i): scale * random.standard_normal((size, 1)) for i, size in enumerate(sizes)}
    gradient = {name: jnp.asarray(array, jnp.float32) for name, array in drawn.items()}
    np.testing.assert_allclose(optimizer.global_norm(gradient), optax.tree.norm(gradient), 1e-6)
    plain = optax.clip_by_global_norm(2.0)
    expected, _ = plain.update(gradient, plain.init(gradient))
    joined = optimizer.clip_by_global_norm(2.0)
    clipped, _ = joined.update(gradient, joined.init(gradient))
    for name in gradient:
        np.testing.assert_allclose(clipped[name], expected[name], 1e-6)
