"""Run by the tests in a process of its own: one model's diagnostics, on devices in several ways.

    python tests/support/probed_devices.py OUTPUT.npz PARALLEL:NUM_DEVICES:BATCH_NORM[:step]...

Keys of OUTPUT are PLACEMENT/NAME; `PLACEMENT/direct/mu` is what the model gives without any program of
the probe; with `step`, `PLACEMENT/step_gradient_norm` is what a training step reports of its batch.
"""

import sys

import jax
import numpy as np

import many_devices
from qvae_jax import losses
from qvae_jax.data.batches import Examples
from qvae_jax.diagnostics import probe
from qvae_jax.models import variables
from qvae_jax.training import devices, optimizer, step
from qvae_jax.training.state import TrainState

NUM_EXAMPLES = 12  # more than one batch, and no multiple of it


def examples() -> Examples:
    first = many_devices.batch(np.float32)
    rows = np.arange(NUM_EXAMPLES) % many_devices.BATCH_SIZE
    return Examples(
        tuple(range(NUM_EXAMPLES)), first["inputs"], first["targets"], rows, rows[::-1].copy()
    )


def diagnosed(
    parallel: str, num_devices: int, batch_norm: str, *rest: str
) -> dict[str, np.ndarray]:
    """What the probe finds, and what it should."""
    model = many_devices.model(dropout=False)
    graphdef, given = variables.split(model)
    placement = devices.arrange(parallel, batch_norm, jax.devices()[:num_devices])
    loss, options = many_devices.loss_and_options(graphdef, placement)
    rule = many_devices.KEEP_GRADIENT
    trainable, frozen = optimizer.split_trainable(given.params, many_devices.LAYERS)
    state = TrainState(np.int32(0), trainable, frozen, given.batch_stats, rule.init(trainable))
    state = devices.put_state(state, placement)
    data, size = examples(), many_devices.BATCH_SIZE
    compiled = probe.make_probe(loss, options, placement)
    validated = {"interpolation": data, "extrapolation": data}
    names = variables.names_in_order(model)
    found = probe.examine(compiled, state, validated, data, size, NUM_EXAMPLES, names)
    few = probe.examine(compiled, state, {"train": data}, data, size, 5, names)
    found |= {f"few/{name}": array for name, array in few.items()}
    mu, logvar = model.posterior(model.features(data.batch(np.arange(NUM_EXAMPLES))["inputs"]))
    found |= {"direct/mu": np.asarray(mu), "direct/logvar": np.asarray(logvar)}
    if "step" not in rest:
        return found
    # The state is still there, although a training step takes its state's memory.
    positions = np.linspace(0, NUM_EXAMPLES - 1, size).round().astype(int)
    train_step = devices.compile_train_step(step.make_train_step(loss, rule, options), placement)
    _, metrics = train_step(state, devices.put_batch(data.batch(positions), placement))
    metrics = devices.get_state(metrics, placement)
    found["step_gradient_norm"] = np.asarray(metrics["gradient_norm"])
    return found


if __name__ == "__main__":
    jax.config.update("jax_default_matmul_precision", "highest")
    # The logarithms turn rounding into gradient where a prediction is nearly zero (test_step.py).
    losses.spectral_loss = many_devices.convergence
    output, *placements = sys.argv[1:]
    results = {}
    for text in placements:
        parallel, num_devices, *rest = text.split(":")
        found = diagnosed(parallel, int(num_devices), *rest)
        results |= {f"{text}/{name}": array for name, array in found.items()}
    np.savez(output, **results)
