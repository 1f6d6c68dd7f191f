"""Pictures of sounds side by side."""

import dataclasses
import pathlib
import textwrap
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from qvae_jax.audio import mel, stft
from qvae_jax.system import files
from qvae_jax.visualisation import canvas
from qvae_jax.visualisation.lettering import lettering

DYNAMIC_RANGE_DB = 80.0
QUIETEST_PEAK_DB = -20.0  # below it a sound is shown as the silence it is
N_FFT, HOP_LENGTH = 1024, 256  # samples at LOWEST_RATE_HZ; at multiples of it they last as long
LOWEST_RATE_HZ = 22_050
NUM_MELS = 80
POWER_FLOOR = 1e-10
QUIETEST_AMPLITUDE = 0.01  # of a waveform's axis, so that noise at -60 dBFS looks faint
WAVEFORM_COLUMNS = 800  # of a waveform's outline
DPI = 110
COLOUR_MAP = "magma"
COLUMN_WIDTH, ROW_HEIGHT = 4.2, 2.3  # inches
TITLE_POINTS, LABEL_POINTS = 11, 8
MOST_TIMES = 20  # marked on the time axes of all columns together
NO_SOUND = "#e8e8e8"  # after a sound's end
WIDE = ("W", "F")  # characters twice as wide as others


@dataclasses.dataclass(frozen=True)
class Sound:
    """A waveform [samples], its rate, and what to write above it: a title, and a note below that."""

    samples: np.ndarray
    sample_rate_hz: int
    title: str
    note: str = ""

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return len(self.samples) / self.sample_rate_hz


@canvas.drawing()
def save_comparison(path: pathlib.Path, rows: Sequence[Sequence[Sound | None]], title: str) -> None:
    """A PNG of mel spectrograms: a row for each sample, a column for each of its sounds.

    Levels are in decibels below each sound's own loudest point, for imitations, references and
    outputs come at very different gains. A second is equally wide in all columns; each column's
    time axis holds its longest sound, and is no shorter than that of the column in the middle of
    them by length, so that all are alike but those of long sounds. None leaves its place empty.
    """
    num_columns = max(len(row) for row in rows)
    rows = [[*row, *[None] * (num_columns - len(row))] for row in rows]
    spans_s = [max((s.duration_s for s in column if s), default=0.0) for column in zip(*rows)]
    figure, axes = _grid(len(rows), spans_s, title)
    for row_axes, row in zip(axes, rows, strict=True):
        images = [_draw_mel(axis, sound) for axis, sound in zip(row_axes, row)]
        _add_colour_bar(row_axes, images)
        for axis, sound in zip(row_axes, row):
            _write_title(axis, sound)
    for column in axes.T:
        _label_time(column)
    _save(figure, path)


@canvas.drawing()
def save_sample(path: pathlib.Path, sounds: Sequence[Sound], title: str) -> None:
    """A PNG of one sample: waveform, STFT and mel spectrogram, a column for each of its sounds.

    Time axes and levels are those of save_comparison; each waveform's axis fits its own peak.
    """
    figure, axes = _grid(3, [sound.duration_s for sound in sounds], title)
    for axis, sound in zip(axes[0], sounds):
        _draw_waveform(axis, sound)
        _write_title(axis, sound)
    axes[0, 0].set_ylabel("waveform (full scale 1)", fontsize=LABEL_POINTS)
    for row_axes, draw in ((axes[1], _draw_stft), (axes[2], _draw_mel)):
        _add_colour_bar(row_axes, [draw(axis, sound) for axis, sound in zip(row_axes, sounds)])
    for column in axes.T:
        _label_time(column)
    _save(figure, path)


def stft_db(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """STFT power in dB re 1, [513 frequencies, frames]; periodic Hann window of 1024, hop of 256.

    Frames are centred at 0, 256, 512, … samples; outside the sound lies silence. At about twice
    22,050 Hz all of these are twice as many, and so on.
    """
    return _db(_power(samples, _n_fft(sample_rate_hz)))


def mel_spectrogram_db(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Mel power spectrogram in dB re 1, [80 mels, frames]; frames are those of stft_db."""
    n_fft = _n_fft(sample_rate_hz)
    bank = mel.htk_mel_bank(NUM_MELS, n_fft, sample_rate_hz, 0.0, sample_rate_hz / 2)
    return _db(bank.T @ _power(samples, n_fft))


def _n_fft(sample_rate_hz: int) -> int:
    # Of fewer, some mel bands of a higher rate would lie between bins.
    return N_FFT * max(1, round(sample_rate_hz / LOWEST_RATE_HZ))


def _hop_length(n_fft: int) -> int:
    return HOP_LENGTH * n_fft // N_FFT


def _power(samples: np.ndarray, n_fft: int) -> np.ndarray:
    hop = _hop_length(n_fft)
    padded = np.pad(samples, (n_fft // 2, n_fft // 2 + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    return np.abs(np.fft.rfft(frames * stft.hann_window(n_fft, periodic=True))).T ** 2


def _db(power: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(power + POWER_FLOOR)


# --- One sound


def _draw_waveform(axis, sound: Sound) -> None:
    """The outline of a waveform: its lowest and highest sample in each of many short stretches."""
    num_samples = len(sound.samples)
    edges = np.unique(np.linspace(0, num_samples, WAVEFORM_COLUMNS + 1).astype(int))[:-1]
    low = np.minimum.reduceat(sound.samples, edges)
    high = np.maximum.reduceat(sound.samples, edges)
    time_s = (edges + np.diff(edges, append=num_samples) / 2) / sound.sample_rate_hz
    axis.fill_between(time_s, low, high, color="#404040", linewidth=0.6)
    reach = 1.05 * max(np.abs(sound.samples).max(), QUIETEST_AMPLITUDE)
    axis.set_ylim(-reach, reach)
    axis.axvspan(0.0, sound.duration_s, color="white", zorder=0)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(linewidth=0.3)


def _draw_stft(axis, sound: Sound):
    levels = stft_db(sound.samples, sound.sample_rate_hz)
    image = _draw_levels(axis, sound, levels, sound.sample_rate_hz / 2)
    ticks_hz = np.arange(0, sound.sample_rate_hz / 2, 2500)
    axis.set_yticks(ticks_hz, [f"{tick / 1000:g}" for tick in ticks_hz], fontsize=7)
    if _is_first(axis):
        axis.set_ylabel("STFT: frequency (kHz)", fontsize=LABEL_POINTS)
    return image


def _draw_mel(axis, sound: Sound | None):
    if sound is None:
        axis.axis("off")
        return None
    levels = mel_spectrogram_db(sound.samples, sound.sample_rate_hz)
    image = _draw_levels(axis, sound, levels, NUM_MELS)
    highest = 2595.0 * np.log10(1.0 + sound.sample_rate_hz / 2 / 700.0)
    ticks_hz = [f for f in (250, 500, 1000, 2000, 4000, 8000) if f < sound.sample_rate_hz / 2]
    positions = [NUM_MELS * 2595.0 * np.log10(1.0 + f / 700.0) / highest for f in ticks_hz]
    axis.set_yticks(positions, [f"{f / 1000:g}" for f in ticks_hz], fontsize=7)
    if _is_first(axis):
        axis.set_ylabel("mel: frequency (kHz)", fontsize=LABEL_POINTS)
    return image


def _draw_levels(axis, sound: Sound, levels: np.ndarray, top: float):
    """Levels [frequencies, frames] below the loudest one; the axis goes up to top."""
    hop_s = _hop_length(_n_fft(sound.sample_rate_hz)) / sound.sample_rate_hz
    half_frame_s, last_s = hop_s / 2, (levels.shape[1] - 1) * hop_s
    image = axis.imshow(
        levels - max(levels.max(), QUIETEST_PEAK_DB),
        origin="lower",
        aspect="auto",
        # The middle of a frame lies at its time.
        extent=(-half_frame_s, last_s + half_frame_s, 0.0, top),
        vmin=-DYNAMIC_RANGE_DB,
        vmax=0.0,
        cmap=COLOUR_MAP,
    )
    return image


# --- The page that they stand on


def _grid(num_rows: int, spans_s: Sequence[float], title: str):
    """A figure, and axes [rows, columns] on one time scale, at least as long as these spans."""
    # Imported here because it takes a second that nothing else should wait for.
    from matplotlib import ticker

    middle_s = sorted(spans_s)[len(spans_s) // 2] or max(spans_s)
    spans_s = [max(span_s, middle_s) for span_s in spans_s]
    width = COLUMN_WIDTH * len(spans_s) + 0.8
    figure = canvas.new_figure(width, ROW_HEIGHT * num_rows + 0.6)
    _write(figure.suptitle, [title], width, TITLE_POINTS)
    axes = figure.subplots(num_rows, len(spans_s), squeeze=False, width_ratios=spans_s)
    ticks_s = ticker.MaxNLocator(MOST_TIMES, steps=[1, 2, 5, 10]).tick_values(0.0, sum(spans_s))
    for column, span_s in zip(axes.T, spans_s):
        for axis in column:
            axis.xaxis.set_major_locator(ticker.MultipleLocator(ticks_s[1] - ticks_s[0]))
            axis.set_xlim(0.0, span_s)
            axis.set_autoscalex_on(False)
            axis.set_facecolor(NO_SOUND)
    return figure, axes


def _write_title(axis, sound: Sound | None) -> None:
    if sound is None:
        return
    grid = axis.get_subplotspec().get_gridspec()
    share = axis.get_xlim()[1] / sum(grid.get_width_ratios())
    width = share * COLUMN_WIDTH * grid.ncols
    _write(axis.set_title, [sound.title, sound.note], width, LABEL_POINTS)


def _label_time(column) -> None:
    """Time below the lowest sound of a column; the others' marks tell as much."""
    shown = [axis for axis in column if axis.axison]
    for axis in shown[:-1]:
        axis.tick_params(axis="x", labelbottom=False)
    for axis in shown[-1:]:
        axis.tick_params(axis="x", labelsize=7)
        axis.set_xlabel("time (s)", fontsize=LABEL_POINTS)


def _add_colour_bar(row_axes, images: Sequence) -> None:
    image = next(filter(None, images), None)
    if image is not None:
        bar = row_axes[0].figure.colorbar(image, ax=row_axes, pad=0.01)
        bar.set_label("level (dB re the loudest)", fontsize=LABEL_POINTS)
        bar.ax.tick_params(labelsize=7)


def _save(figure, path: pathlib.Path) -> None:
    # Imported here for the same reason.
    from PIL import Image

    figure.set_dpi(DPI)
    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    # Less than half the bytes, and no difference to see: what is drawn has no other colours.
    few_colours = drawn.quantize(palette=_palette(), dither=Image.Dither.NONE)
    with files.replacing(path) as temporary:
        few_colours.save(temporary, format="png", dpi=(DPI, DPI))


def _palette():
    """A picture with a palette of 224 colours of the spectrograms' map, and 32 shades of grey."""
    from matplotlib import colormaps
    from PIL import Image

    levels = colormaps[COLOUR_MAP](np.linspace(0, 1, 224), bytes=True)[:, :3]
    greys = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[:, None], 3, axis=1)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([levels, greys]).tobytes())
    return palette


def _is_first(axis) -> bool:
    return axis.get_subplotspec().is_first_col()


def _write(write: Callable, texts: Sequence[str], width_inches: float, points: int) -> None:
    """Writes texts below each other by one of matplotlib's methods, each on two lines at most."""
    lettered = [lettering(text) for text in texts]
    families = dict.fromkeys(family for one in lettered for family in one.families)
    write(
        "\n".join(line for one in lettered for line in _lines(one.text, width_inches, points)),
        fontsize=points,
        fontfamily=list(families),
        parse_math=False,  # names are not mathematics, whatever dollar signs they hold
    )


def _lines(text: str, width_inches: float, points: int) -> list[str]:
    """The text in two lines at most, about as wide as that."""
    num_columns = int(width_inches * 72 / (0.6 * points))
    # A filler behind each wide character, so that it counts twice.
    is_wide = lambda character: unicodedata.east_asian_width(character) in WIDE
    filled = "".join(c + "\0" if is_wide(c) else c for c in text)
    lines = textwrap.wrap(filled, num_columns)
    # textwrap's own way to leave out the rest gives up all of a word that was broken.
    lines[1:] = [lines[1][: num_columns - 1] + "…"] if len(lines) > 2 else lines[1:]
    return [line.replace("\0", "") for line in lines]
