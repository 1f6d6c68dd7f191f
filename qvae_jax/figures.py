"""Pictures of sounds side by side."""

import dataclasses
import pathlib
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
    figure.suptitle(title)
    axes = figure.subplots(len(rows), num_columns, squeeze=False)
    for row_axes, row in zip(axes, rows, strict=True):
        image = _draw_row(row_axes, row)
        figure.colorbar(image, ax=row_axes, label="dB", pad=0.01)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    with files.replacing(path) as temporary:
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
        axis.set_title(sound.title, fontsize=8)
        _label_mels(axis, sound.sample_rate_hz)
    for axis in axes[len(sounds) :]:
        axis.axis("off")
    return image


def _label_mels(axis, sample_rate_hz: int) -> None:
    """Frequencies in kHz at the mel bands that lie there."""
    highest = 2595.0 * np.log10(1.0 + sample_rate_hz / 2 / 700.0)
    ticks_khz = [f for f in (0.25, 1, 2, 4, 8) if 1000 * f < sample_rate_hz / 2]
    positions = [80.0 * 2595.0 * np.log10(1.0 + 1000 * f / 700.0) / highest for f in ticks_khz]
    axis.set_yticks(positions, [f"{f:g}k" for f in ticks_khz], fontsize=7)
