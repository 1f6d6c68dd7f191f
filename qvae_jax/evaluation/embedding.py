"""Embeddings of generated sounds and references, by an EfficientAT network."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np
import soxr

from qvae_jax.audio.files import fit_length
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.errors import UserError
from qvae_jax.generation.model import Model
from qvae_jax.models import variables
from qvae_jax.models.decoders import NUM_SAMPLES, SAMPLE_RATE_HZ
from qvae_jax.models.mobilenet import MobileNetV3
from qvae_jax.models.qvae import QVAE, QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.training import checkpoints, start

BATCH_SIZE = 8


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
        graphdef, _ = variables.split(QVAE(model.config, rng=None))
        network = lambda given: variables.merge(graphdef, given).encoder  # noqa: E731
        embed = _embedding(network, model.variables, model.front_end)
        return Embedder("the model's own encoder", False, embed)
    loaded = start.load_encoder(folder)
    description = checkpoints.read_description(pathlib.Path(folder))
    config = QVAEConfig.from_dict(description["model"])
    graphdef, _ = variables.split(encoder_network(config, rng=None))
    network = lambda given: variables.merge(graphdef, given)  # noqa: E731
    embed = _embedding(network, loaded, config.front_end)
    independent = not _share_kernels(loaded, model.variables)
    return Embedder(f"the encoder in {folder}", independent, embed)


def _share_kernels(encoder: Variables, model: Variables) -> bool:
    """Whether any kernel is the same: fine-tuning changes the later ones alone."""
    return any(
        np.array_equal(array, model.params.get(f"encoder.{name}"))
        for name, array in encoder.params.items()
        if name.endswith("kernel")
    )


def _embedding(
    network: Callable[[Variables], MobileNetV3], given: Variables, front_end: FrontEnd
) -> Callable[[np.ndarray], np.ndarray]:
    front_end = dataclasses.replace(front_end, duration_s=NUM_SAMPLES / SAMPLE_RATE_HZ)
    given = jax.device_put(given)

    @jax.jit
    def pooled(given, waveforms):
        return network(given).pooled(log_mel(waveforms, front_end))

    def embed(sounds: np.ndarray) -> np.ndarray:
        found = []
        for first in range(0, len(sounds), BATCH_SIZE):
            batch = np.zeros((BATCH_SIZE, front_end.num_samples), np.float32)
            for row, sound in enumerate(sounds[first : first + BATCH_SIZE]):
                heard = soxr.resample(sound, SAMPLE_RATE_HZ, front_end.sample_rate_hz, "HQ")
                batch[row] = fit_length(heard, front_end.num_samples)
            found.append(np.asarray(pooled(given, batch))[: len(sounds) - first])
        embeddings = np.concatenate(found)
        if not np.isfinite(embeddings).all():
            raise UserError("The embedder gives values that are not finite: use another one.")
        return embeddings

    return embed
