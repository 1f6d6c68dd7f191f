"""The samples of a part as pictures, and as cards of the page with their sounds to play."""

import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from qvae_jax.evaluation import metrics
from qvae_jax.generation import finishing
from qvae_jax.generation.requests import Finish
from qvae_jax.visualisation import figures
from qvae_jax.visualisation.page import Card, Picture, Player
from qvae_jax.visualisation.samples import Sample


def picture_names(name: str, num_samples: int) -> list[str]:
    """The pictures of a part: one of each of its samples, and that of all together."""
    return [*(_picture_name(name, i) for i in range(1, num_samples + 1)), f"{name}.png"]


def draw_part(name: str, samples: Iterable[Sample], folder: pathlib.Path, step: int) -> list[Card]:
    """Draws the samples of a part, each by itself and all together, and gives their cards.

    Writes what picture_names says into folder; step stands above the picture of all.
    """
    cards, rows = [], []
    for number, sample in enumerate(samples, start=1):
        title = f"{name} {number}: {sample.source.sound.name}"
        path = folder / _picture_name(name, number)
        players = _players(sample)
        figures.save_sample(path, _drawn(sample, players), title)
        description = (
            "Waveform, STFT and mel spectrogram of imitation, reference and generated sound: "
            f"{title}"
        )
        cards.append(Card(title, players, Picture(path, description)))
        rows.append(
            [
                figures.Sound(waveform, sample.sample_rate_hz, f"{one.role} {one.name}".strip())
                for one, waveform in zip(players, _waveforms(sample))
            ]
        )
    figures.save_comparison(folder / f"{name}.png", rows, f"{name}, step {step}")
    return cards


def _picture_name(name: str, number: int) -> str:
    return f"{name}_{number:02d}.png"


def _waveforms(sample: Sample) -> list[np.ndarray]:
    found = [sample.imitation, sample.reference, sample.generated]
    return found if sample.steered is None else [*found, sample.steered]


def _drawn(sample: Sample, players: Sequence[Player]) -> list[figures.Sound]:
    """The sounds of a sample's own picture."""
    return [
        figures.Sound(waveform, sample.sample_rate_hz, one.role, one.notes[0])
        for one, waveform in zip(players, _waveforms(sample))
    ]


def _players(sample: Sample) -> list[Player]:
    source, heard, rate_hz = sample.source, sample.heard, sample.sample_rate_hz
    heard_s = len(sample.imitation) / rate_hz
    part = (
        f"{heard_s:.1f} s from {heard.start_s:.1f} s on"
        if heard.start_s
        else f"the first {heard_s:.1f} s"
    )
    cut = [f"{part} of {heard.file_duration_s:.1f} s, as the model heard it"]
    followed = ["as loud, bright and high as the imitation"]
    return [
        player(
            "imitation",
            source.sound.name,
            sample.imitation,
            rate_hz,
            cut if heard.file_duration_s > heard_s + 0.01 else [],
        ),
        player("reference", source.reference.name, sample.reference, rate_hz),
        player("generated", "", sample.generated, rate_hz),
        *(
            []
            if sample.steered is None
            else [player("steered", "", sample.steered, rate_hz, followed)]
        ),
    ]


def player(
    role: str, name: str, samples: np.ndarray, rate_hz: int, notes: Sequence[str] = ()
) -> Player:
    """A sound [samples] to play, with what is to be said of it; one that would clip is quieter."""
    finish = Finish(sample_rate_hz=rate_hz, format="flac", subtype="PCM_16")
    finished, done = finishing.finished(samples, rate_hz, finish)
    if done["gain_db"]:
        notes = [*notes, f"played {-done['gain_db']:.1f} dB quieter, since it would clip"]
    return Player(
        role,
        name,
        len(samples) / rate_hz,
        [_description(samples, rate_hz), *notes],
        finishing.encoded(finished, finish),
    )


def _description(samples: np.ndarray, rate_hz: int) -> str:
    found = metrics.describe(samples, rate_hz)
    if found is None:
        return "silent"
    return (
        f"RMS {found.rms_db:.1f} dBFS, centroid {found.centroid_hz / 1000:.2f} kHz, "
        f"flatness {found.flatness:.3f}"
    ).replace("-", "\N{MINUS SIGN}")
