"""Tiny models of every decoder, and what Model makes of voices, beside what their graphs make."""

import functools

import numpy as np
import pytest

from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.generation.model import Model
from qvae_jax.models import stored
from qvae_jax.models.decoders import AT_FRAME_RATE, DECODERS
from qvae_jax.models.qvae import QVAEConfig

# How near a graph comes to the model, relative to the sound's peak.
BOUNDS = {"stablehlo": 1e-5, "onnx": 1e-4}
DECODER_TYPES = tuple(DECODERS)
RATE_HZ = 32_000


def skip_without_packages(form: str) -> None:
    """Skips a test of a format whose packages are not installed."""
    for package in {"stablehlo": ["flatbuffers"], "onnx": ["onnx", "onnxruntime"]}[form]:
        pytest.importorskip(package, reason=f"{form} is written or read with {package}")


@functools.cache
def model(decoder_type: str, *, duration_s: float = 1.0, **changes) -> Model:
    """Weights drawn at random; the encoder's first layers only, which are soon compiled."""
    config = QVAEConfig(
        **{
            "encoder_width": 0.1,
            "feature_space": "1",
            "latent_dim": 4,
            "decoder_type": decoder_type,
            # Of fewer channels than that, one of the original's decoders loses digits in sums.
            "decoder_width": 0.05 if decoder_type in AT_FRAME_RATE else 0.2,
            "front_end": FrontEnd(duration_s=duration_s),
            **changes,
        }
    )
    drawn = stored.initial_variables(config, seed=0)
    # Latents as large as those of a model that has learnt, for sounds that are as loud.
    drawn.params["mu_head.bias"] = np.float32([1.0, -1.5, 0.5, -0.7])
    return Model(config, drawn)


def voices(rows: int, num_samples: int) -> np.ndarray:
    """Gliding tones with some breath, each of another pitch: float32 [rows, samples]."""
    rng = np.random.default_rng(0)
    time_s = np.arange(num_samples) / RATE_HZ
    hz = 150 * (1.3 ** np.arange(rows))[:, None] * (1 + 0.2 * np.sin(5 * time_s))
    phase = 2 * np.pi * np.cumsum(hz, axis=1) / RATE_HZ
    tone = sum(np.sin(k * phase) / k for k in range(1, 6))
    swell = np.minimum(1, np.arange(num_samples) / (0.1 * num_samples))
    breath = rng.standard_normal((rows, num_samples))
    return (swell * (0.2 * tone + 0.02 * breath)).astype(np.float32)


def curves(rows: int, num_frames: int) -> np.ndarray:
    """Curves that a voice may have, voiced and unvoiced by turns: float32 [rows, frames, 4]."""
    place = np.linspace(0, 1, num_frames)
    row = np.arange(rows)[:, None]
    columns = [
        -30 + 12 * np.sin(9 * place + row),
        80 + 10 * np.cos(5 * place + row),
        55 + 3 * row + 7 * np.sin(4 * place),
        0.5 + 0.45 * np.sin(15 * place + row),
    ]
    return np.stack(np.broadcast_arrays(*columns), axis=-1).astype(np.float32)


def expected(own: Model, waveform: np.ndarray, given_curves: np.ndarray | None = None) -> dict:
    """Mean, log-variance and sound of voices; of a steered model, of these curves.

    The noise is that of seeds (0, 1) for each row, as a graph's default is.
    """
    missing = own.front_end.num_samples - waveform.shape[1]
    mean, log_variance = own.posterior(np.pad(waveform, [(0, 0), (0, missing)]))
    seeds = np.tile([0, 1], (len(waveform), 1))
    if given_curves is None:
        sound = own.decode(mean, seeds=seeds)
    else:
        sound = np.stack(own.render(mean, list(given_curves), seeds=seeds))
    return {"mean": mean, "log_variance": log_variance, "sound": sound}


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the peak."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
