"""The sounds that are compared for one imitation: the model's, those of baselines, the reference."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import soxr

from qvae_jax.audio import controls, windows
from qvae_jax.audio.files import fit_length
from qvae_jax.evaluation import adherence, baselines
from qvae_jax.evaluation.adherence import Heard
from qvae_jax.evaluation.hearing import Hearing
from qvae_jax.evaluation.metrics import Sound
from qvae_jax.generation.model import BATCH_SIZE, Model
from qvae_jax.generation.voice import curves_of
from qvae_jax.models.batching import batches
from qvae_jax.models.decoders import NUM_SAMPLES, SAMPLE_RATE_HZ
from qvae_jax.system.progress import progress_bar

SEED = 0  # of the mean spectrum's phases


class Example(NamedTuple):
    """One imitation and the reference it imitates, files or parts of them; key tells the sound."""

    imitation: windows.Sound
    reference: windows.Sound
    key: str


class Made(NamedTuple):
    """A system's sound: cut or padded to the target's length, and whole; the same where it is so."""

    fitted: Sound
    whole: Sound


class Batch(NamedTuple):
    """Some examples, and what was made of them.

    Attributes:
        posterior: μ and log σ², [examples, latent] each.
        targets: the references.
        imitations: what is heard of them.
        systems: each system's name and sounds, made as they are asked for.
    """

    posterior: tuple[np.ndarray, np.ndarray]
    targets: Sequence[Sound]
    imitations: Sequence[Heard]
    systems: Iterator[tuple[str, list[Made]]]


class Systems:
    """What makes the sounds of all systems, for any examples."""

    def __init__(
        self,
        model: Model,
        hearing: Hearing,
        training: Sequence[windows.Sound],
        references: Sequence[windows.Sound],
    ):
        """The baselines are made of training's references, or of references where it has none."""
        self._model, self._hearing = model, hearing
        known = [hearing.target(path) for path in training or references]
        self._silence = _made(np.zeros(NUM_SAMPLES, np.float32))
        self._mean = _made(hearing.output(baselines.mean_spectrum(known, SEED)))
        nearest = baselines.nearest_reference(model, training, hearing) if training else None
        self._nearest = nearest
        # Imitations of one sound often follow each other. Each takes 20 MB with all its spectra.
        self._target = functools.lru_cache(maxsize=BATCH_SIZE)(self._read_target)

    def _read_target(self, path: windows.Sound) -> Sound:
        return Sound(self._hearing.target(path))

    def of(self, examples: Sequence[Example]) -> Iterator[Batch]:
        """Batch by batch, each to be done with before the next."""
        num_batches = -(-len(examples) // BATCH_SIZE)
        over = batches(examples, BATCH_SIZE)
        for batch in progress_bar("measuring", total=num_batches, unit="batch", over=over):
            yield self._batch(batch)

    def _batch(self, examples: list[Example]) -> Batch:
        how = {"batch_size": BATCH_SIZE, "names": [str(e.imitation) for e in examples]}
        waveforms = np.stack([self._hearing.model_input(e.imitation) for e in examples])
        # A window of a library is no voice, as in training.
        sounds = [isinstance(example.imitation, windows.Window) for example in examples]
        features = self._model.features(waveforms, sounds=sounds, **how)
        mu, logvar = self._model.heads(features, sounds=sounds, **how)
        imitations = [Sound(self._hearing.imitation(e.imitation)) for e in examples]
        targets = [self._target(example.reference) for example in examples]
        return Batch(
            (mu, logvar),
            targets,
            [imitation.known(adherence.heard) for imitation in imitations],
            self._systems(examples, features, mu, imitations, targets),
        )

    def _systems(
        self,
        examples: list[Example],
        features: np.ndarray,
        mu: np.ndarray,
        imitations: list[Sound],
        targets: list[Sound],
    ) -> Iterator[tuple[str, list[Made]]]:
        how = {"batch_size": BATCH_SIZE, "names": [str(e.imitation) for e in examples]}
        yield "model", [self._output(audio) for audio in self._model.decode(mu, **how)]
        if self._model.is_steered:
            yield from self._steered(examples, mu, imitations, targets)
        yield "silence", [self._silence] * len(examples)
        yield "mean spectrum", [self._mean] * len(examples)
        if self._nearest is not None:
            found = self._nearest(features)
            yield "nearest", list(map(_made, found))
            yield (
                "nearest with the imitation's loudness",
                [
                    self._with_loudness(sound, imitation)
                    for sound, imitation in zip(found, imitations)
                ],
            )
        yield "imitation itself", [_made(imitation.samples) for imitation in imitations]
        yield "oracle", [Made(target, target) for target in targets]

    def _steered(
        self,
        examples: list[Example],
        mu: np.ndarray,
        imitations: list[Sound],
        targets: list[Sound],
    ) -> Iterator[tuple[str, list[Made]]]:
        """What a steered model makes of given curves, and of the reference's own latent."""
        names_of_voices = [str(example.imitation) for example in examples]
        of_voices = [curves_of(imitation.samples) for imitation in imitations]
        yield "steered", self._rendered(mu, of_voices, names_of_voices)
        curves = [curves_of(target.samples) for target in targets]
        yield "reference_curves", self._rendered(mu, curves, names_of_voices)
        waveforms = np.stack([self._hearing.model_input(e.reference) for e in examples])
        names = [str(example.reference) for example in examples]
        how = {"batch_size": BATCH_SIZE, "names": names}
        own_mu, _ = self._model.posterior(waveforms, sounds=True, **how)
        yield "own_embedding", self._rendered(own_mu, curves, names)

    def _rendered(
        self, z: np.ndarray, curves: Sequence[np.ndarray], names: Sequence[str]
    ) -> list[Made]:
        """The sounds of curves, which are at the time and of the level that their curves say.

        Curves of what is trimmed say so of a trimmed sound; trimming it once more would move it
        against them.
        """
        sounds = self._model.render(z, curves, batch_size=BATCH_SIZE, names=names)
        return [_made(self._at_measured_rate(sound)) for sound in sounds]

    def _output(self, audio: np.ndarray) -> Made:
        return _made(self._hearing.output(self._at_measured_rate(audio)))

    def _at_measured_rate(self, audio: np.ndarray) -> np.ndarray:
        """The model's sound at the rate of all that it is compared with, resampled once."""
        if self._model.sample_rate_hz == SAMPLE_RATE_HZ:
            return audio
        return soxr.resample(audio, self._model.sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")

    def _with_loudness(self, sound: np.ndarray, imitation: Sound) -> Made:
        voice = fit_length(imitation.samples, len(sound))
        own_db, wanted_db = (curves_of(samples)[:, controls.LOUDNESS] for samples in (sound, voice))
        return _made(self._hearing.output(baselines.with_loudness(sound, own_db, wanted_db)))


def _made(samples: np.ndarray) -> Made:
    whole = Sound(samples)
    fits = len(samples) == NUM_SAMPLES
    return Made(whole if fits else Sound(fit_length(samples, NUM_SAMPLES)), whole)
