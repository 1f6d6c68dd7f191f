"""A sound library: any folder of sounds, which a model learns to make from themselves.

Its rows are windows of its files, as long as the decoder's sound, one after the other. The encoder
hears a window itself, and the same window is the target.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from qvae_jax.audio import listing
from qvae_jax.audio.windows import Window
from qvae_jax.data import survey
from qvae_jax.data.cache import CachedArray, Recipe
from qvae_jax.data.index import Pair
from qvae_jax.data.names import matching_name
from qvae_jax.models import decoders
from qvae_jax.system.errors import UserError, counted, first_few

PART = "library"  # of a split: what is held out of a library
WINDOW_S = decoders.NUM_SAMPLES / decoders.SAMPLE_RATE_HZ

# Why a file of a library takes no part, as left_out of a split says it.
SILENT, TOO_SHORT = "silent", f"shorter than {survey.SHORTEST_S * 1000:g} ms"


@dataclasses.dataclass(frozen=True)
class LibraryRow(Pair):
    """One window of a file of a library, its own imitation and reference; key is the file's name.

    Attributes:
        window: where it lies.
        number: which window of its file it is, from 1.
    """

    window: Window
    number: int


@dataclasses.dataclass(frozen=True)
class Library:
    """What a folder of sounds holds.

    Attributes:
        directory: the folder.
        files: names of its sounds, which are their paths in it, with /.
        left_out: what else lies there, as listing.notes takes it.
        same_name: the files that have the name of one of `files` but for suffix or Unicode form.
    """

    directory: pathlib.Path
    files: tuple[str, ...]
    left_out: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    same_name: tuple[str, ...] = ()

    def path(self, file: str) -> pathlib.Path:
        """Where a file lies."""
        return self.directory / file

    def row(self, file: str, number: int) -> LibraryRow:
        """A window of a file, counted from 1."""
        name = row_name(file, number)
        window = Window(self.path(file), (number - 1) * WINDOW_S, WINDOW_S)
        return LibraryRow(name, name, file, window, number)

    def rows(self, windows: Mapping[str, Sequence[int]]) -> tuple[LibraryRow, ...]:
        """The windows of each file, by their numbers."""
        return tuple(self.row(file, number) for file in windows for number in windows[file])

    def notes(self) -> list[str]:
        """A line to print for each kind of file that is here and takes no part."""
        lines = listing.notes(self.directory, self.left_out)
        if self.same_name:
            lines.append(
                f"left out of {self.directory}: {counted(len(self.same_name), 'file')} with the name "
                f"of another but for its suffix or Unicode form ({first_few(self.same_name)})"
            )
        return lines


def row_name(file: str, number: int) -> str:
    """The name of a window of a file: `drums/kick (2).wav` of the second one of `drums/kick.wav`."""
    # Every row's name has a number, so two rows have one name only if they are one.
    path = pathlib.PurePosixPath(file)
    return str(path.with_name(f"{path.stem} ({number}){path.suffix}"))


def read_library(sounds_dir: str | os.PathLike, outside: pathlib.Path | None = None) -> Library:
    """What a folder of sounds, and the folders below it, hold; `outside` is not looked into.

    Raises UserError where the folder does not exist, cannot be read or holds no sound.
    """
    directory = pathlib.Path(sounds_dir)
    try:
        paths, left_out = listing.list_audio_files(directory, outside)
    except UserError as error:
        raise UserError(f"data.sounds_dir: {error}") from error
    names: dict[str, str] = {}
    files = [path.relative_to(directory).as_posix() for path in paths]
    same_name = [name for name in files if names.setdefault(matching_name(name), name) != name]
    return Library(directory, tuple(names.values()), left_out, tuple(same_name))


@dataclasses.dataclass(frozen=True)
class Surveyed:
    """What there is to learn from in a library.

    Attributes:
        library: the library.
        windows: numbers of the audible windows of each file that has any.
        sounds: what tells the sound of each of these files, as survey.record says.
        left_out: why the others take no part, by their names.
        num_silent: the silent windows of the files that have audible ones.
        num_longer: files that go on behind their last window.
    """

    library: Library
    windows: dict[str, tuple[int, ...]]
    sounds: dict[str, str]
    left_out: dict[str, str]
    num_silent: int
    num_longer: int

    def split(
        self, train_ratio: float, held_out: Collection[str] = ()
    ) -> tuple[tuple[LibraryRow, ...], tuple[LibraryRow, ...]]:
        """The rows to learn from and those held out, by file; files of one sound stay together.

        Where a file goes depends on its sound alone, so that files that are added move none. A
        single sound is learnt from.

        Args:
            train_ratio: about which share of the files to learn from, 0 to 1.
            held_out: sounds that are never learnt from.
        """
        alone = len(set(self.sounds.values())) == 1

        def learnt(file: str) -> bool:
            sound = self.sounds[file]
            return sound not in held_out and (alone or _place(sound) < train_ratio)

        parts = {True: {}, False: {}}
        for file, numbers in self.windows.items():
            parts[learnt(file)][file] = numbers
        return self.library.rows(parts[True]), self.library.rows(parts[False])

    def notes(self) -> list[str]:
        """What is left out of the library, in lines to print."""
        told = []
        for reason, what in ((SILENT, "of silence"), (TOO_SHORT, TOO_SHORT)):
            files = [file for file, why in self.left_out.items() if why == reason]
            if files:
                told.append(f"{counted(len(files), 'file')} {what} ({first_few(files)})")
        if self.num_silent:
            told.append(f"{counted(self.num_silent, 'silent window')} of other files")
        if self.num_longer:
            told.append(
                f"what lies behind the last window of {counted(self.num_longer, 'file')} "
                "(data.windows_per_file)"
            )
        lines = [f"left out of {self.library.directory}: {what}" for what in told]
        unreadable = {f: why for f, why in self.left_out.items() if why not in (SILENT, TOO_SHORT)}
        return lines + [f"left out {file}: {why}" for file, why in unreadable.items()]


def survey_recipe(windows_per_file: int) -> Recipe:
    """Files as what they hold, a survey.record each."""
    return Recipe(
        load=functools.partial(survey.survey, window_s=WINDOW_S, windows_per_file=windows_per_file),
        transform=np.stack,
        row_shape=(),
        dtype=survey.record(windows_per_file),
        parameters={
            "survey_version": survey.VERSION,
            "window_s": WINDOW_S,
            "windows_per_file": windows_per_file,
        },
    )


def surveyed(library: Library, records: CachedArray) -> Surveyed:
    """What there is to learn from, by the records of the library's files.

    Raises UserError where that is nothing.
    """
    windows, sounds, left_out = {}, {}, dict(records.bad)
    num_silent = num_longer = 0
    for file, row in records.rows.items():
        record = records.array[row]
        kinds = record["windows"].tolist()
        if survey.AUDIBLE in kinds:
            windows[file] = tuple(n for n, kind in enumerate(kinds, 1) if kind == survey.AUDIBLE)
            sounds[file] = record["sound"].decode()
            num_silent += kinds.count(survey.SILENT)
            num_longer += bool(record["goes_on"])
        else:
            left_out[file] = TOO_SHORT if kinds[0] == survey.TOO_SHORT else SILENT
    found = Surveyed(library, windows, sounds, left_out, num_silent, num_longer)
    if not windows:
        raise UserError(
            f"The sound library {library.directory} holds nothing to learn from: of "
            f"{counted(len(library.files), 'file')} {_counts(left_out)}. Give a folder of sounds "
            "that can be heard in data.sounds_dir."
        )
    return found


def _place(sound: str) -> float:
    """A number from 0 up to 1 that depends on a sound alone."""
    return int(sound[:13], 16) / 16**13


def _counts(left_out: Mapping[str, str]) -> str:
    """How many files are left out for which reason."""
    reasons = list(left_out.values())
    counts = {
        "silent": reasons.count(SILENT),
        TOO_SHORT: reasons.count(TOO_SHORT),
        "unreadable": sum(reason not in (SILENT, TOO_SHORT) for reason in reasons),
    }
    return " and ".join(
        f"{count} {'is' if count == 1 else 'are'} {reason}"
        for reason, count in counts.items()
        if count
    )
