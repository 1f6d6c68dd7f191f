"""Measuring a model on pairs: its sounds and those of the baselines, by every measure."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from qvae_jax import losses
from qvae_jax.audio import windows
from qvae_jax.data.catalogue import Catalogue
from qvae_jax.data.index import Index, Pair
from qvae_jax.evaluation import adherence, metrics, report, statistics
from qvae_jax.evaluation.adherence import Heard, Pooled
from qvae_jax.evaluation.alignment import aligned_mel_db
from qvae_jax.evaluation.embedding import Embedder
from qvae_jax.evaluation.hearing import Hearing
from qvae_jax.evaluation.metrics import Sound
from qvae_jax.evaluation.report import MEASURES
from qvae_jax.evaluation.statistics import Estimate
from qvae_jax.evaluation.systems import Example, Systems
from qvae_jax.generation.model import BATCH_SIZE, Model
from qvae_jax.losses import LossWeights
from qvae_jax.models.batching import batches, in_batches
from qvae_jax.models.decoders import SAMPLE_RATE_HZ

SEED = 0  # of the resamples


class Measured(NamedTuple):
    """What is kept of one system's sounds for n examples.

    Attributes:
        scores: by measure, [n].
        adherence: by measure, the sums over frames of n examples.
        embeddings: [n, d].
    """

    scores: dict[str, list[float]]
    adherence: dict[str, list[Pooled]]
    embeddings: list[np.ndarray]


class Statistic(NamedTuple):
    """A measure of a system's sounds, and what gives its value with an interval."""

    measure: statistics.Measure
    estimate: Callable[[statistics.Measure, int, int], Estimate]


def examples_of(index: Index | Catalogue, pairs: Sequence[Pair]) -> list[Example]:
    """The files of some pairs of a data set."""
    return [
        Example(index.imitation_path(pair), index.reference_path(pair), pair.key) for pair in pairs
    ]


def measure(
    model: Model,
    embedder: Embedder,
    examples: Sequence[Example],
    training: Sequence[windows.Sound],
    weights: LossWeights = LossWeights(),
    name: str = "pairs",
    trimmed: bool = False,
) -> dict:
    """The report of one set of pairs, as JSON values; see evaluation.report.

    training are the references that the model learnt from: the baselines are made of them, or of
    the measured references where there are none, but for the nearest one, which is then left out.
    trimmed: everything is heard without the silence around it and at one peak; see Hearing.
    """
    references = list(dict.fromkeys(example.reference for example in examples))
    hearing = Hearing(model.front_end, trimmed)
    systems: dict[str, Measured] = {}
    posteriors = []
    for batch in Systems(model, hearing, training, references).of(examples):
        posteriors.append(batch.posterior)
        for system, made in batch.systems:
            measured = systems.setdefault(system, Measured({}, {}, []))
            fitted = [sound.fitted for sound in made]
            measured.embeddings.extend(embedder.embed(_stacked(fitted)))
            _append(measured.scores, _scores(fitted, batch.targets, weights))
            heard = [sound.whole.known(adherence.heard) for sound in made]
            _append(measured.adherence, _adherence(heard, batch.imitations))
            followed = list(map(adherence.loudness_correlation, heard, batch.imitations))
            _append(measured.scores, {"loudness_correlation": followed})
    mu, logvar = (np.concatenate(arrays) for arrays in zip(*posteriors))
    gallery = _embedded(embedder, references, hearing)
    found = {
        system: _statistics(measured, gallery, examples, references)
        for system, measured in systems.items()
    }
    estimates = {system: _estimates(each, len(examples)) for system, each in found.items()}
    kl = np.asarray(losses.kl_divergence(mu, logvar))
    estimates["model"]["kl"] = statistics.of_mean(kl, SEED)
    estimates["model"]["active_dimensions"] = Estimate(
        metrics.active_dimensions(mu), float("nan"), float("nan")
    )
    return report.result(
        part=name,
        trimmed=trimmed,
        num_examples=len(examples),
        num_references=len(references),
        model=model.source,
        embedder=embedder,
        latent_dim=model.config.latent_dim,
        baselines_from="training references" if training else "the measured references",
        estimates=estimates,
        silence_wins=silence_wins(found["silence"], found["model"], len(examples)),
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


def silence_wins(
    silence: Mapping[str, Statistic], model: Mapping[str, Statistic], num_examples: int
) -> list[str]:
    """The measures in which a silent output is better than the model's with 95 % confidence.

    Of each example both are taken together: the interval is that of the difference.
    """
    wins = []
    for name, statistic in silence.items():
        measures = statistic.measure, model[name].measure

        def advantage(places: np.ndarray, better=MEASURES[name].better, measures=measures):
            of_silence, of_model = (measure(places) for measure in measures)
            return better * (of_silence - of_model)

        if statistic.estimate(advantage, num_examples, SEED).low > 0:
            wins.append(name)
    return wins


def _append(kept: dict[str, list], found: Mapping[str, Sequence]) -> None:
    for name, values in found.items():
        kept.setdefault(name, []).extend(values)


def _embedded(
    embedder: Embedder, references: Sequence[windows.Sound], hearing: Hearing
) -> np.ndarray:
    """The references' embeddings, [references, d]."""
    found = [
        embedder.embed(np.stack([hearing.target(path) for path in batch]))
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
        "aligned_mel": lambda p, t: aligned_mel_db(p, t, SAMPLE_RATE_HZ),
        "log_spectral_distance": metrics.log_spectral_distance,
        "envelope_correlation": metrics.envelope_correlation,
        "centroid_correlation": lambda p, t: metrics.centroid_correlation(p, t, SAMPLE_RATE_HZ),
        "onset_error": lambda p, t: metrics.onset_error_s(p, t, SAMPLE_RATE_HZ),
    }
    both = np.stack([_stacked(sounds), _stacked(targets)], axis=1)
    original = in_batches(_loss_terms(LossWeights()), both, BATCH_SIZE)
    trained = original
    if weights != LossWeights():
        trained = in_batches(_loss_terms(weights), both, BATCH_SIZE)
    terms = {"original_loss": original["audio_loss"], **original, **trained}
    return {name: values.astype(np.float64).tolist() for name, values in terms.items()} | {
        name: [metric(sound, target) for sound, target in zip(sounds, targets)]
        for name, metric in pair_metrics.items()
    }


def _adherence(
    sounds: Sequence[Heard], imitations: Sequence[Heard]
) -> dict[str, tuple[Pooled, ...]]:
    """Every measure of how sounds follow the imitations over frames, of each of n."""
    found = list(map(adherence.differences, sounds, imitations))
    return {name: tuple(each[name] for each in found) for name in found[0]}


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


def _statistics(
    measured: Measured,
    gallery: np.ndarray,
    examples: Sequence[Example],
    references: Sequence[windows.Sound],
) -> dict[str, Statistic]:
    """Every measure but those of the latent."""
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
    of_examples = {name: statistics.mean(values) for name, values in per_example.items()} | {
        name: statistics.pooled_mean(*zip(*pooled)) for name, pooled in measured.adherence.items()
    }
    of_sets = {
        "frechet_distance": lambda places: metrics.frechet_distance(embeddings[places], gallery),
        "kernel_distance": lambda places: metrics.kernel_distance(embeddings[places], gallery),
        "diversity": lambda places: metrics.diversity(embeddings[places], right[places]),
    }
    return {
        **{name: Statistic(found, statistics.of_resamples) for name, found in of_examples.items()},
        **{name: Statistic(found, statistics.of_set) for name, found in of_sets.items()},
    }


def _estimates(found: Mapping[str, Statistic], num_examples: int) -> dict[str, Estimate]:
    return {name: each.estimate(each.measure, num_examples, SEED) for name, each in found.items()}
