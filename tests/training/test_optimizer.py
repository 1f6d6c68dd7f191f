"""Which parameters learn, AdamW against torch's, and schedules against the golden ones."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import golden_rules
from configs import qvim_baseline, qvim_folds
from filled import error
from qvae_jax.models import qvae, variables
from qvae_jax.training import optimizer, setup

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
    ours = optimizer.adamw(optax.constant_schedule(0.5), optax.constant_schedule(0.25), **RECIPE)
    gradient = jax.tree.map(lambda _: jnp.asarray([100.0, -3.0, 0.01]), params)
    updates, _ = ours.update(gradient, ours.init(params), params)
    expected = np.asarray([-1.0, 1.0, -1.0])
    np.testing.assert_allclose(updates["decoder.kernel"], 0.5 * expected, rtol=1e-3)
    np.testing.assert_allclose(updates["encoder.features.1.kernel"], 0.25 * expected, rtol=1e-3)


def test_decay_applies_to_every_parameter():
    params = {"decoder.bias": jnp.ones(3), "decoder.norm.scale": jnp.full(2, 4.0)}
    ours = optimizer.adamw(optax.constant_schedule(0.5), optax.constant_schedule(0.5), **RECIPE)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = ours.update(zero, ours.init(params), params)
    np.testing.assert_allclose(updates["decoder.bias"], -0.5 * 1e-4, rtol=1e-5)
    np.testing.assert_allclose(updates["decoder.norm.scale"], -0.5 * 1e-4 * 4, rtol=1e-5)


@jax.jit
def _norms_and_clipped(gradient):
    """((our norm, optax's), (our clipped gradient, optax's)), compiled once for each shape."""
    rules = (optimizer.clip_by_global_norm(2.0), optax.clip_by_global_norm(2.0))
    clipped = tuple(rule.update(gradient, rule.init(gradient))[0] for rule in rules)
    return (optimizer.global_norm(gradient), optax.tree.norm(gradient)), clipped


@pytest.mark.parametrize(
    "sizes",
    [(1,), (3, 70), (optimizer.FEW_NUMBERS,), (2, optimizer.FEW_NUMBERS - 1, 5000, 9000)],
)
@pytest.mark.parametrize("scale", [0.0, 1e-4, 10.0])
def test_norm_and_clipping_equal_optax(sizes, scale):
    random = np.random.default_rng(0)
    drawn = {str(i): scale * random.standard_normal((size, 1)) for i, size in enumerate(sizes)}
    gradient = {name: jnp.asarray(array, jnp.float32) for name, array in drawn.items()}
    (norm, expected_norm), (clipped, expected) = _norms_and_clipped(gradient)
    np.testing.assert_allclose(norm, expected_norm, 1e-6)
    for name in gradient:
        np.testing.assert_allclose(clipped[name], expected[name], 1e-6)


# --- Schedules

TOLERANCE = 1e-9  # absolute; the largest value is 1e-3, of which float32 rounds 6e-11


@pytest.fixture(scope="module")
def golden():
    return golden_rules.load("schedules")


def _values(schedule, steps) -> np.ndarray:
    """Of all steps at once, as a compiled step would see each of them: a traced int32."""
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(steps, jnp.int32)), np.float64)


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
@pytest.mark.parametrize(
    ("name", "peak", "warmup_epochs", "num_epochs"),
    [
        ("lr_w50_e300_8e4", 8e-4, 50, 300),
        ("lr_w0_e100_1e3", 1e-3, 0, 100),
        ("lr_w50_e300_18e6", 1.8e-5, 50, 300),
    ],
)
def test_cosine_learning_rate(golden, name, peak, warmup_epochs, num_epochs, steps_per_epoch):
    schedule = optimizer.cosine_learning_rate(
        peak,
        final=1e-6,
        warmup_epochs=warmup_epochs,
        num_epochs=num_epochs,
        steps_per_epoch=steps_per_epoch,
    )
    # The rate holds for a whole epoch: at its first step and at its last.
    for offset in {0, steps_per_epoch - 1}:
        steps = np.arange(num_epochs) * steps_per_epoch + offset
        np.testing.assert_allclose(_values(schedule, steps), golden[name], rtol=0, atol=TOLERANCE)


def test_cosine_learning_rate_stays_at_its_end():
    schedule = optimizer.cosine_learning_rate(
        1e-3, final=1e-6, warmup_epochs=2, num_epochs=10, steps_per_epoch=3
    )
    values = _values(schedule, [30, 31, 1000, 10**9])
    np.testing.assert_allclose(values, 1e-6, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("warmup_epochs", [10, 20])
def test_warm_up_may_last_the_whole_training(warmup_epochs):
    schedule = optimizer.cosine_learning_rate(
        1e-3, final=1e-6, warmup_epochs=warmup_epochs, num_epochs=10, steps_per_epoch=1
    )
    expected = 1e-3 * (0.1 + 0.9 * np.arange(10) / warmup_epochs)
    np.testing.assert_allclose(_values(schedule, range(10)), expected, rtol=0, atol=TOLERANCE)


def test_constant():
    np.testing.assert_allclose(_values(optax.constant_schedule(0.25), [0, 1, 10**9]), 0.25)


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
def test_linear_beta(golden, steps_per_epoch):
    schedule = optimizer.linear_beta(
        0.0,
        1e-4,
        warmup_epochs=50,
        rampup_fraction=0.7,
        num_epochs=300,
        steps_per_epoch=steps_per_epoch,
    )
    values = _values(schedule, np.arange(300) * steps_per_epoch + steps_per_epoch - 1)
    expected = golden["beta_linear_w50_e300_f07"]
    np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)


def test_linear_beta_without_a_ramp_is_a_jump():
    schedule = optimizer.linear_beta(
        0.5, 2.0, warmup_epochs=3, rampup_fraction=0.0, num_epochs=10, steps_per_epoch=1
    )
    np.testing.assert_allclose(_values(schedule, range(6)), [0.5] * 4 + [2.0] * 2)


def test_cyclical_beta(golden):
    schedule = optimizer.cyclical_beta(0.0, 5e-5, cycle_steps=4000, proportion=0.6)
    values = _values(schedule, 50 * np.arange(160))
    expected = golden["beta_cyclical_4000_06"]
    np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)


def test_cyclical_beta_repeats():
    schedule = optimizer.cyclical_beta(0.1, 0.9, cycle_steps=10, proportion=0.5)
    first = _values(schedule, range(10))
    np.testing.assert_allclose(first, [0.1, 0.26, 0.42, 0.58, 0.74] + [0.9] * 5, rtol=1e-6)
    np.testing.assert_array_equal(_values(schedule, np.arange(10) + 10**9), first)


# --- Schedules of encoders for search, as their recipes define them, an epoch or a step at a time


def baseline_rate(step: int, steps_per_epoch: int) -> float:
    epoch = step / steps_per_epoch
    if epoch < 1:
        return 1e-4 + 2e-4 * epoch
    return 1e-4 + 1e-4 * (1 + math.cos(math.pi * min((epoch - 1) / 7, 1)))


def greif_rate(step: int, steps_per_epoch: int) -> float:
    epoch = step // steps_per_epoch
    if epoch < 2:
        return 5e-4 * math.exp(-5 * (1 - max(epoch, 0.5) / 2) ** 2)
    if epoch <= 4:
        return 5e-4
    return 5e-4 * (1e-4 + (1 - 1e-4) * max(0.0, (11 - epoch) / 7))


@pytest.mark.parametrize("steps_per_epoch", [1, 9])
@pytest.mark.parametrize(
    ("recipe", "expected"), [(qvim_baseline, baseline_rate), (qvim_folds, greif_rate)]
)
def test_the_rates_of_published_recipes(recipe, expected, steps_per_epoch):
    config = recipe.get_config()
    found = _values(setup._learning_rates(config, steps_per_epoch)[0], range(15 * steps_per_epoch))
    rates = [expected(step, steps_per_epoch) for step in range(15 * steps_per_epoch)]
    np.testing.assert_allclose(found, rates, rtol=0, atol=TOLERANCE)
