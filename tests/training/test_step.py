"""The training step: five golden steps, what it changes and what it leaves, its randomness."""

import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import golden_rules
import killed_run
from filled import REDUCED_SAMPLES, filled_decoder, reduced_decoder, reduced_stages
from qvae_jax import losses
from qvae_jax.audio import mel
from qvae_jax.losses import LossWeights
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.training import optimizer, step
from qvae_jax.training.qvae_loss import QVAELoss
from qvae_jax.training.state import TrainState
from qvae_jax.training.step import StepOptions
from reduced_batches import BATCH, FEATURE_BATCH, SHALLOW, TARGETS

LATENT_DIM = 16
LEARNING_RATE = 8e-4
NAMES = ("total", *losses.ORIGINAL, "kl")


def _adamw(learning_rate: float = LEARNING_RATE, weight_decay: float = 1e-4):
    rate = optax.constant_schedule(learning_rate)
    return optimizer.adamw(
        rate, rate, beta1=0.95, beta2=0.999, weight_decay=weight_decay, clip_norm=2.0
    )


def _loss(graphdef, **changes) -> QVAELoss:
    options = dict(
        weights=LossWeights(),
        beta=optax.constant_schedule(0.0),
        precomputed_features=True,
        train_layers=frozenset(),
        temperature=0.0,
    )
    return QVAELoss(graphdef, **options | changes)


OPTIONS = StepOptions(learning_rate=optax.constant_schedule(LEARNING_RATE), seed=0)


# Five golden steps. In the golden run μ = z and logvar = 0 are given and the decoder alone learns:
# the heads here are frozen, and project the features, which are z and zeros, onto z.


def _decoder_alone(decoder, dtype):
    """The state in which only this decoder learns: filled variables below a model's frozen rest."""
    rest = variables.split(_small_qvae(LATENT_DIM, None))[1]
    cast = lambda arrays: {k: np.asarray(array, dtype) for k, array in arrays.items()}
    below = lambda arrays: {f"decoder.{k}": array for k, array in arrays.items()}
    frozen = {k: array for k, array in rest.params.items() if not k.startswith("decoder.")}
    frozen |= {"mu_head.kernel": np.eye(*rest.params["mu_head.kernel"].shape)}
    stats = {k: array for k, array in rest.batch_stats.items() if not k.startswith("decoder.")}
    trainable = cast(below(decoder.params))
    return TrainState(
        step=jnp.int32(0),
        trainable=trainable,
        frozen=cast(frozen),
        batch_stats=cast(stats | below(decoder.batch_stats)),
        optimizer_state=_adamw().init(trainable),
    )


def _steps(
    train_step, decoder, z, targets, dtype=np.float32, num_steps: int = 5
) -> list[dict[str, float]]:
    state = _decoder_alone(decoder, dtype)
    num_features = state.frozen["mu_head.kernel"].shape[0]
    inputs = np.pad(z, [(0, 0), (0, num_features - LATENT_DIM)]).astype(dtype)
    batch, history = {"inputs": inputs, "targets": targets.astype(dtype)}, []
    for _ in range(num_steps):
        state, metrics = train_step(state, batch)
        history.append({name: float(number) for name, number in metrics.items()})
    return history


def _small_qvae(latent_dim: int, rng, **changes) -> QVAE:
    """mn01 around the reduced decoder."""
    with reduced_stages():
        return QVAE(QVAEConfig(encoder_width=0.1, latent_dim=latent_dim, **changes), rng=rng)


@pytest.fixture(scope="module")
def golden():
    golden = golden_rules.load("train_five_steps")
    numbers = [dict(zip(NAMES, row, strict=True)) for row in golden["losses"]]
    norms = [{"gradient_norm": norm} for norm in golden["grad_norms"]]
    return golden["z"], [n | g for n, g in zip(numbers, norms, strict=True)]


@pytest.fixture(scope="module")
def golden_targets():
    return golden_rules.signals(3, 59049, 22_050, 8)


@pytest.fixture(scope="module")
def eight_runs(golden, golden_targets):
    """Five steps from the golden weights, and from seven copies of them half a rounding away.

    Four of the copies take the first two steps only.
    """
    z, _ = golden
    config = QVAEConfig(encoder_width=0.1, latent_dim=LATENT_DIM)
    graphdef, _ = variables.split(QVAE(config, rng=None))
    train_step = jax.jit(step.make_train_step(_loss(graphdef), _adamw(), OPTIONS))
    _, filled = filled_decoder("original-plus")
    starts = [filled] + [
        filled._replace(params=_disturbed(filled.params, seed)) for seed in range(1, 8)
    ]
    return [
        _steps(train_step, start, z, golden_targets, num_steps=5 if number < 4 else 2)
        for number, start in enumerate(starts)
    ]


def _disturbed(params, seed: int):
    random = np.random.default_rng(seed)
    return {
        name: array * (1 + 6e-8 * random.standard_normal(array.shape))
        for name, array in params.items()
    }


def test_first_step_equals_golden(eight_runs, golden):
    _, expected = golden
    for name in NAMES:
        assert eight_runs[0][0][name] == pytest.approx(expected[0][name], rel=1e-4), name


@pytest.mark.parametrize(
    ("number", "names", "num_runs"),
    # The first norm is one of three values, and the second step's follows from it: four runs may
    # well agree on one that is not golden's.
    [
        (1, ("gradient_norm",), 8),
        (2, (*NAMES, "gradient_norm"), 8),
        *((number, (*NAMES, "gradient_norm"), 4) for number in (3, 4, 5)),
    ],
)
def test_what_rounding_decides_is_as_near_to_golden_as_any_run(
    eight_runs, golden, number, names, num_runs
):
    # The log-magnitude loss divides by |P| + 1e-7: a bin near zero turns rounding noise into
    # gradient, and Adam's first steps take the sign of it. A change of the weights by half a unit
    # in the last place makes the first gradient's norm 82.8 (golden's), 86.3 or 88.7, and moves
    # the second step's loss by about 1e-2 and the third's by 5e-2, so the golden float32 run is
    # one draw from that spread. What does not depend on rounding is below.
    _, expected = golden
    for name in names:
        runs = [run[number - 1][name] for run in eight_runs[:num_runs]]
        spread = max(runs) - min(runs)
        distance = abs(runs[0] - expected[number - 1][name])
        assert distance <= 3 * spread + 1e-4 * abs(runs[0]), name


@pytest.fixture(scope="module")
def double_steps():
    """Compiled (weights, state, batch) -> (state, metrics) around the reduced decoder."""
    graphdef, _ = variables.split(_small_qvae(LATENT_DIM, None))

    @jax.jit
    def double_step(weights, state, batch):
        loss = _loss(graphdef, weights=LossWeights(**weights))
        return step.make_train_step(loss, _adamw(), OPTIONS)(state, batch)

    return double_step


@pytest.mark.parametrize(
    ("weights", "num_steps"),
    [
        # From step to step rounding grows ten-thousandfold with the spectral term (1e-14 at the
        # second step, 1e-10 at the third, 1e-6 at the fourth), in double precision too.
        (dict(spectral=1.0, mel=1.5), 3),
        # Without it, it does not.
        (dict(spectral=0.0, mel=1.5), 5),
    ],
)
def test_steps_equal_torch_in_double_precision(
    golden, golden_targets, double_steps, weights, num_steps
):
    pytest.importorskip("torch", reason="compares with the same training in torch")
    torch, reference = importlib.import_module("torch"), importlib.import_module("torch_reference")
    z, targets = golden[0].astype(np.float64), golden_targets[:, :REDUCED_SAMPLES]
    _, filled, state_dict, _ = reduced_decoder()
    banks = {w: mel.htk_mel_bank(80, w, 22_050, 0.0, 11_025.0) for w in losses.MEL_WINDOWS}
    expected = reference.train(
        reference.tensors(state_dict, torch.float64),
        torch.from_numpy(z),
        torch.from_numpy(targets).double(),
        banks,
        num_steps=num_steps,
        **weights,
    )
    with jax.enable_x64(True):
        train_step = functools.partial(double_steps, weights)
        ours = _steps(train_step, filled, z, targets, np.float64, num_steps)
    for number, (mine, theirs) in enumerate(zip(ours, expected, strict=True), start=1):
        for name in NAMES:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-6), (number, name)
    # Before clipping: what torch's clip_grad_norm_ returns, and far above what it clips at.
    assert ours[0]["gradient_norm"] == pytest.approx(expected[0]["gradient_norm"], rel=1e-6)
    assert ours[0]["gradient_norm"] > 20


# What a step changes and what it leaves, on a small model.

FINE_TUNED = frozenset({1, 4})


class Trainer:
    """A compiled step and the state it starts from."""

    def __init__(self, model, layers=frozenset(), learning_rate=LEARNING_RATE, **of_loss):
        self.graphdef, given = variables.split(model)
        trainable, frozen = optimizer.split_trainable(given.params, layers)
        adamw = _adamw(learning_rate, weight_decay=0.0)
        self.start = TrainState(
            jnp.int32(0), trainable, frozen, given.batch_stats, adamw.init(trainable)
        )
        self.loss = _loss(self.graphdef, train_layers=layers, **of_loss)
        self.step = jax.jit(step.make_train_step(self.loss, adamw, OPTIONS))


@pytest.fixture(scope="module")
def fine_tuning():
    return Trainer(
        _small_qvae(4, np.random.default_rng(0), **SHALLOW),
        FINE_TUNED,
        precomputed_features=False,
        beta=lambda number: 1e-3 * (1.0 + number),
        temperature=1.0,
    )


@pytest.fixture(scope="module")
def frozen_encoder():
    """Trains on features that were computed beforehand."""
    return Trainer(_small_qvae(4, np.random.default_rng(0)), learning_rate=3e-3)


@pytest.fixture(scope="module")
def after_one_step(fine_tuning):
    return fine_tuning.step(fine_tuning.start, BATCH)


def _changed(before, after) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if np.any(np.asarray(before[name]) != after[name])}


def test_every_trainable_array_learns_and_no_frozen_one(fine_tuning, after_one_step):
    state, _ = after_one_step
    assert _changed(fine_tuning.start.frozen, state.frozen) == set()
    # Without weight decay only a gradient moves an array. That of a bias before BatchNorm is zero
    # but for rounding.
    stayed = state.trainable.keys() - _changed(fine_tuning.start.trainable, state.trainable)
    assert all(name.endswith("conv.bias") for name in stayed), stayed
    layers = {int(n.split(".")[2]) for n in state.trainable if n.startswith("encoder.")}
    assert layers == FINE_TUNED


def test_only_the_trained_layers_move_their_statistics(fine_tuning, after_one_step):
    state, _ = after_one_step
    moved = _changed(fine_tuning.start.batch_stats, state.batch_stats)
    prefixes = ("decoder.", *(f"encoder.features.{layer}." for layer in FINE_TUNED))
    assert moved == {name for name in state.batch_stats if name.startswith(prefixes)}


def test_frozen_encoder_keeps_everything(frozen_encoder):
    state, _ = frozen_encoder.step(frozen_encoder.start, FEATURE_BATCH)
    assert _changed(frozen_encoder.start.frozen, state.frozen) == set()
    assert all(name.startswith("encoder.") for name in state.frozen)
    moved = _changed(frozen_encoder.start.batch_stats, state.batch_stats)
    assert moved == {name for name in state.batch_stats if name.startswith("decoder.")}


def test_step_is_pure_and_counts(fine_tuning, after_one_step):
    state, metrics = after_one_step
    again, again_metrics = fine_tuning.step(fine_tuning.start, BATCH)
    assert int(state.step) == 1 and state.step.dtype == jnp.int32
    assert _changed(state.trainable, again.trainable) == set()
    assert metrics == again_metrics
    assert int(fine_tuning.step(state, BATCH)[0].step) == 2


def test_metrics(fine_tuning, after_one_step):
    _, metrics = after_one_step
    assert set(metrics) == {*NAMES, "beta", "learning_rate", "gradient_norm"}
    assert all(np.shape(number) == () and np.isfinite(number) for number in metrics.values())
    assert float(metrics["learning_rate"]) == pytest.approx(LEARNING_RATE)
    weighted = metrics["spectral"] + 1.5 * metrics["mel"] + metrics["waveform"]
    expected = float(weighted + metrics["beta"] * metrics["kl"])
    assert float(metrics["total"]) == pytest.approx(expected, rel=1e-6)


def test_beta_is_that_of_the_step(fine_tuning):
    for number in (0, 9):
        state = fine_tuning.start._replace(step=jnp.int32(number))
        _, metrics = fine_tuning.step(state, BATCH)
        assert float(metrics["beta"]) == pytest.approx(1e-3 * (1 + number))


def test_noise_depends_on_seed_and_step_alone(fine_tuning, after_one_step):
    _, metrics = after_one_step
    _, later = fine_tuning.step(fine_tuning.start._replace(step=jnp.int32(1)), BATCH)
    # The posterior is the same, and what is decoded is not.
    assert float(later["kl"]) == float(metrics["kl"])
    assert abs(float(later["waveform"]) - float(metrics["waveform"])) > 1e-6


def test_another_seed_is_another_program(frozen_encoder):
    # The seed is fixed when the step is compiled; comparing programs spares compiling a second.
    def program(seed):
        loss = _loss(frozen_encoder.graphdef, temperature=1.0)
        options = dataclasses.replace(OPTIONS, seed=seed)
        train_step = step.make_train_step(loss, _adamw(), options)
        return str(jax.make_jaxpr(train_step)(frozen_encoder.start, FEATURE_BATCH))

    assert program(0) == program(0) != program(1)


def test_temperature_zero_needs_no_seed(frozen_encoder):
    # The step's number is folded into the seed: another number is another seed.
    _, metrics = frozen_encoder.step(frozen_encoder.start, FEATURE_BATCH)
    later = frozen_encoder.start._replace(step=jnp.int32(5))
    assert frozen_encoder.step(later, FEATURE_BATCH)[1] == metrics


def test_a_batch_in_parts_has_their_mean_gradient_and_moves_statistics_part_by_part():
    def gradient_of(trainable, state, rows, part):
        loss = jnp.mean(rows["inputs"]) * (1.0 + part)
        stats = {"mean": 0.5 * state.batch_stats["mean"] + jnp.sum(rows["inputs"])}
        return {"w": 2.0 * loss}, ({"total": loss}, stats)

    start = TrainState(jnp.int32(0), {"w": 0.0}, {}, {"mean": jnp.float32(8.0)}, None)
    batch = {"inputs": jnp.array([[1.0], [10.0], [2.0], [20.0]])}
    gradient, (terms, stats) = step._accumulated(gradient_of, start, batch, 2)
    # Parts of rows 0 and 2, and 1 and 3: means 1.5 and 15, the second one counted twice above.
    assert float(terms["total"]) == (1.5 + 2 * 15) / 2
    assert float(gradient["w"]) == 2 * float(terms["total"])
    assert float(stats["mean"]) == (8 / 2 + 3) / 2 + 30


@pytest.mark.slow
def test_bfloat16_is_for_computing_alone(monkeypatch):
    killed_run.shrink(monkeypatch.setattr)
    config = QVAEConfig(encoder_width=0.1, latent_dim=4, **SHALLOW)
    trainers = [
        Trainer(
            QVAE(config, rng=np.random.default_rng(0)),
            FINE_TUNED,
            precomputed_features=False,
            compute_dtype=dtype,
        )
        for dtype in (None, jnp.bfloat16)
    ]
    batch = BATCH | {"targets": TARGETS[:, : 3**6]}
    results = [trainer.step(trainer.start, batch) for trainer in trainers]
    (state, metrics), (wide_state, _) = results[1], results[0]
    types = lambda tree: jax.tree.map(lambda array: array.dtype, tree)
    assert types(state) == types(wide_state)
    assert all(number.dtype == jnp.float32 for number in metrics.values())
    for name in ("total", "mel", "waveform"):
        assert float(metrics[name]) != float(results[0][1][name])
        assert float(metrics[name]) == pytest.approx(float(results[0][1][name]), rel=0.03)
    program = str(jax.make_jaxpr(trainers[1].step)(trainers[1].start, batch))
    assert program.count("bf16[") > 100
    assert "bf16[" not in str(jax.make_jaxpr(trainers[0].step)(trainers[0].start, batch))


def test_loss_falls_over_ten_steps(frozen_encoder):
    state, totals = frozen_encoder.start, []
    for _ in range(10):
        state, metrics = frozen_encoder.step(state, FEATURE_BATCH)
        totals.append(float(metrics["total"]))
    assert totals[-1] < 0.9 * totals[0]
    assert min(totals) == min(totals[5:])


def test_any_loss_can_be_learnt():
    """Of two vectors, each of which is drawn towards the other: no model, no terms of a QVAE."""

    def loss(given, batch, key, step):
        distance = jnp.mean(jnp.square(given.params["mu_head.a"] - given.params["decoder.b"]))
        noise = jax.random.normal(key, ())
        seen = {"mean": given.batch_stats["mean"] + jnp.sum(batch["inputs"])}
        return distance + 0.1 * step, ({"distance": distance, "noise": noise}, seen)

    params = {"mu_head.a": jnp.zeros(3), "decoder.b": jnp.ones(3)}
    rule = optax.sgd(0.1)
    state = TrainState(jnp.int32(0), params, {}, {"mean": jnp.float32(0)}, rule.init(params))
    train_step = jax.jit(step.make_train_step(loss, rule, OPTIONS))
    batch, history = {"inputs": jnp.ones(4)}, []
    for number in range(3):
        state, metrics = train_step(state, batch)
        history.append(metrics)
        key = jax.random.fold_in(jax.random.key(OPTIONS.seed), number)
        assert float(metrics["noise"]) == float(jax.random.normal(key, ()))
        assert float(metrics["total"]) == pytest.approx(float(metrics["distance"]) + 0.1 * number)
    assert set(history[0]) == {"total", "distance", "noise", "gradient_norm", "learning_rate"}
    assert history[2]["distance"] < history[1]["distance"] < history[0]["distance"]
    assert float(state.batch_stats["mean"]) == 12.0 and int(state.step) == 3


@pytest.mark.parametrize(
    ("decay", "warms_up", "expected"),
    [
        (0.5, False, [0.5, 0.5, 0.5, 0.5]),
        (0.999, True, [1 / 10, 2 / 11, 3 / 12, 4 / 13]),
        (0.2, True, [1 / 10, 2 / 11, 0.2, 0.2]),
    ],
)
def test_averaged_weights_move_by_their_decay_which_may_warm_up(decay, warms_up, expected):
    def loss(given, batch, key, step):
        return given.params["mu_head.a"], ({}, {})

    rule = optax.sgd(1.0)  # each step is one down
    params = {"mu_head.a": jnp.float32(0)}
    state = TrainState(jnp.int32(0), params, {}, {}, rule.init(params), dict(params))
    options = dataclasses.replace(OPTIONS, average_decay=decay, average_warms_up=warms_up)
    train_step, average = jax.jit(step.make_train_step(loss, rule, options)), 0.0
    for number, share in enumerate(expected, start=1):
        state, _ = train_step(state, {})
        average = share * average + (1 - share) * -number
        assert float(state.average["mu_head.a"]) == pytest.approx(average, rel=1e-5)
        assert float(state.trainable["mu_head.a"]) == -number


def test_evaluation_on_batch_statistics_decodes_as_training_does(frozen_encoder):
    evaluate = functools.partial(frozen_encoder.loss.evaluate, batch_statistics=True)
    metrics, audio = jax.jit(evaluate)(frozen_encoder.start.variables(), FEATURE_BATCH, 0)
    _, trained = frozen_encoder.step(frozen_encoder.start, FEATURE_BATCH)
    assert audio.shape == TARGETS.shape
    for name in NAMES:
        assert float(metrics[name]) == pytest.approx(float(trained[name]), rel=1e-4), name
