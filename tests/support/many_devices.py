"""Run by the tests in a process of its own: one training, on devices in several ways.

    python tests/support/many_devices.py OUTPUT.npz NUM_STEPS PARALLEL:NUM_DEVICES:CHANGES...

CHANGES are empty (then evaluation is compared too) or words: `per_device`, `parts` (two per batch),
`dropout`, `warming`: at the rate at which the authors' proper runs begin, not at the full one,
`shaken`: from weights half a rounding away, `no_mel` (without the mel loss), `no_log`: the spectral
loss without its logarithms, which turn rounding into gradient where a prediction is nearly zero
(test_step.py), `floor`: with them, but of magnitudes plus 1 instead of 1e-7, so that they do not,
and with targets of noise, `steered`: a steered decoder by its own losses. Keys of OUTPUT are PLACEMENT/KIND/NAME,
PLACEMENT being one of the last arguments. Precision is JAX_ENABLE_X64's.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import golden_rules
from qvae_jax import losses
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.losses import LossWeights
from qvae_jax.models import decoders, steered, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.training import devices, optimizer, step
from qvae_jax.training.qvae_loss import QVAELoss
from qvae_jax.training.state import TrainState
from qvae_jax.training.steered_loss import SteeredLoss
from qvae_jax.training.step import StepOptions

BATCH_SIZE = 8
NUM_FRAMES = 27  # of a steered decoder
LOG_FLOOR = losses.LOG_FLOOR
FULL_RATE, WARMING_RATE = 8e-4, 8e-5 * optimizer.WARMUP_START
LAYERS = frozenset({1})  # of the encoder, that learn
KEEP_GRADIENT = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda gradient, state, params=None: (gradient, gradient),
)


def model(dropout: bool, decoder_type: str | None = None) -> QVAE:
    """Features from layer 1, a decoder of 729 samples, and two windows for its losses.

    A steered decoder has 27 frames of 243 samples and few blocks.
    """
    steered.GESTURE_FIRST_FRAMES = 1
    steered.DILATIONS, steered.GESTURE_DILATIONS = (1, 2), (1,)
    losses.MAGNITUDE_WINDOWS = (256, 1024)
    losses.STFT_WINDOWS, losses.MEL_WINDOWS = (256, 1024), (1024,)
    decoders.STAGE_WIDTHS, decoders.FINAL_WIDTHS = (8,) * 6, (4, 2)
    decoders.LightImproved.WIDTHS = (8,) * 6
    config = QVAEConfig(
        encoder_width=0.1,
        latent_dim=4,
        feature_space="1",
        decoder_type=decoder_type or ("light_improved" if dropout else "original-plus"),
        decoder_width=0.02 if decoder_type == "steered" else 1.0,
        decoder_dropout=0.2,
        front_end=FrontEnd(duration_s=0.2, num_mels=32),
    )
    return QVAE(config, rng=np.random.default_rng(0))


def batch(dtype) -> dict[str, np.ndarray]:
    """Noise in, chirps to be learnt."""
    inputs = np.random.default_rng(0).standard_normal((BATCH_SIZE, 32, 20))
    targets = golden_rules.signals(BATCH_SIZE, 3**6, 22_050, 8)
    # Some of the rows fall silent early, so that no part of the batch is like another.
    targets[::3, 400:] = 0.0
    return {"inputs": inputs.astype(dtype), "targets": targets.astype(dtype)}


def steered_batch(dtype) -> dict[str, np.ndarray]:
    """Noise in, chirps and curves to be learnt, some of which are not told."""
    random = np.random.default_rng(4)
    curves = np.array([-30, 80, 57, 0.5]) + [8, 6, 6, 0.3] * random.uniform(
        -1, 1, (BATCH_SIZE, NUM_FRAMES, 4)
    )
    lengths = np.int32(random.integers(1000, NUM_FRAMES * 243, BATCH_SIZE))
    targets = golden_rules.signals(BATCH_SIZE, NUM_FRAMES * 243, 22_050, 8)
    targets = targets * (np.arange(NUM_FRAMES * 243) < lengths[:, None])
    return {
        "inputs": batch(dtype)["inputs"],
        "targets": targets.astype(dtype),
        "controls": curves.astype(dtype),
        "lengths": lengths,
        "told": random.random((BATCH_SIZE, 4)) < 0.7,
    }


def loud(targets: np.ndarray) -> np.ndarray:
    """Noise in their place, above what a fresh decoder gives at all frequencies.

    Else |x| bends within rounding of 0 for some bin or other: its gradient there is one of two.
    """
    return np.random.default_rng(2).standard_normal(targets.shape).astype(targets.dtype)


def run(parallel: str, num_devices: int, changes: str, num_steps: int) -> dict[str, np.ndarray]:
    """Metrics, gradients and statistics of the first step, and the parameters after the last."""
    dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
    losses.LOG_FLOOR = 1.0 if "floor" in changes else LOG_FLOOR
    if "no_log" in changes:
        losses.spectral_loss = convergence
    is_steered = "steered" in changes
    drawn = model("dropout" in changes, "steered" if is_steered else None)
    graphdef, given = variables.split(drawn)
    given = jax.tree.map(lambda array: np.asarray(array, dtype), given)
    if "shaken" in changes:
        given = given._replace(params=shaken(given.params, np.finfo(dtype).eps / 2))
    rate = optax.constant_schedule(WARMING_RATE if "warming" in changes else FULL_RATE)
    per_device = "per_device" in changes
    placement = devices.arrange(
        parallel, "per_device" if per_device else "global", jax.devices()[:num_devices]
    )
    weights = LossWeights(mel=0.0) if "no_mel" in changes else LossWeights()
    if is_steered:
        weights = LossWeights(spectral=0.0, mel=0.0, waveform=0.0, magnitude=1.0, gesture=0.3)
    loss, options = loss_and_options(
        graphdef, placement, weights, SteeredLoss if is_steered else QVAELoss
    )
    options = dataclasses.replace(
        options, learning_rate=rate, accumulation_steps=2 if "parts" in changes else 1
    )
    adamw = optimizer.adamw(rate, rate, beta1=0.95, beta2=0.999, weight_decay=1e-4, clip_norm=2.0)
    rule = optax.chain(KEEP_GRADIENT, adamw)
    trainable, frozen = optimizer.split_trainable(given.params, LAYERS)
    state = TrainState(jnp.int32(0), trainable, frozen, given.batch_stats, rule.init(trainable))
    state = devices.put_state(state, placement)
    train_step = devices.compile_train_step(step.make_train_step(loss, rule, options), placement)
    eval_step = devices.compile_eval_step(loss.evaluate, placement)
    given_batch = (steered_batch if is_steered else batch)(dtype)
    if "floor" in changes:
        given_batch["targets"] = loud(given_batch["targets"])
    placed = devices.put_batch(given_batch, placement)
    found = {} if changes else evaluated(state, eval_step, placement, dtype)
    for number in range(1, num_steps + 1):
        state, metrics = train_step(state, placed)
        if number == 1:
            here = devices.get_state(state, placement)
            found |= named("metrics", devices.get_state(metrics, placement))
            found |= named("gradients", here.optimizer_state[0])
            found |= named("batch_stats", here.batch_stats)
    found |= named("params", devices.get_state(state, placement).trainable)
    return found


def loss_and_options(
    graphdef,
    placement: devices.Placement,
    weights: LossWeights = LossWeights(),
    kind: type[QVAELoss] = QVAELoss,
) -> tuple[QVAELoss, StepOptions]:
    """The loss of the model, and how its steps are taken, on these devices."""
    cut = {
        "axis_name": placement.axis_name,
        "batch_norm_per_device": placement.batch_norm == "per_device",
    }
    loss = kind(
        graphdef=graphdef,
        weights=weights,
        beta=optax.constant_schedule(0.01),
        precomputed_features=False,
        train_layers=LAYERS,
        temperature=1.0,
        **cut,
    )
    return loss, StepOptions(learning_rate=optax.constant_schedule(FULL_RATE), seed=3, **cut)


def shaken(params: dict, size: float) -> dict:
    """All numbers off by about this share of themselves."""
    random = np.random.default_rng(1)
    off = lambda array: 1 + size * random.standard_normal(array.shape)
    return {name: (array * off(array)).astype(array.dtype) for name, array in params.items()}


def evaluated(
    state: TrainState, eval_step, placement: devices.Placement, dtype
) -> dict[str, np.ndarray]:
    """Metrics and audio of a batch whose last row does not count."""
    valid = np.arange(BATCH_SIZE) < BATCH_SIZE - 1
    marked = devices.put_batch(batch(dtype) | {"valid": valid}, placement)
    metrics, audio = eval_step(state.averaged(), marked, np.int32(0))
    return named("evaluation", devices.get_state(metrics, placement)) | {
        "audio": devices.get_rows(audio, placement)
    }


def convergence(prediction, target, share=1.0, axis_name=None):
    """The spectral loss without its logarithms."""
    of_window = lambda w: losses._convergence(prediction.stft[w], target.stft[w], axis_name)
    return sum(map(of_window, losses.STFT_WINDOWS)) / len(losses.STFT_WINDOWS)


def named(kind: str, arrays: dict) -> dict[str, np.ndarray]:
    return {f"{kind}/{name}": np.asarray(array) for name, array in arrays.items()}


if __name__ == "__main__":
    jax.config.update("jax_default_matmul_precision", "highest")
    output, num_steps, *placements = sys.argv[1:]
    results = {}
    for text in placements:
        parallel, num_devices, changes = text.split(":")
        found = run(parallel, int(num_devices), changes, int(num_steps))
        results |= {f"{text}/{name}": array for name, array in found.items()}
    np.savez(output, **results)
