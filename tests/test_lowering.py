"""Programs lowered here for accelerators hold no fast form of the CPU; those for the CPU do."""

import pathlib
import re

import jax
import numpy as np
import optax
import pytest

import qvae_jax
from qvae_jax import losses
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import decoders, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.system import platforms
from qvae_jax.training import optimizer
from qvae_jax.training import state as training_state
from qvae_jax.training.qvae_loss import QVAELoss
from qvae_jax.training.steered_loss import SteeredLoss
from qvae_jax.training.step import StepOptions, make_train_step

ROOM = pathlib.Path(qvae_jax.__file__).parent
# A lowered program names, for each operation, the lines of source that it was traced from.
FAST_FORMS = {
    str(file.relative_to(ROOM))
    for file in [*(ROOM / "models" / "cpu").glob("[!_]*.py"), ROOM / "audio" / "cpu.py"]
} | {"system/each_sample.py"}
ACCELERATORS = ("cuda", "tpu")
BATCH_SIZE = 2
FINE_TUNED = frozenset(range(11, 17))


def _config(decoder_type: str = "original-plus") -> QVAEConfig:
    return QVAEConfig(
        encoder_width=0.1,
        latent_dim=4,
        decoder_type=decoder_type,
        decoder_width=0.05,
        front_end=FrontEnd(duration_s=1.0),
    )


def _model(config: QVAEConfig):
    return variables.split(QVAE(config, rng=None))


def _training_step(layers: frozenset[int] | None, decoder_type: str = "original-plus"):
    """The step and what it is given; layers None: the frozen encoder's features."""
    config = _config(decoder_type)
    structure, given = _model(config)
    rate = optax.constant_schedule(1e-3)
    rule = optimizer.adamw(rate, rate, beta1=0.9, beta2=0.99, weight_decay=1e-4, clip_norm=1.0)
    by_magnitude = losses.LossWeights(0.0, 0.0, 0.0, magnitude=1.0, gesture=0.3)
    loss = (SteeredLoss if config.is_steered else QVAELoss)(
        graphdef=structure,
        weights=by_magnitude if config.is_steered else losses.LossWeights(),
        beta=rate,
        precomputed_features=layers is None,
        train_layers=layers or frozenset(),
        temperature=1.0,
    )
    options = StepOptions(learning_rate=rate, seed=0)
    front_end = config.front_end
    logmel = (front_end.num_mels, front_end.num_frames)
    inputs = (BATCH_SIZE, config.feature_dim()) if layers is None else (BATCH_SIZE, *logmel)
    batch = {
        "inputs": np.zeros(inputs, np.float32),
        "targets": np.zeros((BATCH_SIZE, decoders.NUM_SAMPLES), np.float32),
    }
    if config.is_steered:
        batch |= {
            "controls": np.zeros((BATCH_SIZE, 243, 4), np.float32),
            "lengths": np.full(BATCH_SIZE, decoders.NUM_SAMPLES, np.int32),
            "told": np.ones((BATCH_SIZE, 4), bool),
        }
    first = training_state.new_state(given, layers or frozenset(), rule)
    return make_train_step(loss, rule, options), (first, batch)


def _generation(decoder_type: str):
    """Waveforms to features, to the posterior's mean, to audio."""
    config = _config(decoder_type)
    structure, given = _model(config)

    def generate(given, waveforms):
        model = variables.merge(structure, given)
        mu, _ = model.posterior(model.features(log_mel(waveforms, config.front_end)))
        return model.decode(mu)

    waveforms = np.zeros((BATCH_SIZE, config.front_end.num_samples), np.float32)
    return generate, (given, waveforms)


PROGRAMS = {
    "step, frozen encoder": lambda: _training_step(None),
    "step, fine-tuned encoder": lambda: _training_step(FINE_TUNED),
    "step, frame": lambda: _training_step(None, "frame"),
    "step, steered": lambda: _training_step(None, "steered"),
    "generation": lambda: _generation("original-plus"),
    "generation, learned upsampling": lambda: _generation("original-res-plus"),
    "generation, linear upsampling": lambda: _generation("improved"),
    "generation, frame": lambda: _generation("frame"),
    "generation, steered": lambda: _generation("steered"),
}


def _lowered(name: str, platform: str) -> str:
    """The program for a platform, with the lines of source that it was traced from."""
    function, arguments = PROGRAMS[name]()
    with platforms.compiling_for(platform):
        lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,))
    return lowered.as_text(debug_info=True)


def _traced_from(program: str) -> set[str]:
    """Which files of fast forms a program names."""
    return {file for file in FAST_FORMS if f"{ROOM / file}" in program}


def _num_loops(program: str) -> int:
    return program.count("stablehlo.while")


def _groups(program: str) -> list[int]:
    """The number of channel groups of each convolution."""
    return [int(count) for count in re.findall(r"feature_group_count = (\d+)", program)]


@pytest.fixture(scope="module", params=PROGRAMS)
def name(request):
    return request.param


@pytest.mark.parametrize("platform", ACCELERATORS)
def test_an_accelerator_is_given_plain_forms_only(name, platform):
    program = _lowered(name, platform)
    assert str(ROOM / "models" / "plain.py") in program  # it does name its sources
    assert _traced_from(program) == set()
    assert _num_loops(program) == 0  # the whole batch at once
    assert "optimization_barrier" not in program
    if name.startswith("generation"):
        _, (given, _) = PROGRAMS[name]()
        # The taps of blocks at frame rate are no convolution's.
        kernels = [
            array
            for key, array in given.params.items()
            if array.ndim > 2 and not key.endswith(".taps")
        ]
        depthwise = [kernel for kernel in kernels if kernel.ndim == 4 and kernel.shape[2] == 1]
        groups = _groups(program)
        assert len(groups) == len(kernels)  # one convolution for each kernel
        # All but the first layer, whose map has one channel, are of several groups.
        assert sum(count > 1 for count in groups) == len(depthwise) - 1


def test_the_cpu_is_given_every_fast_form():
    """The same looks find them, so that they would find them above."""
    programs = {name: _lowered(name, "cpu") for name in PROGRAMS}
    found = {name: _traced_from(program) for name, program in programs.items()}
    assert set().union(*found.values()) == FAST_FORMS
    for name, program in programs.items():
        assert found[name], name
        assert _num_loops(program) > 0, name  # sample by sample
        assert max(_groups(program), default=1) == 1, name
        assert ("optimization_barrier" in program) == name.startswith("step")
