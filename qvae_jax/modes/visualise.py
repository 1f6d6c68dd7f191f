"""`--mode=visualise`: a run's sounds beside what they should be, to hear, see and read."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np
import soxr

from qvae_jax import configuration
from qvae_jax.audio.files import fit_length
from qvae_jax.data.prepared import target_audio
from qvae_jax.evaluation import metrics
from qvae_jax.generation import finishing
from qvae_jax.generation.inputs import Heard, Source, hear, probe
from qvae_jax.generation.model import Model, load_model
from qvae_jax.generation.requests import SPLIT_PARTS, Finish
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.runs import run_sources_by_part
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar
from qvae_jax.training.metrics_log import checked_metrics
from qvae_jax.visualisation import charts, figures, measures, page
from qvae_jax.visualisation.page import Card, Page, Part, Picture, Player

PAGE_FILE, LOSSES_FILE = "index.html", "losses.png"
NUM_SAMPLES = 8
BATCH_SIZE = 8
ABOUT = {
    "train": "Imitations that the model learnt from: how well it remembers.",
    "interpolation": "Imitations that the model never heard, of sounds that it learnt.",
    "extrapolation": "Imitations of sounds that the model never met, neither in voice nor itself.",
}
ABOUT_LOSSES = "Curves of each loss over the steps of training, and of its schedules."


class Sample(NamedTuple):
    """One imitation, what the model heard of it, its reference and the sound that was generated.

    Waveforms are [samples] at 22,050 Hz.
    """

    source: Source
    heard: Heard
    imitation: np.ndarray
    reference: np.ndarray
    generated: np.ndarray


def visualise(
    workdir: str | pathlib.Path,
    *,
    from_split: str | None = None,
    num_samples: int = NUM_SAMPLES,
    output_dir: str | pathlib.Path | None = None,
) -> None:
    """Writes a page of a run's sounds, and its pictures as files.

    Args:
        workdir: a training run, whose best checkpoint is shown at z = μ.
        from_split: the part of the run's split to show; by default all that it has.
        num_samples: of each part, spread evenly over it; all where it has no more.
        output_dir: gets index.html, which holds everything, PART_NN.png of each sample, PART.png
            of all samples of a part, and losses.png; by default WORKDIR/visualise.

    Raises UserError for a run, its data or a folder that cannot be used; output_dir then stays as
    it was.
    """
    workdir = pathlib.Path(workdir)
    output_dir = pathlib.Path(output_dir or workdir / "visualise")
    chosen = _chosen(workdir, from_split, num_samples)
    config = configuration.read_run(workdir)
    logged = checked_metrics(workdir)
    evaluated = measures.read_evaluations(workdir)
    for source in [source for _, sources in chosen.values() for source in sources]:
        probe(source, SAMPLE_RATE_HZ)
    model = load_model(workdir=str(workdir))
    step = model.source["step"]
    with files.filling_folder(output_dir) as folder:
        parts = []
        for part, (num_pairs, sources) in chosen.items():
            about = f"{ABOUT[part]} {_how_many(len(sources), num_pairs)}"
            parts.append(_part(part, about, _samples(model, part, sources), folder, step))
        charts.save_losses(folder / LOSSES_FILE, logged)
        tables, about_tables, command = measures.tables(evaluated, logged, step, workdir)
        shown = Page(
            title=f"Imitations and sounds of {workdir.resolve().name}",
            facts=_facts(config, model, _epoch(logged, step)),
            tables=tables,
            about_tables=about_tables,
            command=command,
            losses=Picture(folder / LOSSES_FILE, ABOUT_LOSSES, lossless=True),
            parts=parts,
        )
        num_bytes = page.write(folder / PAGE_FILE, shown)
    num_shown = sum(len(part.cards) for part in parts)
    print(f"{num_shown} samples: {output_dir / PAGE_FILE} ({num_bytes / 1e6:.1f} MB) and pictures")


# --- Which samples


def _chosen(
    workdir: pathlib.Path, from_split: str | None, num_samples: int
) -> dict[str, tuple[int, list[Source]]]:
    """For each part to show, how many pairs it has and which of them are shown."""
    if num_samples < 1:
        raise UserError(f"--num_samples is {num_samples}: set it to 1 or more.")
    if from_split is not None and from_split not in SPLIT_PARTS:
        choices = ", ".join(SPLIT_PARTS)
        raise UserError(f"--from_split is {from_split!r}: set it to one of {choices}.")
    found = run_sources_by_part(str(workdir))
    if from_split is not None and from_split not in found:
        raise UserError(
            f"The split of {workdir} has no part {from_split!r}: it has {', '.join(found)}."
        )
    shown = found if from_split is None else {from_split: found[from_split]}
    return {part: (len(all_), _spread(all_, num_samples)) for part, all_ in shown.items()}


def _spread(items: Sequence, count: int) -> list:
    """So many items, evenly spread from the first to the last; all where there are no more."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def _how_many(num_shown: int, num_pairs: int) -> str:
    if num_shown == num_pairs:
        return "All of them are here." if num_pairs > 1 else "There is one."
    return f"{num_shown} of {num_pairs} are here, evenly spread."


# --- Samples and their pictures


def _samples(model: Model, part: str, sources: Sequence[Source]) -> Iterator[Sample]:
    """Yields each sample; sounds are made in batches of one size."""
    front_end = model.front_end
    places = progress_bar(part, total=len(sources), unit="sample", over=range(len(sources)))
    heard, generated = [], []
    for place in places:
        if place % BATCH_SIZE == 0:
            batch = sources[place : place + BATCH_SIZE]
            heard = [hear(source, front_end) for source in batch]
            waveforms = np.zeros((BATCH_SIZE, front_end.num_samples), np.float32)
            for row, one in enumerate(heard):
                waveforms[row] = fit_length(one.samples, front_end.num_samples)
            generated = model.decode(model.posterior(waveforms)[0])
        source, one, sound = (
            sources[place],
            heard[place % BATCH_SIZE],
            generated[place % BATCH_SIZE],
        )
        if not np.isfinite(sound).all():
            raise UserError(
                f"The model makes a sound that is not finite of {source.name}: its weights are "
                "damaged, so use another checkpoint."
            )
        imitation = soxr.resample(one.samples, front_end.sample_rate_hz, SAMPLE_RATE_HZ, "HQ")
        yield Sample(source, one, imitation, target_audio(source.reference), sound)


def _part(
    name: str, about: str, samples: Iterator[Sample], folder: pathlib.Path, step: int
) -> Part:
    """Draws the samples of a part, each by itself and all together."""
    cards, rows = [], []
    for number, sample in enumerate(samples, start=1):
        title = f"{name} {number}: {sample.source.path.name}"
        path = folder / f"{name}_{number:02d}.png"
        players = _players(sample)
        figures.save_sample(path, _drawn(sample, players), title)
        description = (
            "Waveform, STFT and mel spectrogram of imitation, reference and generated sound: "
            f"{title}"
        )
        cards.append(Card(title, players, Picture(path, description)))
        rows.append(
            [
                figures.Sound(
                    player_samples, SAMPLE_RATE_HZ, f"{player.role} {player.name}".strip()
                )
                for player, player_samples in zip(players, _waveforms(sample))
            ]
        )
    figures.save_comparison(folder / f"{name}.png", rows, f"{name}, step {step}")
    return Part(name, about, cards)


def _waveforms(sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return sample.imitation, sample.reference, sample.generated


def _drawn(sample: Sample, players: Sequence[Player]) -> list[figures.Sound]:
    """The sounds of a sample's own picture."""
    return [
        figures.Sound(waveform, SAMPLE_RATE_HZ, f"{player.role}\n{player.notes[0]}")
        for player, waveform in zip(players, _waveforms(sample))
    ]


def _players(sample: Sample) -> list[Player]:
    source, heard = sample.source, sample.heard
    heard_s = len(sample.imitation) / SAMPLE_RATE_HZ
    cut = [f"the first {heard_s:.1f} s of {heard.file_duration_s:.1f} s, as the model heard it"]
    return [
        _player(
            "imitation",
            source.path.name,
            sample.imitation,
            cut if heard.file_duration_s > heard_s + 0.01 else [],
        ),
        _player("reference", source.reference.name, sample.reference),
        _player("generated", "", sample.generated),
    ]


def _player(role: str, name: str, samples: np.ndarray, notes: Sequence[str] = ()) -> Player:
    finish = finishing.checked(Finish(format="flac", subtype="PCM_16"))
    finished, done = finishing.finished(samples, finish)
    if done["gain_db"]:
        notes = [*notes, f"played {-done['gain_db']:.1f} dB quieter, since it would clip"]
    return Player(
        role,
        name,
        len(samples) / SAMPLE_RATE_HZ,
        [_description(samples), *notes],
        finishing.encoded(finished, finish),
    )


def _description(samples: np.ndarray) -> str:
    found = metrics.describe(samples, SAMPLE_RATE_HZ)
    if found is None:
        return "silent"
    return (
        f"RMS {found.rms_db:.1f} dBFS, centroid {found.centroid_hz / 1000:.2f} kHz, "
        f"flatness {found.flatness:.3f}"
    ).replace("-", "\N{MINUS SIGN}")


# --- What else the page says


def _facts(
    config: ml_collections.ConfigDict, model: Model, epoch: int | None
) -> list[tuple[str, str]]:
    shape = model.config
    step = f"step {model.source['step']}" + ("" if epoch is None else f", epoch {epoch}")
    weights = (config.model.get(name) for name in ("checkpoint", "encoder_checkpoint"))
    origin = next(filter(None, weights), "random weights")
    layer = "its last layer" if shape.feature_space == "final" else f"layer {shape.feature_space}"
    trained = str(config.training.get("encoder", "")).replace("_", " ")
    return [
        ("checkpoint", f"{step}: the best one kept"),
        ("latent", f"{shape.latent_dim} dimensions; sounds are made of its mean, z = μ"),
        ("decoder", f"{shape.decoder_type}, width {shape.decoder_width:g}"),
        (
            "encoder",
            f"MobileNetV3, width {shape.encoder_width:g}, {trained}, from {origin}; "
            f"features of {layer}",
        ),
    ]


def _epoch(logged: Sequence[dict], step: int) -> int | None:
    return next((e["epoch"] for e in logged if e["step"] == step and "epoch" in e), None)
