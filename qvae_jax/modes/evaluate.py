"""`--mode=evaluate`: how well a model's sounds match what was imitated, beside four baselines."""

import functools
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from qvae_jax import configuration, losses
from qvae_jax.audio.files import fit_length, read_audio
from qvae_jax.data.prepared import target_audio
from qvae_jax.data.vimsketch import IMITATIONS_FOLDER, REFERENCES_FOLDER, Pair, read_index
from qvae_jax.evaluation import baselines, metrics, report, statistics
from qvae_jax.evaluation.embedding import Embedder, load_embedder
from qvae_jax.evaluation.metrics import Sound
from qvae_jax.generation.model import Model, load_model
from qvae_jax.generation.requests import SPLIT_PARTS
from qvae_jax.losses import LossWeights
from qvae_jax.models.decoders import NUM_SAMPLES, SAMPLE_RATE_HZ
from qvae_jax.runs import run_pairs
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

BATCH_SIZE = 8
SEED = 0  # of the resamples and of the baseline's phases


class Example(NamedTuple):
    """One imitation and the reference it imitates; key tells the sound."""

    imitation: pathlib.Path
    reference: pathlib.Path
    key: str


class Measured(NamedTuple):
    """What is kept of one system's sounds for n examples: scores [n] by name, embeddings [n, d]."""

    scores: dict[str, list[float]]
    embeddings: list[np.ndarray]


def evaluate(
    *,
    workdir: str | None = None,
    checkpoint: str | None = None,
    from_split: str | None = None,
    pairs: str | None = None,
    embedder: str | None = None,
    output_dir: str | pathlib.Path | None = None,
) -> None:
    """Writes PART.json and PART.md: each measure of the model at z = μ, and of the baselines.

    Args:
        workdir: a training run, whose best checkpoint is measured; or else
        checkpoint: a ported QVAE's folder.
        from_split: the part of the run's split to measure; by default the two held-out ones.
        pairs: a folder in VimSketch's layout, to be measured instead.
        embedder: a ported encoder's folder, for retrieval and distances of sets; by default the
            model's own encoder.
        output_dir: by default WORKDIR/evaluation.

    Raises UserError for a model or data that cannot be used.
    """
    parts = _parts(workdir, from_split, pairs)
    if output_dir is None and workdir is None:
        raise UserError("--checkpoint has no folder for results: give --output_dir.")
    output_dir = pathlib.Path(output_dir or pathlib.Path(workdir) / "evaluation")
    model = load_model(workdir=workdir, checkpoint=checkpoint)
    embed = load_embedder(embedder, model)
    training = [] if workdir is None else _training_references(workdir)
    weights = LossWeights()
    if workdir is not None:
        weights = configuration.loss_weights(configuration.read_run(pathlib.Path(workdir)))
    for name, examples in parts.items():
        result = evaluate_part(model, embed, examples, training, weights, name)
        files.write_json(output_dir / f"{name}.json", result)
        report.write_markdown(output_dir / f"{name}.md", result)
        print(f"{len(examples)} pairs of {name} measured: {output_dir / name}.md and .json")


def evaluate_part(
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
    mean_sound = baselines.mean_spectrum([target_audio(p) for p in training or references], SEED)
    nearest = baselines.nearest_reference(model, training, target_audio) if training else None
    silence, mean = Sound(np.zeros(NUM_SAMPLES, np.float32)), Sound(mean_sound)
    systems: dict[str, Measured] = {}
    posteriors = []
    for batch, targets, features in _batches(model, examples):
        mu, logvar = model.heads(features)
        posteriors.append((mu[: len(batch)], logvar[: len(batch)]))
        sounds = {
            "model": list(map(Sound, _generated(model, mu, batch))),
            "silence": [silence] * len(batch),
            "mean spectrum": [mean] * len(batch),
            **({"nearest": list(map(Sound, nearest(features[: len(batch)])))} if nearest else {}),
            "oracle": targets,
        }
        for system, made in sounds.items():
            measured = systems.setdefault(system, Measured({}, []))
            measured.embeddings.extend(embedder.embed(_stacked(made)))
            for score, values in _scores(made, targets, weights).items():
                measured.scores.setdefault(score, []).extend(values)
    gallery = np.concatenate([embedder.embed(target_audio(p)[None]) for p in references])
    mu, logvar = (np.concatenate(arrays) for arrays in zip(*posteriors))
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
    """The class of a sound by its name in VimSketch.

    `075-flute_playing-everyday.wav` is of class "everyday", the group of VocalSketch that it comes
    from; `004Animal_Domestic animals_pets_Dog_Bark.wav` is of "Animal_Domestic animals", the first
    two levels of AudioSet's tree. Any other name is a class of its own.
    """
    stem = pathlib.PurePath(key).stem
    group = re.fullmatch(r"\d+-.+-([^-]+)", stem)
    if group:
        return group[1]
    return "_".join(re.sub(r"^\d+", "", stem).split("_")[:2])


def _parts(
    workdir: str | None, from_split: str | None, pairs: str | None
) -> dict[str, list[Example]]:
    """The examples of each part to measure, by its name."""
    if pairs is not None:
        if from_split is not None:
            raise UserError("--pairs and --from_split both name what to measure: give one of them.")
        index = read_index(pairs)
        return {"pairs": _examples(index.directory, index.pairs)}
    if workdir is None:
        raise UserError(
            "--checkpoint alone does not say what to measure: give --pairs, a folder of pairs."
        )
    if from_split is not None:
        if from_split not in SPLIT_PARTS:
            choices = ", ".join(SPLIT_PARTS)
            raise UserError(f"--from_split is {from_split!r}: set it to one of {choices}.")
        return {from_split: _examples(*run_pairs(workdir, from_split))}
    found = {}
    for part in SPLIT_PARTS[1:]:
        try:
            found[part] = _examples(*run_pairs(workdir, part))
        except UserError:
            continue  # a run on all pairs, or on a few, holds none out
    return found or {"train": _examples(*run_pairs(workdir, "train"))}


def _examples(directory: pathlib.Path, pairs: Sequence[Pair]) -> list[Example]:
    return [
        Example(
            directory / IMITATIONS_FOLDER / pair.imitation,
            directory / REFERENCES_FOLDER / pair.reference,
            pair.key,
        )
        for pair in pairs
    ]


def _training_references(workdir: str) -> list[pathlib.Path]:
    directory, pairs = run_pairs(workdir, "train")
    return list(dict.fromkeys(example.reference for example in _examples(directory, pairs)))


def _batches(
    model: Model, examples: Sequence[Example]
) -> Iterator[tuple[Sequence[Example], list[Sound], np.ndarray]]:
    """Examples, their n targets, and features [BATCH_SIZE, …], of silence after n."""
    front_end = model.front_end
    # Imitations of one sound often follow each other. Each takes 20 MB with all its spectra.
    target_of = functools.lru_cache(maxsize=BATCH_SIZE)(lambda path: Sound(target_audio(path)))
    starts = range(0, len(examples), BATCH_SIZE)
    for first in progress_bar("measuring", total=len(starts), unit="batch", over=starts):
        batch = examples[first : first + BATCH_SIZE]
        waveforms = np.zeros((BATCH_SIZE, front_end.num_samples), np.float32)
        for row, example in enumerate(batch):
            heard = read_audio(
                example.imitation, front_end.sample_rate_hz, max_duration_s=front_end.duration_s
            )
            waveforms[row] = fit_length(heard, front_end.num_samples)
        targets = [target_of(example.reference) for example in batch]
        yield batch, targets, model.features(waveforms)


def _generated(model: Model, mu: np.ndarray, batch: Sequence[Example]) -> np.ndarray:
    sounds = model.decode(mu)[: len(batch)]
    for example, sound in zip(batch, sounds):
        if not np.isfinite(sound).all():
            raise UserError(
                f"The model makes a sound that is not finite of {example.imitation}: its weights "
                "are damaged, so use another checkpoint."
            )
    return sounds


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
    filled = np.zeros((2, BATCH_SIZE, NUM_SAMPLES), np.float32)
    filled[0, : len(sounds)], filled[1, : len(targets)] = _stacked(sounds), _stacked(targets)
    terms = {
        name: np.asarray(values, np.float64)[: len(sounds)].tolist()
        for name, values in _loss_terms(weights)(*filled).items()
    }
    return terms | {
        name: [metric(sound, target) for sound, target in zip(sounds, targets)]
        for name, metric in pair_metrics.items()
    }


@functools.cache
def _loss_terms(weights: LossWeights) -> Callable:
    """A program from sounds and targets [n, 59049] to the loss terms of each by itself, [n]."""
    nothing = np.zeros((1, 1), np.float32)

    def terms(sound, target):
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
    right = np.array([references.index(example.reference) for example in examples])
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
