"""Parts of long audio files: how long a file is, where it is loudest, and that part of it."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax.audio import files
from qvae_jax.audio.files import as_waveform, read_audio
from qvae_jax.audio.opening import opened
from qvae_jax.system.errors import UserError

HOP_S = 0.1  # the grid of places at which a window may begin
HOPS_PER_BLOCK = 100  # read at once, so that an hour needs no more memory than ten seconds
# Decoders of lossy formats may give a few samples less than they promise.
MISSING_SAMPLES = 4096


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of an audio file, as if it were cut out of it.

    Attributes:
        path: the file.
        start_s: where in it the part begins.
        duration_s: how long the part is; the file may end before.
    """

    path: pathlib.Path
    start_s: float
    duration_s: float

    @property
    def name(self) -> str:
        """The file's name and where in it the part begins, to be shown."""
        return f"{self.path.name} from {self.start_s:.2f} s"

    def __str__(self) -> str:
        return f"{self.path} from {self.start_s:.2f} s"


Sound = pathlib.Path | Window  # what is read as one sound


def file_of(sound: Sound) -> pathlib.Path:
    """The file that a sound lies in."""
    return sound.path if isinstance(sound, Window) else pathlib.Path(sound)


def read_sound(
    sound: Sound, sample_rate_hz: int, *, max_duration_s: float | None = None
) -> np.ndarray:
    """A file, or a part of one, as a mono waveform at the asked rate; see read_audio."""
    if not isinstance(sound, Window):
        return read_audio(sound, sample_rate_hz, max_duration_s=max_duration_s)
    longest_s = sound.duration_s if max_duration_s is None else max_duration_s
    return read_window(
        sound.path,
        sample_rate_hz,
        start_s=sound.start_s,
        window_s=min(sound.duration_s, longest_s),
    )


def duration_s(path: str | os.PathLike) -> float:
    """How long a file's sound is, as its header says."""
    with opened(path) as source:
        return source.frames / source.samplerate


def loudest_start_s(path: str | os.PathLike, window_s: float) -> float:
    """Where the window of the most energy begins, in seconds, a multiple of 0.1 s; the first such.

    Energy is the sum of squares of the mean of all channels. The file is read once, in blocks.
    Raises UserError for a file that cannot be read, or ends before its header says.
    """
    with opened(path) as source:
        hop = max(1, round(HOP_S * source.samplerate))
        energies, num_read = [], 0
        # Not by source.blocks(), which leaves in the last block what was in memory before, where a
        # file holds less than it promises.
        read = functools.partial(source.read, dtype="float32", always_2d=True)
        while len(block := read(hop * HOPS_PER_BLOCK)):
            squares = np.square(block.mean(axis=1, dtype=np.float64))
            num_read += len(squares)
            padded = np.pad(squares, (0, -len(squares) % hop))
            energies.append(padded.reshape(-1, hop).sum(axis=1))
        if source.frames - num_read > MISSING_SAMPLES:
            raise UserError(
                f"The audio file {path} is cut short: its header promises more sound than the "
                "file holds; copy or download it again."
            )
        sums = np.concatenate([[0.0], np.cumsum(np.concatenate(energies))])
        num_hops = min(len(sums) - 1, max(1, round(window_s * source.samplerate / hop)))
        windows = sums[num_hops:] - sums[:-num_hops]
        # Sums of the same energy differ in their last bits; of such windows the first is meant.
        first = np.argmax(windows >= windows.max() * (1 - 1e-9))
        return float(first * hop / source.samplerate)


def read_window(
    path: str | os.PathLike, sample_rate_hz: int, *, start_s: float, window_s: float
) -> np.ndarray:
    """A part of a file as a mono waveform at the asked rate, as if the file were cut there.

    float32 [samples], no more than round(window_s · sample_rate_hz). Only that part is decoded,
    where the format allows to jump. Raises UserError as read_audio does.
    """
    if start_s == 0:
        return read_audio(path, sample_rate_hz, max_duration_s=window_s)
    part, native_rate_hz = _decoded(path, start_s, window_s)
    return as_waveform(part, native_rate_hz, sample_rate_hz, path)[
        : round(window_s * sample_rate_hz)
    ]


def read_at_rates(sound: Sound, wanted: Sequence[tuple[int, float]]) -> list[np.ndarray]:
    """A file, or a part of one, as read_sound gives it, decoded once for several rates.

    wanted has a pair (sample_rate_hz, max_duration_s) for each waveform of the result.
    """
    if not isinstance(sound, Window):
        return files.read_at_rates(sound, wanted)
    wanted = [(rate_hz, min(sound.duration_s, longest_s)) for rate_hz, longest_s in wanted]
    if sound.start_s == 0:
        return files.read_at_rates(sound.path, wanted)
    part, native_rate_hz = _decoded(sound.path, sound.start_s, max(s for _, s in wanted))
    return [
        as_waveform(part[: round(longest_s * native_rate_hz)], native_rate_hz, rate_hz, sound.path)[
            : round(longest_s * rate_hz)
        ]
        for rate_hz, longest_s in wanted
    ]


def _decoded(path: str | os.PathLike, start_s: float, window_s: float) -> tuple[np.ndarray, int]:
    """A part of a file that begins after its beginning, [frames, channels], and the file's rate."""
    with opened(path) as source:
        native_rate_hz = source.samplerate
        source.seek(round(start_s * native_rate_hz))
        part = source.read(round(window_s * native_rate_hz), dtype="float32", always_2d=True)
    if len(part) == 0:
        raise UserError(
            f"The audio file {path} holds no sound from {start_s:g} s on: its header promises more "
            "than the file holds, so copy or download it again."
        )
    return part, native_rate_hz
