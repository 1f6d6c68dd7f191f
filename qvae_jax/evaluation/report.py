"""The result of an evaluation as JSON values, and as a table to read."""

import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from qvae_jax import losses
from qvae_jax.evaluation.adherence import ACTIVE_DB, TRACKERS, UNVOICED_CHROMA, UNVOICED_PITCH
from qvae_jax.evaluation.baselines import MOST_GAIN_DB
from qvae_jax.evaluation.embedding import Embedder
from qvae_jax.evaluation.hearing import PEAK, TRIM_DB
from qvae_jax.evaluation.statistics import NUM_GROUPS, NUM_RESAMPLES, Estimate
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, counted


class Measure(NamedTuple):
    """How a measure is called in the table, and which way is better: -1 lower, 1 higher, 0 none."""

    title: str
    better: int
    digits: int = 3


AGAINST_REFERENCE = {
    "original_loss": Measure("audio loss of the original, unmasked", -1),
    "audio_loss": Measure("audio loss, weighted as in training", -1),
    **{
        t.name: Measure(t.heading, -1 if t.name in losses.WEIGHTED else 0, t.digits)
        for t in losses.TABLE
    },
    "multi_resolution_stft": Measure("multi-resolution STFT distance", -1),
    "multi_scale_mel": Measure("multi-scale mel distance", -1),
    "aligned_mel": Measure("mel distance along the best alignment (dB)", -1, 2),
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
ADHERENCE = {
    "loudness_difference": Measure("loudness, dB", -1, 2),
    "loudness_correlation": Measure("loudness, correlation", 1),
    "centroid_difference": Measure("centroid, semitones", -1, 2),
    **{
        f"{name}{ending}": Measure(f"{title}{judge}{unit}", better, 2)
        for ending, judge in zip(TRACKERS, ("", " (pYIN)"))
        for name, title, unit, better in (
            ("pitch_difference", "pitch", ", semitones", -1),
            ("chroma_difference", "chroma", ", semitones", -1),
            ("voiced_share", "voiced frames still voiced", ", share", 1),
        )
    },
}
MEASURES = AGAINST_REFERENCE | ADHERENCE
BRIEF = (  # measure, system
    ("multi_resolution_stft", "model"),
    ("multi_resolution_stft", "own_embedding"),
    ("multi_resolution_stft", "nearest"),
    ("envelope_correlation", "model"),
    ("envelope_correlation", "own_embedding"),
    ("loudness_correlation", "steered"),
    ("pitch_difference", "steered"),
)
# Besides, where what embeds is no part of the model.
BRIEF_OF_JUDGE = tuple(
    (measure, system)
    for measure in ("mrr", "kernel_distance")
    for system in ("model", "steered", "nearest", "oracle")
)
VOICES = "voices"  # the part of imitations without references
OF_REFERENCES = ("reference_curves", "own_embedding", "oracle")  # systems
LARGEST_COUNT = 2**53  # whole numbers beyond it are not those of any evaluation
ARROWS = {-1: " ↓", 0: "", 1: " ↑"}


def result(
    *,
    part: str,
    trimmed: bool,
    num_examples: int,
    num_references: int,
    model: dict,
    embedder: Embedder,
    latent_dim: int,
    baselines_from: str,
    estimates: dict[str, dict[str, Estimate]],
    silence_wins: Sequence[str],
) -> dict:
    """Everything that an evaluation found, as JSON values; what is undefined is null.

    Of imitations without references only what compares with the imitation.
    """
    shown = ADHERENCE if part == VOICES else MEASURES
    return {
        "part": part,
        "trimmed": trimmed,
        "num_pairs": num_examples,
        "num_references": num_references,
        "model": model,
        "latent_dim": latent_dim,
        "embedder": {
            name: getattr(embedder, name)
            for name in ("name", "independent_of_encoder", "independent_of_audioset")
        },
        "baselines_from": baselines_from,
        "silence_beats_the_model": [name for name in silence_wins if name in shown],
        "systems": {
            system: {
                name: dict(zip(Estimate._fields, map(_finite, found[name])))
                for name in shown
                if name in found
            }
            for system, found in estimates.items()
            if part != VOICES or system not in OF_REFERENCES
        },
    }


class Table(NamedTuple):
    """A row for each measure: its title, and its value for each of the systems."""

    title: str
    systems: list[str]
    rows: list[list[str]]


def tables(found: dict) -> list[Table]:
    """A result to read: the measures against the reference, and those against the imitation.

    Either is left out where a result has none of them: earlier ones lack the second.
    """
    both = (
        _table(found, "Against the reference", AGAINST_REFERENCE),
        _table(found, "Against the imitation", ADHERENCE),
    )
    return [table for table in both if table.rows]


def brief(results: Sequence[dict]) -> list[str]:
    """The lines of a small table of several results: a column for each, rows as BRIEF has them.

    With an embedder that is independent of the encoder, of retrieval and distances of sets too,
    and a line on what embeds.
    """
    names = [f"{found['part']}{', trimmed' * bool(found.get('trimmed'))}" for found in results]
    judged = [
        found
        for found in results
        if found["part"] != VOICES and found["embedder"]["independent_of_encoder"]
    ]
    rows = []
    for measure, system in BRIEF + BRIEF_OF_JUDGE * bool(judged):
        cells = _brief_cells(results, measure, system)
        if any(cell != "–" for cell in cells):
            title, arrow = MEASURES[measure].title, ARROWS[MEASURES[measure].better]
            rows.append((f"{system}: {title}{arrow}", cells))
    first = max((len(title) for title, _ in rows), default=0)
    lines = [
        "  ".join([title.ljust(first), *(c.rjust(len(n)) for c, n in zip(cells, names))])
        for title, cells in [("", names), *rows]
    ]
    return lines + [about_embedder(found) for found in judged[:1]]


def _brief_cells(results: Sequence[dict], measure: str, system: str) -> list[str]:
    cells = []
    for found in results:
        estimate = found["systems"].get(system, {}).get(measure)
        value = None if estimate is None else estimate["value"]
        cells.append("–" if value is None else f"{value:.{MEASURES[measure].digits}f}")
    return cells


def _table(found: dict, title: str, measures: dict[str, Measure]) -> Table:
    """Of the measures that any system has."""
    systems = list(found["systems"])
    rows = [
        [
            f"{measure.title}{ARROWS[measure.better]}",
            *(_cell(found["systems"][s].get(name), measure.digits) for s in systems),
        ]
        for name, measure in measures.items()
        if any(name in found["systems"][s] for s in systems)
    ]
    return Table(title, systems, rows)


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
    """Writes a result as tables, with what must be known to read them."""
    lines = [
        f"# {found['part']}: {counts(found)}",
        "",
        f"Model: {', '.join(f'{key} {value}' for key, value in found['model'].items())}; z = μ.",
        "",
        *([] if found["part"] == VOICES else [about_embedder(found), ""]),
        *([f"**{about_silence(found)}**", ""] if found["silence_beats_the_model"] else []),
    ]
    for table in tables(found):
        lines += [
            f"## {table.title}",
            "",
            f"| measure | {' | '.join(table.systems)} |",
            f"|---|{'---:|' * len(table.systems)}",
            *(f"| {' | '.join(row)} |" for row in table.rows),
            "",
        ]
    lines += ["## How to read them", "", *_notes(found)]
    with files.replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8", errors="backslashreplace")


def counts(found: dict) -> str:
    """On how much a result was measured."""
    trimmed = ", trimmed" if found.get("trimmed") else ""
    if found["part"] == VOICES:
        return f"{counted(found['num_pairs'], 'imitation')} without a reference{trimmed}"
    pairs = counted(found["num_pairs"], "pair")
    return f"{pairs}, {counted(found['num_references'], 'reference')}{trimmed}"


def about_silence(found: dict) -> str:
    """A sentence on the measures in which a silent output wins; empty where there are none."""
    titles = "; ".join(MEASURES[name].title for name in found["silence_beats_the_model"])
    return f"A silent output wins, with 95 % confidence: {titles}." if titles else ""


def about_embedder(found: dict) -> str:
    """A sentence on what embeds for retrieval and distances of sets, and what it is independent of."""
    embedder = found["embedder"]
    parts = {"independent_of_encoder": "the model's encoder", "independent_of_audioset": "AudioSet"}
    kept, shared = (
        [part for name, part in parts.items() if embedder[name] == independent]
        for independent in (True, False)
    )
    said = [f"independent of {' and of '.join(kept)}"] if kept else []
    said += [f"not independent of {' nor of '.join(shared)}"] if shared else []
    return f"Retrieval and distances of sets are by {embedder['name']}: {', '.join(said)}."


def _notes(found: dict) -> list[str]:
    independent = found["embedder"]["independent_of_encoder"]
    caution = "" if independent else ", which the model listens with: read these with care"
    pairs = counted(min(NUM_GROUPS, found["num_pairs"]), "group")
    references = counted(found["num_references"], "reference")
    heard = (
        f"- Trimmed: of references, imitations and outputs alike, the frames at both ends that lie "
        f"{TRIM_DB:.0f} dB below the loudest are cut, and the peak is brought to {PEAK}; but for what "
        "is rendered from a trimmed sound's curves, which keep its time and level."
    )
    steered = (
        "- Steered: z of the imitation and its own curves, cut or padded for what compares it with "
        "the reference. Reference_curves: z of the imitation and the reference's curves. "
        "Own_embedding: z and curves of the reference."
    )
    of_references = [
        "- Loss terms are of each pair by itself, as in a batch of one; the audio loss is without "
        "KL.",
        "- The best alignment in time is that of dynamic time warping, by at most a quarter of the "
        "sounds' length; dB are a mean over mel bands and over the path. A right sound at the "
        "voice's own pace is near by it.",
        "- Embeddings, for the two distances, ranks, NDCG and diversity: "
        f"{found['embedder']['name']}{caution}; n = {counted(found['num_pairs'], 'output')} and "
        f"{references}. The Fréchet distance depends on n: compare equal n only. The oracle's "
        "kernel distance is below 0, because it is of sounds to themselves.",
        f"- Retrieval: a system's sound asks for the right one of {references}. Classes are the "
        "groups that VimSketch's names tell.",
        f"- Active dimensions are of {found['latent_dim']}.",
    ]
    return [
        "- Intervals are 95 %: of means by the bootstrap over pairs "
        f"({NUM_RESAMPLES} resamples, seed 0), of set measures (Fréchet and kernel distance, "
        f"diversity) by the jackknife over {pairs} of pairs. Pairs count as independent, though "
        "imitations of one sound are not. That a silent output wins is said where the interval of "
        "its difference from the model's lies on its side.",
        "- Everything is heard at 22,050 Hz, below 11 kHz: sounds of a model at 44,100 Hz are "
        "resampled to it first (soxr's HQ quality), as files are.",
        *([heard] if found.get("trimmed") else []),
        *([] if found["part"] == VOICES else of_references),
        "- Against the imitation: mean absolute differences over its frames within "
        f"{-ACTIVE_DB:.0f} dB of its loudest, pooled over all pairs; of pitch and chroma over those "
        f"of them that are voiced, where an unvoiced frame of the sound counts as "
        f"{UNVOICED_PITCH:.0f} and {UNVOICED_CHROMA:.0f} semitones. Pitch is judged twice: by the "
        "tracker that steers, and by pYIN. The correlation is a mean over pairs. A sound that ends "
        "before the imitation, or before 2.7 s of it, is silent there; of a longer imitation only "
        "as much counts as the sound has.",
        *([steered] if "steered" in found["systems"] else []),
        "- Silence: zeros. Mean spectrum: the mean magnitude spectrogram of "
        f"{found['baselines_from']}, made audible with Griffin and Lim's algorithm. Nearest: the "
        "training reference whose features are nearest to the imitation's; with the imitation's "
        f"loudness, by a gain in time of at most {MOST_GAIN_DB:.0f} dB. Imitation itself: its own "
        "sound. Oracle: the reference itself.",
    ]


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
