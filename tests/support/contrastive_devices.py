"""Run by the tests in a process of its own: a contrastive step, on devices in several ways.

    python tests/support/contrastive_devices.py OUTPUT.npz PARALLEL:NUM_DEVICES...

Keys of OUTPUT are PLACEMENT/KIND/NAME. A sound stands twice in the batch, on different devices.
Precision is JAX_ENABLE_X64's.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import many_devices
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.qvim import QVIM
from qvae_jax.training import devices, optimizer, step
from qvae_jax.training.contrastive_loss import ContrastiveLoss
from qvae_jax.training.state import TrainState
from qvae_jax.training.step import StepOptions
from qvae_jax.training.varied_sounds import Augmentation

BATCH_SIZE = 8
LAYERS = frozenset({16})
FRONT_END = FrontEnd(duration_s=0.1, num_mels=32)
AUGMENTATION = Augmentation(
    roll_samples=100,
    gain_db=6.0,
    changed_frames=0.2,
    frequency_mask_mels=8,
    time_mask_frames=4,
    mel_low_hz=10,
    mel_high_hz=2000,
    mixstyle_probability=1.0,
)


def run(parallel: str, num_devices: int) -> dict[str, np.ndarray]:
    """Metrics, gradients and statistics of a step."""
    dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
    config = QVAEConfig(encoder_width=0.1, front_end=FRONT_END)
    model = QVIM(config, learnt_temperature=0.1, rng=np.random.default_rng(0))
    graphdef, given = variables.split(model)
    given = jax.tree.map(lambda array: np.asarray(array, dtype), given)
    placement = devices.arrange(parallel, "global", jax.devices()[:num_devices])
    loss = ContrastiveLoss(
        graphdef,
        FRONT_END,
        LAYERS,
        triplet=0.5,
        augmentation=AUGMENTATION,
        axis_name=placement.axis_name,
    )
    rate = optax.constant_schedule(1e-3)
    options = StepOptions(learning_rate=rate, seed=3, axis_name=placement.axis_name)
    rule = many_devices.KEEP_GRADIENT
    trainable, frozen = optimizer.split_trainable(given.params, LAYERS)
    state = TrainState(jnp.int32(0), trainable, frozen, given.batch_stats, rule.init(trainable))
    train_step = devices.compile_train_step(step.make_train_step(loss, rule, options), placement)
    random = np.random.default_rng(1)
    sides = random.standard_normal((2, BATCH_SIZE, FRONT_END.num_samples)).astype(dtype)
    sounds = np.int32([0, 1, 2, 3, 4, 0, 6, 7])
    batch = {"imitation": sides[0], "reference": sides[1], "sounds": sounds}
    placed = devices.put_batch(batch, placement)
    state, metrics = train_step(devices.put_state(state, placement), placed)
    here = devices.get_state(state, placement)
    return {
        **many_devices.named("metrics", devices.get_state(metrics, placement)),
        **many_devices.named("gradients", here.optimizer_state),
        **many_devices.named("batch_stats", here.batch_stats),
    }


if __name__ == "__main__":
    jax.config.update("jax_default_matmul_precision", "highest")
    output, *placements = sys.argv[1:]
    results = {}
    for text in placements:
        parallel, num_devices = text.split(":")
        found = run(parallel, int(num_devices))
        results |= {f"{text}/{name}": array for name, array in found.items()}
    np.savez(output, **results)
