"""Embeddings of generated sounds and references, by an EfficientAT network or another judge."""

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
from qvae_jax.models import judges, sound_encoder, stored, variables
from qvae_jax.models.batching import in_batches
from qvae_jax.models.decoders import NUM_SAMPLES, SAMPLE_RATE_HZ
from qvae_jax.models.qvae import QVAE, QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError


@dataclasses.dataclass(frozen=True)
class Embedder:
    """What embeds sounds, and what it is independent of.

    Attributes:
        name: for the report.
        independent_of_encoder: whether none of its kernels is one of the measured model's encoder.
        independent_of_audioset: whether it learnt from other sounds than AudioSet, on which encoders
            learn to hear.
        embed: sounds [n, 59049] at 22,050 Hz to embeddings [n, channels]: of an encoder, the pooled
            features of its last map, as they are, of the sound's own 2.7 s; of a judge, its own.
    """

    name: str
    independent_of_encoder: bool
    independent_of_audioset: bool
    embed: Callable[[np.ndarray], np.ndarray]


def load_embedder(folder: str | None, model: Model) -> Embedder:
    """The ported encoder or judge in a folder; or, without one, the model's own encoder.

    Of a pair of encoders, and of a model's two, it is the one that hears sounds. Raises UserError
    where the folder holds neither.
    """
    if folder is None:
        own = sound_encoder.one_alone(model.config, model.variables, sounds=True)
        embed = _by_encoder(*own, whole_model=True)
        return Embedder("the model's own encoder", False, False, embed)
    if judges.is_judge(folder):
        judge, network, given = judges.load_judge(folder)
        name = f"{judge.title} in {folder}, which learnt from {judge.learnt_from}"
        heard_s = network.num_samples / network.sample_rate_hz
        if heard_s < NUM_SAMPLES / SAMPLE_RATE_HZ:
            name += f" and hears the first {heard_s:.1f} s"
        return Embedder(name, True, True, _by_judge(network, given))
    hearing_sounds = stored.encoder_folders(folder).reference
    loaded = stored.load_encoder(hearing_sounds)
    config = QVAEConfig.from_dict(stored.description_of(hearing_sounds, "encoder"))
    embed = _by_encoder(config, loaded, whole_model=False)
    independent = not _share_kernels(loaded, model.variables)
    return Embedder(f"the encoder in {folder}", independent, False, embed)


def _share_kernels(encoder: Variables, model: Variables) -> bool:
    """Whether any kernel is the same: fine-tuning changes the later ones alone."""
    return any(
        np.array_equal(array, model.params.get(prefix + name))
        for name, array in encoder.params.items()
        for prefix in (sound_encoder.FIRST, sound_encoder.PREFIX)
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


@functools.cache
def _judged(graphdef: nnx.GraphDef) -> Callable:
    """A program from a judge's variables and waveforms to its embeddings; kept too."""
    return jax.jit(lambda given, waveforms: variables.merge(graphdef, given).embed(waveforms))


def _by_encoder(
    config: QVAEConfig, given: Variables, *, whole_model: bool
) -> Callable[[np.ndarray], np.ndarray]:
    duration_s = NUM_SAMPLES / SAMPLE_RATE_HZ
    front_end = dataclasses.replace(config.front_end, duration_s=duration_s)
    network = QVAE(config, rng=None) if whole_model else encoder_network(config, rng=None)
    program = _pooled(variables.split(network)[0], front_end, whole_model)
    return _embedding(program, given, front_end.sample_rate_hz, front_end.num_samples)


def _by_judge(network: nnx.Module, given: Variables) -> Callable[[np.ndarray], np.ndarray]:
    program = _judged(variables.split(network)[0])
    return _embedding(program, given, network.sample_rate_hz, network.num_samples)


def _embedding(
    program: Callable, given: Variables, sample_rate_hz: int, num_samples: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Embeddings of any number of sounds by a program of waveforms of that rate and length."""
    given = jax.device_put(given)

    def heard(sound: np.ndarray) -> np.ndarray:
        resampled = soxr.resample(sound, SAMPLE_RATE_HZ, sample_rate_hz, "HQ")
        return fit_length(resampled, num_samples)

    def embed(sounds: np.ndarray) -> np.ndarray:
        waveforms = np.stack([heard(sound) for sound in sounds])
        embeddings = in_batches(functools.partial(program, given), waveforms, BATCH_SIZE)
        if not np.isfinite(embeddings).all():
            raise UserError("The embedder gives values that are not finite: use another one.")
        return embeddings

    return embed
