"""Curves as a table that a spreadsheet opens: written beside each sound, and read back edited.

One line for each frame, its middle first:

    time_s,loudness_db,centroid_semitones,pitch_semitones,periodicity
    0.005510,-32.10127,83.41985,57.003284,0.9124

In semitones 69 is 440 Hz and 12 are an octave; a frame has a pitch where its periodicity is above
0.5. audio.controls says what each curve means.
"""

import csv
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from qvae_jax.audio.controls import HOP_LENGTH, LOUDNESS_FLOOR_DB, SAMPLE_RATE_HZ
from qvae_jax.generation.steering import LONGEST_FRAMES, LONGEST_S
from qvae_jax.models.steered import HIGHEST, LOWEST
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, first_line

TIME = "time_s"
COLUMNS = ("loudness_db", "centroid_semitones", "pitch_semitones", "periodicity")
HEADER = (TIME, *COLUMNS)
MOST_LINES = 1_000_000  # of a file that is read: a minute at 16 kHz
FRAME_S = HOP_LENGTH / SAMPLE_RATE_HZ
ROUNDING = 1e-4  # more than float32 rounds the ends of curves
OWN_TIMES_S = 1e-4  # within which times are those of our frames


def write(path: pathlib.Path, curves: np.ndarray) -> None:
    """Writes curves, float32 [frames, 4], which read gives back bit for bit."""
    times_s = middles_s(len(curves))
    with files.explaining_write_errors(path), path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEADER)
        for time_s, values in zip(times_s, curves.astype(np.float32), strict=True):
            table.writerow([f"{time_s:.6f}", *map(str, values)])


def read(path: pathlib.Path) -> np.ndarray:
    """The curves in a table, float32 [frames, 4], at our rate of frames.

    The columns may stand in any order, separated by commas, or by semicolons with decimal commas,
    as some spreadsheets write them. Times may lie at any distances: values between them are on
    lines, and before the first and after the last as there. The sound lasts until half of the last
    distance after the last time. Empty lines do not count; loudness below the floor is silence.

    Raises UserError for a file that cannot be read, lacks a column or has another, holds what is no
    finite number or one that no curve can have, times that do not increase, no frame, or more than
    60 s.
    """
    lines = _lines(path)
    columns = _header(path, lines)
    rows = [_row(path, number, cells, columns) for number, cells in lines]
    if not rows:
        raise UserError(f"{path} holds no curves below its first line: add at least one frame.")
    table = np.array(rows, np.float64)
    times_s, values = table[:, 0], table[:, 1:]
    _check_times(path, times_s)
    with np.errstate(over="ignore"):  # what becomes infinite is too long
        num_frames = _num_frames(path, times_s)
    wanted_s = middles_s(num_frames)
    if len(times_s) == num_frames and np.abs(times_s - wanted_s).max() < OWN_TIMES_S:
        return values.astype(np.float32)
    found = [np.interp(wanted_s, times_s, column) for column in values.T]
    return np.stack(found, axis=1).astype(np.float32)


def middles_s(num_frames: int) -> np.ndarray:
    """When the middles of frames are, in seconds: [num_frames]."""
    return (np.arange(num_frames) + 0.5) * FRAME_S


def _lines(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = ";" if ";" in first else ","
            for number, cells in enumerate(
                csv.reader(itertools.chain([first], file), delimiter=delimiter), start=1
            ):
                if number > MOST_LINES:
                    raise UserError(
                        f"{path} has more than {MOST_LINES} lines: give fewer frames a second."
                    )
                if any(cell.strip() for cell in cells):
                    yield number, [_plain(cell, delimiter) for cell in cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read as a table of curves ({_reason(error)}): name a CSV file."
        ) from error


def _plain(cell: str, delimiter: str) -> str:
    cell = cell.strip()
    return cell.replace(",", ".") if delimiter == ";" else cell


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)


def _header(path: pathlib.Path, lines: Iterator[tuple[int, list[str]]]) -> list[int]:
    """Where each column of HEADER stands."""
    _, names = next(lines, (0, []))
    names = [name.casefold() for name in names]
    while names and not names[-1]:
        names.pop()
    if sorted(names) != sorted(HEADER):
        raise UserError(
            f"The first line of {path} does not name the columns of curves: make it "
            f"{','.join(HEADER)}."
        )
    return [names.index(name) for name in HEADER]


def _row(path: pathlib.Path, number: int, cells: Sequence[str], columns: list[int]) -> list[float]:
    """The time and the values of a line."""
    where = f"Line {number} of {path}"
    if len(cells) <= max(columns) or any(cells[len(columns) :]):
        raise UserError(f"{where} has not {len(HEADER)} values: complete it or remove it.")
    found = [_number(where, name, cells[column]) for name, column in zip(HEADER, columns)]
    found[1] = max(found[1], LOUDNESS_FLOOR_DB)
    for name, value, lowest, highest in zip(COLUMNS, found[1:], LOWEST, HIGHEST):
        if not lowest - ROUNDING <= value <= highest + ROUNDING:
            hint = " (69 is 440 Hz)" if name.endswith("semitones") else ""
            raise UserError(
                f"{where} has a {name} of {value:g}{hint}: set it from {lowest:g} to {highest:g}."
            )
    return found


def _number(where: str, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(
            f"{where} has a {name} of {cell[:40]!r}, which is no finite number: mend it."
        )
    return value


def _check_times(path: pathlib.Path, times_s: np.ndarray) -> None:
    if times_s[0] < 0:
        raise UserError(f"The times of {path} begin at {times_s[0]:g} s: begin them at 0 or later.")
    wrong = np.flatnonzero(np.diff(times_s) <= 0)
    if len(wrong):
        before_s, time_s = times_s[wrong[0] : wrong[0] + 2]
        raise UserError(
            f"The times of {path} do not increase: {time_s:g} s comes after {before_s:g} s."
        )


def _num_frames(path: pathlib.Path, times_s: np.ndarray) -> int:
    last_step_s = times_s[-1] - (times_s[-2] if len(times_s) > 1 else -times_s[-1])
    duration_s = times_s[-1] + last_step_s / 2
    # Compared as a float, for no time need be one that an integer holds.
    num_frames = np.round(duration_s / FRAME_S)
    if num_frames > LONGEST_FRAMES:
        raise UserError(
            f"The curves of {path} last {duration_s:g} s: make them {LONGEST_S} s at most."
        )
    return max(1, int(num_frames))
