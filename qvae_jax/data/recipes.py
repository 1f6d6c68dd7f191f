"""How the rows of each prepared array are made: targets, their gestures, and encoder inputs."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable

import jax
import numpy as np

from qvae_jax.audio import controls
from qvae_jax.audio.files import fit_length
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.audio.windows import read_sound
from qvae_jax.data.cache import Recipe
from qvae_jax.data.loading import LOGMEL_DTYPE, load_logmel
from qvae_jax.models import decoders, variables
from qvae_jax.models.batching import in_batches
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.variables import Variables

ENCODER_BATCH_SIZE = 16

# What a steered decoder is given of a target, whatever the rate of its sound: the target's control
# curves (audio/controls.py), and its length before it was padded, both at 22,050 Hz.
GESTURE = np.dtype(
    [
        (
            "controls",
            np.float32,
            (controls.num_frames(decoders.NUM_SAMPLES), len(controls.NAMES)),
        ),
        ("length", np.int32),
    ]
)


def targets(sample_rate_hz: int = decoders.SAMPLE_RATE_HZ) -> Recipe:
    """References as the decoder's targets: float32 [decoders.num_samples], 59,049 at 22,050 Hz."""
    num_samples = decoders.num_samples(sample_rate_hz)
    return Recipe(
        load=_loader(sample_rate_hz, num_samples / sample_rate_hz),
        transform=lambda waveforms: _stacked(waveforms, num_samples),
        row_shape=(num_samples,),
        dtype=np.float32,
        parameters={"sample_rate_hz": sample_rate_hz},
    )


def gestures() -> Recipe:
    """References' control curves and lengths at 22,050 Hz, a GESTURE each; padding does not count."""
    of_target = targets()
    compute = jax.jit(controls.controls)

    def gesture(waveform: np.ndarray) -> tuple[np.ndarray, int]:
        length = min(len(waveform), decoders.NUM_SAMPLES)
        return np.asarray(compute(fit_length(waveform, decoders.NUM_SAMPLES), length)), length

    return Recipe(
        load=of_target.load,
        transform=lambda waveforms: np.array(list(map(gesture, waveforms)), GESTURE),
        row_shape=(),
        dtype=GESTURE,
        parameters={**of_target.parameters, "controls_version": controls.VERSION},
    )


def logmels(front_end: FrontEnd) -> Recipe:
    """Imitations as log-mels: float16 [mels, frames]."""
    return Recipe(
        load=functools.partial(load_logmel, front_end=front_end),
        transform=np.stack,
        row_shape=(front_end.num_mels, front_end.num_frames),
        dtype=LOGMEL_DTYPE,
        parameters={"front_end": dataclasses.asdict(front_end)},
    )


def features(model_config: QVAEConfig, model_variables: Variables) -> Recipe:
    """Imitations as the encoder's features, float32 [feature_dim], of unit norm."""
    graphdef, _ = variables.split(QVAE(model_config, rng=None))
    front_end = model_config.front_end

    @jax.jit
    def compute(model_variables, waveforms):
        model = variables.merge(graphdef, model_variables)
        return model.features(log_mel(waveforms, front_end))

    def transform(waveforms: list[np.ndarray]) -> np.ndarray:
        rows = _stacked(waveforms, front_end.num_samples)
        return in_batches(functools.partial(compute, model_variables), rows, ENCODER_BATCH_SIZE)

    return Recipe(
        load=_loader(front_end.sample_rate_hz, front_end.duration_s),
        transform=transform,
        row_shape=(model_config.feature_dim(),),
        dtype=np.float32,
        parameters={
            "front_end": dataclasses.asdict(front_end),
            "feature_space": model_config.feature_space,
            "encoder_strides": list(model_config.encoder_strides),
            "encoder_sha256": _encoder_digest(model_variables, model_config.last_layer),
        },
        batch_size=ENCODER_BATCH_SIZE,
    )


def maps(model_config: QVAEConfig, model_variables: Variables, first_layer: int) -> Recipe:
    """Imitations as the map that an encoder layer is given: float32 [mels, frames, channels].

    Computed from the log-mels of `logmels`, in float16, so that training from either is the same.

    Args:
        model_config: the model.
        model_variables: its weights.
        first_layer: the number of the layer, at least 1.
    """
    graphdef, _ = variables.split(QVAE(model_config, rng=None))
    of_logmel = logmels(model_config.front_end)

    @jax.jit
    def compute(model_variables, logmel):
        encoder = variables.merge(graphdef, model_variables).encoder
        return encoder.last_map(logmel, last_layer=first_layer - 1)

    def transform(loaded: list[np.ndarray]) -> np.ndarray:
        rows = np.stack(loaded).astype(np.float32)
        return in_batches(functools.partial(compute, model_variables), rows, ENCODER_BATCH_SIZE)

    return Recipe(
        load=of_logmel.load,
        transform=transform,
        row_shape=model_config.map_shape(first_layer - 1),
        dtype=np.float32,
        parameters={
            **of_logmel.parameters,
            "first_layer": first_layer,
            "encoder_strides": list(model_config.encoder_strides),
            "encoder_sha256": _encoder_digest(model_variables, first_layer - 1),
        },
        batch_size=ENCODER_BATCH_SIZE,
    )


def digest(parameters: dict) -> str:
    """A short name for parameters: arrays made with different ones get different file names."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]


def _loader(sample_rate_hz: int, duration_s: float) -> Callable:
    return functools.partial(read_sound, sample_rate_hz=sample_rate_hz, max_duration_s=duration_s)


def _stacked(waveforms: list[np.ndarray], num_samples: int) -> np.ndarray:
    return np.stack([fit_length(waveform, num_samples) for waveform in waveforms])


def _encoder_digest(model_variables: Variables, last_layer: int) -> str:
    """SHA-256 of the encoder's layers up to last_layer, which tells one encoder from another."""
    prefixes = tuple(f"encoder.features.{layer}." for layer in range(last_layer + 1))
    found = hashlib.sha256()
    for arrays in model_variables:
        for name in sorted(arrays):
            if name.startswith(prefixes):
                found.update(name.encode())
                found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()
