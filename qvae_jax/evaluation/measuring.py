"""Measuring a model on pairs: its sounds and those of the baselines, by every measure."""

import functools
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from qvae_jax import losses
from qvae_jax.audio.windows import Window
from qvae_jax.data.catalogue import Catalogue
from qvae_jax.data.index import Index, Pair
from qvae_jax.data.prepared import input_audio, target_audio
from qvae_jax.evaluation import baselines, metrics, report, statistics
from qvae_jax.evaluation.embedding import Embedder
from qvae_jax.evaluation.metrics import Sound
from qvae_jax.generation.model import BATCH_SIZE, Model
from qvae_jax.losses import LossWeights
from qvae_jax.models.batching import batches, in_batches
from qvae_jax.models.decoders import NUM_SAMPLES, SAMPLE_RATE_HZ
from qvae_jax.system.progress import progress_bar

SEED = 0  # of the resamples and of the baseline's phases


class Example(NamedTuple):
    """One imitation and the reference it imitates, files or parts of them; key tells the sound."""

    imitation: pathlib.Path | Window
    reference: pathlib.Path | Window
    key: str


class Measured(NamedTuple):
    """What is kept of one system's sounds for n examples: scores [n] by name, embeddings [n, d]."""

    scores: dict[str, list[float]]
    embeddings: list[np.ndarray]


def examples_of(index: Index | Catalogue, pairs: Sequence[Pair]) -> list[Example]:
    """The files of some pairs of a data set."""
    return [
        Example(index.imitation_path(pair), index.reference_path(pair), pair.key) for pair in pairs
    ]


def measure(
    model: Model,
    embedder: Embedder,
    examples: Sequence[Example],
    training: Sequence[pathlib.Path],
    weights: LossWeights = LossWeights(),
    name: str = "pairs",
) -> dict:
    """The report of one set of pairs, as JSON values; see evaluation.report.

    training are the references that the model learnt from: the baselines are made of them, or of
    the measured references where there are none, but for the nearest one, which is then left out.
    """
    references = list(dict.fromkeys(example.reference for example in examples))
    systems: dict[str, Measured] = {}
    posteriors = []
    for posterior, targets, sounds in _sounds(model, examples, training, references):
        posteriors.append(posterior)
        for system, made in sounds.items():
            measured = systems.setdefault(system, Measured({}, []))
            measured.embeddings.extend(embedder.embed(_stacked(made)))
            for score, values in _scores(made, targets, weights).items():
                measured.scores.setdefault(score, []).extend(values)
    mu, logvar = (np.concatenate(arrays) for arrays in zip(*posteriors))
    gallery = _embedded(embedder, references)
    estimates = {
        system: _estimates(measured, gallery, examples, references)
        for system, measured in systems.items()
    }
    kl = np.asarray(losses.kl_divergence(mu, logvar))
    estimates["model"]["kl"] = statistics.of_mean(kl, SEED)
    estimates["model"]["active_dimensions"] = statistics.Estimate(
        metrics.active_dimensions(mu), float("nan"), float("nan")
    )
    return report.result(
        part=name,
        num_examples=len(examples),
        num_references=len(references),
        model=model.source,
        embedder=embedder,
        latent_dim=model.config.latent_dim,
        baselines_from="training references" if training else "the measured references",
        estimates=estimates,
    )


def sound_class(key: str) -> str:
    """The class of a sound by its key in VimSketch.

    `075-flute_playing-everyday` is of class "everyday", the group of VocalSketch that it comes
    from; `004Animal_Domestic animals_pets_Dog_Bark` is of "Animal_Domestic animals", the first
    two levels of AudioSet's tree. Any other name is a class of its own.
    """
    group = re.fullmatch(r"\d+-.+-([^-]+)", key)
    if group:
        return group[1]
    return "_".join(re.sub(r"^\d+", "", key).split("_")[:2])


def _sounds(
    model: Model,
    examples: Sequence[Example],
    training: Sequence[pathlib.Path],
    references: Sequence[pathlib.Path],
) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], list[Sound], dict[str, list[Sound]]]]:
    """Batch by batch: the posterior μ and log σ², the targets, and each system's sounds."""
    mean_sound = baselines.mean_spectrum([target_audio(p) for p in training or references], SEED)
    nearest = baselines.nearest_reference(model, training, target_audio) if training else None
    silence, mean = Sound(np.zeros(NUM_SAMPLES, np.float32)), Sound(mean_sound)
    # Imitations of one sound often follow each other. Each takes 20 MB with all its spectra.
    target_of = functools.lru_cache(maxsize=BATCH_SIZE)(lambda path: Sound(target_audio(path)))
    num_batches = -(-len(examples) // BATCH_SIZE)
    over = batches(examples, BATCH_SIZE)
    for batch in progress_bar("measuring", total=num_batches, unit="batch", over=over):
        waveforms = np.stack([input_audio(e.imitation, model.front_end) for e in batch])
        how = {"batch_size": BATCH_SIZE, "names": [str(example.imitation) for example in batch]}
        features = model.features(waveforms, **how)
        mu, logvar = model.heads(features, **how)
        targets = [target_of(example.reference) for example in batch]
        sounds = {
            "model": list(map(Sound, model.decode(mu, **how))),
            "silence": [silence] * len(batch),
            "mean spectrum": [mean] * len(batch),
            **({"nearest": list(map(Sound, nearest(features)))} if nearest else {}),
            "oracle": targets,
        }
        yield (mu, logvar), targets, sounds


def _embedded(embedder: Embedder, references: Sequence[pathlib.Path]) -> np.ndarray:
    """The references' embeddings, [references, d]."""
    found = [
        embedder.embed(np.stack([target_audio(path) for path in batch]))
        for batch in batches(references, BATCH_SIZE)
    ]
    return np.concatenate(found)


def _stacked(sounds: Sequence[Sound]) -> np.ndarray:
    return np.stack([sound.samples for sound in sounds])


def _scores(
    sounds: Sequence[Sound], targets: Sequence[Sound], weights: LossWeights
) -> dict[str, list[float]]:
    """Every measure of single sounds, for each of n of 59,049 samples."""
    pair_metrics: dict[str, Callable[[Sound, Sound], float]] = {
        "multi_resolution_stft": metrics.multi_resolution_stft,
        "multi_scale_mel": lambda p, t: metrics.multi_scale_mel(p, t, SAMPLE_RATE_HZ),
        "log_spectral_distance": metrics.log_spectral_distance,
        "envelope_correlation": metrics.envelope_correlation,
        "centroid_correlation": lambda p, t: metrics.centroid_correlation(p, t, SAMPLE_RATE_HZ),
        "onset_error": lambda p, t: metrics.onset_error_s(p, t, SAMPLE_RATE_HZ),
    }
    both = np.stack([_stacked(sounds), _stacked(targets)], axis=1)
    terms = in_batches(_loss_terms(weights), both, BATCH_SIZE)
    return {name: values.astype(np.float64).tolist() for name, values in terms.items()} | {
        name: [metric(sound, target) for sound, target in zip(sounds, targets)]
        for name, metric in pair_metrics.items()
    }


@functools.cache
def _loss_terms(weights: LossWeights) -> Callable:
    """A program from sounds and targets [n, 2, 59049] to the loss terms of each pair alone, [n]."""
    nothing = np.zeros((1, 1), np.float32)

    def terms(pair):
        sound, target = pair
        total, found = losses.qvae_loss(
            sound[None], target[None], nothing, nothing, beta=0.0, weights=weights
        )
        audio_terms = {name: value for name, value in found.items() if name != "kl"}
        return {"audio_loss": total, **audio_terms}

    return jax.jit(jax.vmap(terms))


def _estimates(
    measured: Measured,
    gallery: np.ndarray,
    examples: Sequence[Example],
    references: Sequence[pathlib.Path],
) -> dict[str, statistics.Estimate]:
    """Every measure but those of the latent, with its interval."""
    embeddings = np.stack(measured.embeddings)
    place_of = {reference: place for place, reference in enumerate(references)}
    right = np.array([place_of[example.reference] for example in examples])
    classes = {example.reference: sound_class(example.key) for example in examples}
    class_of = np.array([classes[reference] for reference in references])
    similarity = metrics.cosine_similarity(embeddings, gallery)
    ranks = metrics.reciprocal_ranks(similarity, right)
    per_example = measured.scores | {
        "mrr": ranks,
        "recall_at_1": ranks == 1,
        "ndcg": metrics.ndcg(similarity, class_of[right][:, None] == class_of[None, :]),
    }
    of_sets = {
        "frechet_distance": lambda places: metrics.frechet_distance(embeddings[places], gallery),
        "kernel_distance": lambda places: metrics.kernel_distance(embeddings[places], gallery),
        "diversity": lambda places: metrics.diversity(embeddings[places], right[places]),
    }
    return {
        **{name: statistics.of_mean(values, SEED) for name, values in per_example.items()},
        **{
            name: statistics.of_set(measure, len(examples), SEED)
            for name, measure in of_sets.items()
        },
    }
