"""Which files are imitations, which sounds they imitate, and what the model hears of them."""

import contextlib
import dataclasses
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from qvae_jax.audio import windows
from qvae_jax.audio.files import list_audio_files, read_audio
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data import layouts
from qvae_jax.data.index import Index, Pair
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.paths import local_path

STANDARD_INPUT = "-"
MOST_COMMAS = 64  # in one input's path
SILENT_PEAK = 1e-4  # -80 dBFS; quieter imitations are warned of
PROBE_S = 0.01  # read of each file before any work begins: enough to see most that is wrong


@dataclasses.dataclass(frozen=True)
class Source:
    """One imitation to read.

    Attributes:
        path: the file that is read.
        name: how the user named it, for messages and the manifest.
        stem: what its outputs are named after.
        reference: the sound it imitates, None where no data set says so.
    """

    path: pathlib.Path
    name: str
    stem: str
    reference: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Heard:
    """What the model hears of an imitation: samples [at most front_end.num_samples], and facts.

    Attributes:
        start_s: where in the file it begins.
        file_duration_s: of the whole file.
    """

    samples: np.ndarray
    start_s: float
    file_duration_s: float

    @property
    def silent(self) -> bool:
        """Whether no sample reaches -80 dBFS."""
        return float(np.abs(self.samples).max()) < SILENT_PEAK


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
    inputs: Sequence[str], output_dir: pathlib.Path, dataset_dir: pathlib.Path | None
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


def pair_sources(index: Index, pairs: Sequence[Pair]) -> list[Source]:
    """The imitations of some pairs of a data set, each with its reference."""
    return [
        Source(path, str(path), path.stem, index.reference_path(pair))
        for pair in pairs
        for path in [index.imitation_path(pair)]
    ]


def probe(source: Source, front_end_rate_hz: int) -> None:
    """Raises UserError where a look at the beginning of a file, or its reference, finds fault."""
    with _named(source):
        read_audio(source.path, front_end_rate_hz, max_duration_s=PROBE_S)
    if source.reference is not None:
        read_audio(source.reference, front_end_rate_hz, max_duration_s=PROBE_S)


def hear(source: Source, front_end: FrontEnd, window: str = "first") -> Heard:
    """What the model hears of an imitation: its first, or its loudest, front_end.duration_s."""
    with _named(source):
        file_duration_s = windows.duration_s(source.path)
        start_s = 0.0
        if window == "loudest" and file_duration_s > front_end.duration_s:
            start_s = windows.loudest_start_s(source.path, front_end.duration_s)
        samples = windows.read_window(
            source.path,
            front_end.sample_rate_hz,
            start_s=start_s,
            window_s=front_end.duration_s,
        )
    return Heard(samples, start_s, file_duration_s)


def _input_paths(inputs: Sequence[str], output_dir: pathlib.Path) -> list[pathlib.Path]:
    if not inputs or not all(inputs):
        raise UserError("--inputs is empty: name audio files, separated by commas, or a folder.")
    paths = []
    for item in map(pathlib.Path, inputs):
        paths += _files_in(item, output_dir.resolve()) if item.is_dir() else [item]
    return paths


def _files_in(folder: pathlib.Path, output_dir: pathlib.Path) -> list[pathlib.Path]:
    if folder.resolve() == output_dir:
        raise UserError(
            f"--output_dir is {folder}, the folder of the inputs, so that the next run would take "
            "the outputs for inputs: name another one."
        )
    found = list_audio_files(folder)
    paths = [path for path in found if not path.resolve().is_relative_to(output_dir)]
    if not paths:
        raise UserError(f"{folder} holds no audio file outside {output_dir}: name other inputs.")
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
    """Names standard input in an error's message, rather than the file it was read into."""
    try:
        yield
    except UserError as error:
        if source.name != STANDARD_INPUT:
            raise
        message = str(error).replace(str(source.path), "on standard input")
        raise UserError(message) from error
