"""A picture of the curves that a sound was rendered with, below the sound itself."""

import pathlib

import numpy as np

from qvae_jax.audio.controls import (
    CENTROID,
    HOP_LENGTH,
    LOUDNESS,
    LOUDNESS_FLOOR_DB,
    PERIODICITY,
    PITCH,
    SAMPLE_RATE_HZ,
    VOICED_PERIODICITY,
)
from qvae_jax.system import files
from qvae_jax.visualisation import canvas, figures
from qvae_jax.visualisation.lettering import lettering

SIZE_INCHES = (8.0, 6.0)
DPI = 90
COLOUR = "#204a87"
UNVOICED_COLOUR = "#c0c0c0"


@canvas.drawing()
def save_curves(
    path: pathlib.Path, curves: np.ndarray, samples: np.ndarray, sample_rate_hz: int, title: str
) -> None:
    """A PNG of a sound's mel spectrogram and its curves on one time axis.

    curves [frames, 4] are those of audio.controls, and samples last as long. The pitch is drawn dark
    where a frame has one, and pale where none is heard.
    """
    figure = canvas.new_figure(*SIZE_INCHES)
    # Places that are found for each picture take most of its time, and these never change.
    figure.set_layout_engine(None)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.94, bottom=0.07, hspace=0.12)
    shown = lettering(title)
    figure.suptitle(shown.text, fontsize=10, fontfamily=list(shown.families), parse_math=False)
    of_sound, *of_curves = figure.subplots(4, 1, sharex=True, height_ratios=[3, 2, 2, 2])
    duration_s = len(samples) / sample_rate_hz
    _draw_sound(of_sound, samples, sample_rate_hz)
    times_s = (np.arange(len(curves)) + 0.5) * HOP_LENGTH / SAMPLE_RATE_HZ
    for axis, number, label in zip(
        of_curves,
        (LOUDNESS, CENTROID, PITCH),
        ("loudness (dB)", "centroid (semitones)", "pitch (semitones)"),
    ):
        unvoiced = number == PITCH
        axis.plot(
            times_s, curves[:, number], color=UNVOICED_COLOUR if unvoiced else COLOUR, linewidth=1
        )
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(linewidth=0.3)
    voiced = curves[:, PERIODICITY] > VOICED_PERIODICITY
    pitch = np.where(voiced, curves[:, PITCH], np.nan)
    of_curves[-1].plot(times_s, pitch, color=COLOUR, linewidth=1.5, marker=".", markersize=2)
    of_curves[0].set_ylim(LOUDNESS_FLOOR_DB - 2, 8)
    of_curves[-1].set_xlabel("time (s)", fontsize=8)
    of_curves[-1].set_xlim(0, duration_s)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _draw_sound(axis, samples: np.ndarray, sample_rate_hz: int) -> None:
    levels = figures.mel_spectrogram_db(samples, sample_rate_hz)
    axis.imshow(
        levels - max(levels.max(), figures.QUIETEST_PEAK_DB),
        origin="lower",
        aspect="auto",
        extent=(0, len(samples) / sample_rate_hz, 0, figures.NUM_MELS),
        vmin=-figures.DYNAMIC_RANGE_DB,
        vmax=0,
        cmap=figures.COLOUR_MAP,
    )
    axis.set_ylabel("mel band", fontsize=8)
    axis.tick_params(labelsize=7)
