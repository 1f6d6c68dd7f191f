"""The result of an evaluation as JSON values, and as a table to read."""

import math
import pathlib
from typing import NamedTuple

from qvae_jax import losses
from qvae_jax.evaluation.embedding import Embedder
from qvae_jax.evaluation.statistics import NUM_GROUPS, NUM_RESAMPLES, Estimate
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, counted


class Measure(NamedTuple):
    """How a measure is called in the table, and which way is better: -1 lower, 1 higher, 0 none."""

    title: str
    better: int
    digits: int = 3


MEASURES = {
    "audio_loss": Measure("audio loss, weighted as in training", -1),
    **{
        t.name: Measure(t.heading, -1 if t.name in losses.WEIGHTED else 0, t.digits)
        for t in losses.TABLE
    },
    "multi_resolution_stft": Measure("multi-resolution STFT distance", -1),
    "multi_scale_mel": Measure("multi-scale mel distance", -1),
    "log_spectral_distance": Measure("log-spectral distance (dB)", -1, 2),
    "envelope_correlation": Measure("loudness-envelope correlation", 1),
    "centroid_correlation": Measure("spectral-centroid correlation", 1),
    "onset_error": Measure("onset error (s)", -1),
    "frechet_distance": Measure("Fréchet distance", -1),
    "kernel_distance": Measure("kernel distance, 100·MMD²", -1),
    "mrr": Measure("mean reciprocal rank", 1),
    "recall_at_1": Measure("recall at 1", 1),
    "ndcg": Measure("NDCG by class", 1),
    "diversity": Measure("diversity between sounds", 0),
    "active_dimensions": Measure("active latent dimensions", 0, 0),
}
LARGEST_COUNT = 2**53  # whole numbers beyond it are not those of any evaluation
ARROWS = {-1: " ↓", 0: "", 1: " ↑"}


def result(
    *,
    part: str,
    num_examples: int,
    num_references: int,
    model: dict,
    embedder: Embedder,
    latent_dim: int,
    baselines_from: str,
    estimates: dict[str, dict[str, Estimate]],
) -> dict:
    """Everything that an evaluation found, as JSON values; what is undefined is null."""
    return {
        "part": part,
        "num_pairs": num_examples,
        "num_references": num_references,
        "model": model,
        "latent_dim": latent_dim,
        "embedder": {"name": embedder.name, "independent": embedder.independent},
        "baselines_from": baselines_from,
        "silence_beats_the_model": silence_wins(estimates),
        "systems": {
            system: {
                name: dict(zip(Estimate._fields, map(_finite, found[name])))
                for name in MEASURES
                if name in found
            }
            for system, found in estimates.items()
        },
    }


def silence_wins(estimates: dict[str, dict[str, Estimate]]) -> list[str]:
    """The measures in which a silent output is better than the model's."""
    silent, model = estimates["silence"], estimates["model"]
    return [
        name
        for name, measure in MEASURES.items()
        if name in silent
        and name in model
        and measure.better * (silent[name].value - model[name].value) > 0
    ]


def table(found: dict) -> tuple[list[str], list[list[str]]]:
    """The systems of a result, and a row for each measure: its title and, by system, its value."""
    systems = list(found["systems"])
    return systems, [
        [
            f"{measure.title}{ARROWS[measure.better]}",
            *(_cell(found["systems"][s].get(name), measure.digits) for s in systems),
        ]
        for name, measure in MEASURES.items()
    ]


def read(path: pathlib.Path) -> dict:
    """A result that was written as JSON; UserError where the file holds no such thing."""
    found = files.read_json(path)
    if not _is_result(found):
        raise UserError(
            f"{path} holds no result of an evaluation: remove it, or run --mode=evaluate again."
        )
    return found


def is_in(path: pathlib.Path) -> bool:
    """Whether a file holds a result that was written as JSON."""
    return _is_result(files.json_or_none(path))


def _is_result(found) -> bool:
    if not isinstance(found, dict):
        return False
    systems, model = found.get("systems"), found.get("model")
    beaten = found.get("silence_beats_the_model")
    return (
        isinstance(found.get("part"), str)
        and _is_count(found.get("num_pairs"))
        and _is_count(found.get("num_references"))
        and isinstance(model, dict)
        and isinstance(beaten, list)
        and all(isinstance(name, str) and name in MEASURES for name in beaten)
        and isinstance(systems, dict)
        and all(isinstance(measures, dict) for measures in systems.values())
        and all(_is_estimate(e) for measures in systems.values() for e in measures.values())
    )


def _is_estimate(found) -> bool:
    return isinstance(found, dict) and all(
        name in found
        and (found[name] is None or type(found[name]) is float or _is_count(found[name]))
        for name in Estimate._fields
    )


def _is_count(number) -> bool:
    return type(number) is int and 0 <= number <= LARGEST_COUNT


def write_markdown(path: pathlib.Path, found: dict) -> None:
    """Writes a result as a table, with what must be known to read it."""
    systems, rows = table(found)
    lines = [
        f"# {found['part']}: {counts(found)}",
        "",
        f"Model: {', '.join(f'{key} {value}' for key, value in found['model'].items())}; z = μ.",
        "",
        f"| measure | {' | '.join(systems)} |",
        f"|---|{'---:|' * len(systems)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"**{about_silence(found)}**" if found["silence_beats_the_model"] else about_silence(found),
        "",
        *_notes(found),
    ]
    with files.replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8", errors="backslashreplace")


def counts(found: dict) -> str:
    """On how much a result was measured."""
    pairs = counted(found["num_pairs"], "pair")
    return f"{pairs}, {counted(found['num_references'], 'reference')}"


def _notes(found: dict) -> list[str]:
    independent = found["embedder"]["independent"]
    caution = "" if independent else ", which the model listens with: read these with care"
    return [
        f"- Intervals are 95 %: of means by the bootstrap over pairs ({NUM_RESAMPLES} resamples, "
        "seed 0), of set measures (both distances, diversity) by the jackknife over "
        f"{counted(min(NUM_GROUPS, found['num_pairs']), 'group')} of pairs. Pairs count as independent, "
        "though imitations of one sound are not.",
        "- Loss terms are of each pair by itself, as in a batch of one; the audio loss is without "
        "KL.",
        "- Embeddings, for the two distances, ranks, NDCG and diversity: "
        f"{found['embedder']['name']}{caution}; n = {counted(found['num_pairs'], 'output')} and "
        f"{counted(found['num_references'], 'reference')}. The Fréchet distance depends on n: compare equal n "
        "only. The oracle's kernel distance is below 0, because it is of sounds to themselves.",
        f"- Retrieval: a system's sound asks for the right one of "
        f"{counted(found['num_references'], 'reference')}. Classes are the groups that VimSketch's names tell.",
        "- Silence: zeros. Mean spectrum: the mean magnitude spectrogram of "
        f"{found['baselines_from']}, made audible with Griffin and Lim's algorithm. Nearest: the "
        "training reference whose features are nearest to the imitation's. Oracle: the reference "
        "itself.",
        f"- Active dimensions are of {found['latent_dim']}.",
    ]


def about_silence(found: dict) -> str:
    """A sentence on the measures in which a silent output is better than the model's."""
    names = found["silence_beats_the_model"]
    if not names:
        return "A silent output beats the model in none of these."
    titles = "; ".join(MEASURES[name].title for name in names)
    return f"A silent output beats the model in: {titles}."


def _cell(found: dict | None, digits: int) -> str:
    if found is None or found["value"] is None:
        return "–"
    # Rounded first, and zero added, so that nothing reads -0.000.
    value, *bounds = (
        None if found[field] is None else f"{round(found[field], digits) + 0.0:.{digits}f}"
        for field in Estimate._fields
    )
    return value if None in bounds else f"{value} [{', '.join(bounds)}]"


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
