"""Embeddings of generated sounds and references, by an EfficientAT network."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
import soxr
from flax import nnx

from qvae_jax.audio.files import fit_length
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.generation.model import BATCH_SIZE, Model
from qvae_jax.models import stored, variables
from qvae_jax.models.batching import in_batches
from qvae_jax.models.decoders import NUM_SAMPLES, SAMPLE_RATE_HZ
from qvae_jax.models.qvae import QVAE, QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError


@dataclasses.dataclass(frozen=True)
class Embedder:
    """A name for the report, and sounds [n, 59049] at 22,050 Hz to embeddings [n, channels].

    The pooled features of the network's last map, as they are, of the sound's own 2.7 s.
    independent tells that none of its kernels is one of the measured model's encoder.
    """

    name: str
    independent: bool
    embed: Callable[[np.ndarray], np.ndarray]


def load_embedder(folder: str | None, model: Model) -> Embedder:
    """The ported encoder in a folder; or, without one, the model's own encoder.

    Raises UserError where the folder holds no ported encoder.
    """
    if folder is None:
        embed = _embedding(model.config, model.variables, whole_model=True)
        return Embedder("the model's own encoder", False, embed)
    loaded, description = stored.load_encoder(folder), stored.description_of(folder, "encoder")
    embed = _embedding(QVAEConfig.from_dict(description), loaded, whole_model=False)
    independent = not _share_kernels(loaded, model.variables)
    return Embedder(f"the encoder in {folder}", independent, embed)


def _share_kernels(encoder: Variables, model: Variables) -> bool:
    """Whether any kernel is the same: fine-tuning changes the later ones alone."""
    return any(
        np.array_equal(array, model.params.get(f"encoder.{name}"))
        for name, array in encoder.params.items()
        if name.endswith("kernel")
    )


@functools.cache
def _pooled(graphdef: nnx.GraphDef, front_end: FrontEnd, whole_model: bool) -> Callable:
    """A program from variables and waveforms to pooled features; kept, as compiling is slow."""

    def pooled(given, waveforms):
        merged = variables.merge(graphdef, given)
        encoder = merged.encoder if whole_model else merged
        return encoder.pooled(log_mel(waveforms, front_end))

    return jax.jit(pooled)


def _embedding(
    config: QVAEConfig, given: Variables, *, whole_model: bool
) -> Callable[[np.ndarray], np.ndarray]:
    duration_s = NUM_SAMPLES / SAMPLE_RATE_HZ
    front_end = dataclasses.replace(config.front_end, duration_s=duration_s)
    network = QVAE(config, rng=None) if whole_model else encoder_network(config, rng=None)
    pooled = _pooled(variables.split(network)[0], front_end, whole_model)
    given = jax.device_put(given)

    def heard(sound: np.ndarray) -> np.ndarray:
        resampled = soxr.resample(sound, SAMPLE_RATE_HZ, front_end.sample_rate_hz, "HQ")
        return fit_length(resampled, front_end.num_samples)

    def embed(sounds: np.ndarray) -> np.ndarray:
        waveforms = np.stack([heard(sound) for sound in sounds])
        embeddings = in_batches(functools.partial(pooled, given), waveforms, BATCH_SIZE)
        if not np.isfinite(embeddings).all():
            raise UserError("The embedder gives values that are not finite: use another one.")
        return embeddings

    return embed
