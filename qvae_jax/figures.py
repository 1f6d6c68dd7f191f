"""Pictures of sounds side by side."""

import dataclasses
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np

from qvae_jax import files
from qvae_jax.audio import mel

DYNAMIC_RANGE_DB = 80.0
QUIETEST_PEAK_DB = -20.0  # below it a sound is shown as the silence it is


@dataclasses.dataclass(frozen=True)
class Sound:
    """A waveform [samples], its rate, and what to write above it."""

    samples: np.ndarray
    sample_rate_hz: int
    title: str


def save_comparison(path: pathlib.Path, rows: Sequence[Sequence[Sound | None]], title: str) -> None:
    """A PNG of mel spectrograms: a row for each sample, a column for each of its sounds.

    Levels are in decibels below each sound's own loudest point, for imitations, references and
    outputs come at very different gains. A time axis shows the whole sound. None leaves its place
    empty.
    """
    # Imported here because it takes a second that nothing else should wait for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_columns = max(len(row) for row in rows)
    figure = Figure(figsize=(4.2 * num_columns + 0.8, 2.3 * len(rows) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_drawable(title), parse_math=False)
    axes = figure.subplots(len(rows), num_columns, squeeze=False)
    for row_axes, row in zip(axes, rows, strict=True):
        image = _draw_row(row_axes, row)
        figure.colorbar(image, ax=row_axes, label="dB", pad=0.01)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    for axis in axes[:, 0]:
        axis.set_ylabel("frequency (Hz)", fontsize=8)
    with files.replacing(path) as temporary:
        with warnings.catch_warnings():
            # A name in a script that the font lacks shows as boxes; that is warning enough.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(temporary, format="png", dpi=80)


def mel_spectrogram_db(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Mel power spectrogram in dB re 1, [80 mels, frames]; Hann window of 1024, hop of 256."""
    window, hop = 1024, 256
    padded = np.pad(samples, (window // 2, window // 2 + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
    bank = mel.htk_mel_bank(80, window, sample_rate_hz, 0.0, sample_rate_hz / 2)
    return 10.0 * np.log10(power @ bank + 1e-10).T


def _draw_row(axes, sounds: Sequence[Sound | None]):
    spectrograms = [s and mel_spectrogram_db(s.samples, s.sample_rate_hz) for s in sounds]
    image = None
    for axis, sound, spectrogram in zip(axes, sounds, spectrograms):
        if sound is None:
            axis.axis("off")
            continue
        loudest = max(spectrogram.max(), QUIETEST_PEAK_DB)
        image = axis.imshow(
            spectrogram - loudest,
            origin="lower",
            aspect="auto",
            extent=(0.0, len(sound.samples) / sound.sample_rate_hz, 0.0, 80.0),
            vmin=-DYNAMIC_RANGE_DB,
            vmax=0.0,
            cmap="magma",
        )
        # Names are not mathematics, whatever dollar signs they hold.
        axis.set_title(_drawable(sound.title), fontsize=8, parse_math=False)
        _label_mels(axis, sound.sample_rate_hz)
    for axis in axes[len(sounds) :]:
        axis.axis("off")
    return image


def _drawable(text: str) -> str:
    """The text with question marks for bytes of a file's name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _label_mels(axis, sample_rate_hz: int) -> None:
    """Frequencies at the mel bands that lie there."""
    highest = 2595.0 * np.log10(1.0 + sample_rate_hz / 2 / 700.0)
    ticks_hz = [f for f in (250, 1000, 2000, 4000, 8000) if f < sample_rate_hz / 2]
    positions = [80.0 * 2595.0 * np.log10(1.0 + f / 700.0) / highest for f in ticks_hz]
    axis.set_yticks(positions, [f"{f:,}" for f in ticks_hz], fontsize=7)
