"""The samples of a run that are shown: which ones, and what the model makes of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import soxr

from qvae_jax.audio import controls
from qvae_jax.audio.files import fit_length
from qvae_jax.data.prepared import target_audio
from qvae_jax.generation.gestures import Steering
from qvae_jax.generation.inputs import Heard, Source, hear
from qvae_jax.generation.model import BATCH_SIZE, Model
from qvae_jax.generation.sounds import steered
from qvae_jax.generation.voice import voice_of
from qvae_jax.models.batching import batches
from qvae_jax.system.progress import progress_bar


class Sample(NamedTuple):
    """One imitation, what the model heard of it, its reference and the sound that was generated.

    And, of a steered model, the sound that follows what was heard. Waveforms are [samples] at
    sample_rate_hz, the model's.
    """

    sample_rate_hz: int
    source: Source
    heard: Heard
    imitation: np.ndarray
    reference: np.ndarray
    generated: np.ndarray
    steered: np.ndarray | None = None


def spread(items: Sequence, count: int) -> list:
    """So many items, evenly spread from the first to the last; all where there are no more."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def samples(model: Model, part: str, sources: Sequence[Source]) -> Iterator[Sample]:
    """Yields each imitation as a sample, its sound made at z = μ; part is shown as progress.

    Raises UserError for a file that cannot be read, and for a sound that is not finite.
    """
    made = _samples(model, sources)
    return progress_bar(part, total=len(sources), unit="sample", over=made)


def _samples(model: Model, sources: Sequence[Source]) -> Iterator[Sample]:
    rate_hz, num_samples = model.sample_rate_hz, model.front_end.num_samples
    for batch in batches(sources, BATCH_SIZE):
        heard = [hear(source, model.front_end) for source in batch]
        waveforms = np.stack([fit_length(one.samples, num_samples) for one in heard])
        how = {"batch_size": BATCH_SIZE, "names": [source.name for source in batch]}
        mu, _ = model.posterior(waveforms, sounds=[source.is_sound for source in batch], **how)
        sounds = model.decode(mu, **how)
        imitations = _resampled(heard, model, rate_hz)
        followed = [None] * len(batch)
        if model.is_steered:
            measured = imitations
            if rate_hz != controls.SAMPLE_RATE_HZ:
                measured = _resampled(heard, model, controls.SAMPLE_RATE_HZ)
            voices = [voice_of(imitation).curves for imitation in measured]
            seeds = np.zeros((len(batch), 2))  # as of decode
            followed, _ = steered(model, Steering(), mu, voices, seeds=seeds, **how)
        for source, one, imitation, *made in zip(batch, heard, imitations, sounds, followed):
            reference = target_audio(source.reference, rate_hz)
            yield Sample(rate_hz, source, one, imitation, reference, *made)


def _resampled(heard: Sequence[Heard], model: Model, rate_hz: int) -> list[np.ndarray]:
    """What the model heard at another rate than its front end's."""
    heard_at_hz = model.front_end.sample_rate_hz
    return [soxr.resample(one.samples, heard_at_hz, rate_hz, "HQ") for one in heard]
