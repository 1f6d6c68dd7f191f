"""Which files are imitations, which sounds they imitate, and what the model hears of them."""

import contextlib
import dataclasses
import glob
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from qvae_jax.audio import kinds, listing, windows
from qvae_jax.audio.controls import SAMPLE_RATE_HZ
from qvae_jax.audio.levels import SILENT_PEAK
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.audio.windows import Sound, Window, read_sound
from qvae_jax.data import layouts, names
from qvae_jax.data.catalogue import Catalogue
from qvae_jax.data.index import Index, Pair
from qvae_jax.generation import manifest
from qvae_jax.generation.steer_request import LONGEST_S
from qvae_jax.system import files
from qvae_jax.system.errors import Notice, UserError
from qvae_jax.system.paths import local_path

STANDARD_INPUT = "-"
MOST_COMMAS = 64  # in one input's path
PROBE_S = 0.01  # read of each file before any work begins: enough to see most that is wrong


@dataclasses.dataclass(frozen=True)
class Source:
    """One imitation to read.

    Attributes:
        path: the file that is read.
        name: how the user named it, for messages and the manifest.
        stem: what its outputs are named after.
        reference: the sound it imitates, None where no data set says so.
        window: the part of the file that is read, None for the whole.
    """

    path: pathlib.Path
    name: str
    stem: str
    reference: Sound | None = None
    window: Window | None = None

    @property
    def sound(self) -> Sound:
        """What is read: the file, or the part of it."""
        return self.window or self.path

    @property
    def is_sound(self) -> bool:
        """Whether it is heard as a sound: a window of a library, which is no voice's."""
        return self.window is not None


@dataclasses.dataclass(frozen=True)
class Heard:
    """What the model hears of an imitation: samples [at most front_end.num_samples], and facts.

    Attributes:
        start_s: where in the file it begins.
        file_duration_s: of the whole file.
        whole: up to the first 60 s of the recording at 22,050 Hz, of which curves are measured,
            where it is asked for.
    """

    samples: np.ndarray
    start_s: float
    file_duration_s: float
    whole: np.ndarray | None = None

    @property
    def silent(self) -> bool:
        """Whether it swings by no more than -80 dBFS around any constant, which nobody hears."""
        return float(np.ptp(self.samples)) / 2 < SILENT_PEAK


def split_inputs(text: str) -> list[str]:
    """The paths in `a.wav,b.flac`; a comma in the name of an existing file does not split it.

    Raises UserError for addresses, and for a ~ whose home folder is not known.
    """
    pieces, paths = text.split(","), []
    while pieces:
        longest = min(len(pieces), MOST_COMMAS + 1)
        candidates = [",".join(pieces[:count]).strip() for count in range(longest, 0, -1)]
        there = (path for path in candidates if os.path.exists(os.path.expanduser(path)))
        path = next(there, candidates[-1])
        paths.append(local_path(path))
        pieces = pieces[longest - candidates.index(path) :]
    return paths


@contextlib.contextmanager
def sources(
    inputs: Sequence[str], output_dir: pathlib.Path | None, dataset_dir: pathlib.Path | None
) -> Iterator[list[Source]]:
    """The imitations that inputs name: files, folders, or "-" alone for standard input.

    What lies in output_dir within a folder is none of them. Their references are those of the data
    sets that they lie in, or of the one in dataset_dir. Standard input is read into a temporary
    file, which is there until the block ends.
    """
    if list(inputs) == [STANDARD_INPUT]:
        with _standard_input() as path:
            yield [Source(path, STANDARD_INPUT, "stdin")]
        return
    if STANDARD_INPUT in inputs:
        raise UserError(
            "--inputs names - (standard input) beside others: give it alone, or write ./- for a "
            "file of that name."
        )
    paths = _input_paths(inputs, output_dir)
    yield [
        Source(path, str(path), path.stem, reference)
        for path, reference in zip(paths, layouts.find_references(paths, dataset_dir))
    ]


def pair_sources(index: Index | Catalogue, pairs: Sequence[Pair]) -> list[Source]:
    """The imitations of some pairs, or windows of a library, each with its reference."""
    return [
        Source(
            path=windows.file_of(heard),
            name=str(heard),
            stem=pathlib.PurePath(pair.imitation).stem,
            reference=index.reference_path(pair),
            window=heard if isinstance(heard, Window) else None,
        )
        for pair in pairs
        for heard in [index.imitation_path(pair)]
    ]


def probe(source: Source) -> None:
    """Raises UserError where a look at the beginning of a file, or its reference, finds fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)  # they come when all that is heard is read
        with _named(source):
            read_sound(source.sound, SAMPLE_RATE_HZ, max_duration_s=PROBE_S)
        if source.reference is not None:
            read_sound(source.reference, SAMPLE_RATE_HZ, max_duration_s=PROBE_S)


def hear(
    source: Source, front_end: FrontEnd, window: str = "first", *, whole: bool = False
) -> Heard:
    """What the model hears of an imitation: its first, or its loudest, front_end.duration_s.

    whole asks for the recording too. But for a loudest window, both are decoded at once.
    """
    heard_at = (front_end.sample_rate_hz, front_end.duration_s)
    whole_at = [(SAMPLE_RATE_HZ, LONGEST_S)] if whole else []
    with _named(source):
        file_duration_s = windows.duration_s(source.path)
        if window == "loudest" and source.window is None and file_duration_s > front_end.duration_s:
            start_s = windows.loudest_start_s(source.path, front_end.duration_s)
            rate_hz, window_s = heard_at
            samples = windows.read_window(source.path, rate_hz, start_s=start_s, window_s=window_s)
            recordings = windows.read_at_rates(source.path, whole_at) if whole else []
        else:
            start_s = 0.0 if source.window is None else source.window.start_s
            samples, *recordings = windows.read_at_rates(source.sound, [heard_at, *whole_at])
    return Heard(samples, start_s, file_duration_s, *recordings)


def _input_paths(inputs: Sequence[str], output_dir: pathlib.Path | None) -> list[pathlib.Path]:
    if not inputs or not all(inputs):
        raise UserError(
            "--inputs names nothing, or nothing beside a comma: name audio files, separated by "
            "commas, or a folder."
        )
    paths = []
    for item in inputs:
        for path in _named_paths(item):
            paths += _files_in(path, output_dir) if os.path.isdir(path) else [path]
    return paths


def _named_paths(item: str) -> list[pathlib.Path]:
    """What one input names: a path, in any Unicode form, or a pattern that no shell has expanded.

    Shells leave `--inputs=hums/*.wav` as it is.
    """
    if os.path.lexists(item):
        return [pathlib.Path(item)]
    if glob.has_magic(item):
        matched = sorted(filter(_is_visible, glob.glob(item, recursive=True)))
        if matched:
            return list(map(pathlib.Path, matched))
        raise UserError(f"--inputs: no file is named like the pattern {item!r}.")
    return [_as_spelt(pathlib.Path(item))]


def _is_visible(path: str) -> bool:
    return not listing.is_ignored(os.path.basename(path))


def _as_spelt(path: pathlib.Path) -> pathlib.Path:
    """A path that does not exist as its folder spells it; UserError where another name is meant."""
    try:
        present = sorted(os.listdir(path.parent))
    except OSError:
        return path  # what reads it says what is wrong
    same = [name for name in present if names.normal(name) == names.normal(path.name)]
    if len(same) == 1:
        return path.with_name(same[0])
    wanted = names.matching_name(path.name).casefold()
    alike = [name for name in present if names.matching_name(name).casefold() == wanted]
    if alike:
        raise UserError(
            f"The audio file {path} does not exist: did you mean {names.quoted(*alike)} beside it?"
        )
    return path


def _files_in(folder: pathlib.Path, output_dir: pathlib.Path | None) -> list[pathlib.Path]:
    if output_dir is not None and folder.resolve() == output_dir.resolve():
        raise UserError(
            f"--output_dir is {folder}, the folder of the inputs, so that the next run would take "
            "the outputs for inputs: name another one."
        )
    paths, left_out = listing.list_audio_files(folder, output_dir, manifest.is_in)
    for note in listing.notes(folder, left_out):
        print(note)
    return paths


@contextlib.contextmanager
def _standard_input() -> Iterator[pathlib.Path]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(
            "--inputs is - but nothing is piped into the command: write `… --inputs=- < hum.wav`."
        )
    with contextlib.ExitStack() as stack:
        with files.explaining_write_errors("the folder for temporary files (TMPDIR)"):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = pathlib.Path(folder) / "stdin"
        with files.explaining_write_errors(path):
            path.write_bytes(sys.stdin.buffer.read())
        yield path


@contextlib.contextmanager
def _named(source: Source) -> Iterator[None]:
    """Names standard input in errors and notices, rather than the file it was read into."""
    if source.name != STANDARD_INPUT:
        yield
        return
    try:
        with warnings.catch_warnings(record=True) as given:
            yield
    except UserError as error:
        command = kinds.how_to_convert(source.path)
        message = str(error).replace(command, "`ffmpeg -i FILE -f wav - | …`")
        message = message.replace(str(source.path), "on standard input")
        raise UserError(message) from error
    for warning in given:
        message = str(warning.message).replace(str(source.path), "on standard input")
        warnings.warn(message, warning.category, stacklevel=2)
