"""A report on a data set's health: its files, what is wrong with them, and what that leads to."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from qvae_jax.data.examine import Examination, examine_all
from qvae_jax.data.index import Index
from qvae_jax.data.library import PART, WINDOW_S, Library, read_library
from qvae_jax.data.problems import (
    LIBRARY_PROBLEMS,
    PROBLEMS,
    duplicate_groups,
    find_library_problems,
    find_problems,
)
from qvae_jax.data.vimsketch import (
    IMITATIONS_FOLDER,
    REFERENCES_FOLDER,
    Contents,
    read_contents,
    read_index,
)
from qvae_jax.models import decoders
from qvae_jax.system.errors import NUM_NAMES_SHOWN, UserError, counted, first_few
from qvae_jax.system.progress import progress_bar

PERCENTILES = (0, 1, 10, 50, 90, 99, 100)


def report_on(
    dataset_dir: str | os.PathLike,
    input_duration_s: float,
    require_split: Callable[[Index], object] = lambda index: None,
) -> dict:
    """Reads every file of a data set to its end and says what was found; changes nothing.

    Args:
        dataset_dir: the data set's folder.
        input_duration_s: how much of an imitation the encoder hears.
        require_split: raises UserError where a data set with this index cannot be split as wanted.

    Returns:
        JSON values: dataset_dir; verdict, whether prepare can begin; problems, each with its
        meaning, its consequence and its files as FOLDER/NAME; duplicates, in groups; parts, the
        counts and durations of each folder; files, the Examination of each.

    Raises:
        UserError: what read_contents raises.
    """
    folder = pathlib.Path(dataset_dir)
    contents = read_contents(folder)
    examined = _examined(folder, _paths(contents))
    found = find_problems(contents, examined)
    verdict, parts = _verdict(folder, found, require_split), parts_of(examined, input_duration_s)
    return _report(folder, verdict, PROBLEMS, found, parts, examined)


def report_on_library(sounds_dir: str | os.PathLike, windows_per_file: int) -> dict:
    """The same report of a sound library: every file read to its end, nothing changed.

    Its one part is "library", and its files are named by their paths in the folder. Raises
    UserError where the folder is missing or holds no sound.
    """
    library = read_library(sounds_dir)
    examined = _examined(library.directory, library.files)
    found = find_library_problems(library, examined)
    verdict = _library_verdict(library, found)
    parts = {PART: _part(examined.values(), windows_per_file * WINDOW_S)}
    return _report(library.directory, verdict, LIBRARY_PROBLEMS, found, parts, examined)


def _report(
    folder: pathlib.Path,
    verdict: str,
    problems: Mapping[str, tuple[str, str]],
    found: Mapping[str, list[str]],
    parts: Mapping[str, dict],
    examined: Mapping[str, Examination],
) -> dict:
    return {
        "dataset_dir": str(folder),
        "verdict": verdict,
        "problems": {
            problem: {"meaning": meaning, "consequence": consequence, "files": found[problem]}
            for problem, (meaning, consequence) in problems.items()
        },
        "duplicates": duplicate_groups(examined),
        "parts": parts,
        "files": {path: dataclasses.asdict(each) for path, each in examined.items()},
    }


def parts_of(examined: Mapping[str, Examination], input_duration_s: float) -> dict[str, dict]:
    """Counts and durations of the readable files of each folder, as JSON values.

    Args:
        examined: what reading each file showed, by FOLDER/NAME.
        input_duration_s: how much of an imitation the encoder hears.
    """
    target_s = decoders.NUM_SAMPLES / decoders.SAMPLE_RATE_HZ
    limits_s = {REFERENCES_FOLDER: target_s, IMITATIONS_FOLDER: input_duration_s}
    return {
        folder: _part([e for path, e in examined.items() if path.startswith(f"{folder}/")], limit_s)
        for folder, limit_s in limits_s.items()
    }


def _part(examined: Iterable[Examination], limit_s: float) -> dict:
    """Counts and durations of files that are cut at limit_s, as far as they are readable."""
    readable = [each for each in examined if each.fault is None]
    durations_s = np.array([each.duration_s for each in readable])
    percentiles_s = np.percentile(durations_s, PERCENTILES) if readable else []
    return {
        "num_files": len(readable),
        "total_duration_s": float(durations_s.sum()),
        "duration_percentiles_s": {
            str(percent): float(value)
            for percent, value in zip(PERCENTILES, percentiles_s, strict=False)
        },
        "cut_at_s": limit_s,
        "cut_share": float((durations_s > limit_s).mean()) if readable else 0.0,
        "sample_rates_hz": _counts(each.sample_rate_hz for each in readable),
        "channels": _counts(each.num_channels for each in readable),
        "encodings": _counts(each.encoding for each in readable),
    }


def lines_of(report: Mapping) -> list[str]:
    """The report in lines to print: the folders, each problem with its first files, the verdict."""
    lines = []
    for folder, part in report["parts"].items():
        lines += _lines_of_part(folder, part)
    for problem, entry in report["problems"].items():
        lines += _lines_of_problem(problem, entry, report["files"])
    return [*lines, report["verdict"]]


def _paths(contents: Contents) -> list[str]:
    """The files that count as FOLDER/NAME; each once, absent ones left out."""
    present = {folder: contents.files(folder) for folder in contents.present}
    return [
        f"{folder}/{name}"
        for folder, names in contents.names().items()
        for name in dict.fromkeys(names)
        if name in present[folder]
    ]


def _examined(directory: pathlib.Path, paths: Sequence[str]) -> dict[str, Examination]:
    """What reading each file shows, by its path in the directory."""
    results = examine_all([directory / path for path in paths])
    shown = progress_bar("reading", total=len(paths), unit="file", over=results)
    return dict(zip(paths, shown, strict=True))


def _verdict(
    folder: pathlib.Path,
    found: Mapping[str, list[str]],
    require_split: Callable[[Index], object],
) -> str:
    try:
        index = read_index(folder)
        require_split(index)
    except UserError as error:
        return f"prepare stops: {error}"
    if stopped := _stopped_by_files(found):
        return stopped
    pairs, sounds = counted(len(index.pairs), "pair"), counted(len(index.references), "sound")
    return f"prepare can begin: {pairs} of {sounds}."


def _library_verdict(library: Library, found: Mapping[str, list[str]]) -> str:
    if stopped := _stopped_by_files(found):
        return stopped
    num_files = len(library.files) - len({*found["silent"], *found["too_short"]})
    if not num_files:
        return "prepare stops: there is nothing to learn from."
    return f"prepare can begin: {counted(num_files, 'file')} to learn from."


def _stopped_by_files(found: Mapping[str, list[str]]) -> str | None:
    num_bad = len(found["unreadable"]) + len(found["not_finite"])
    if not num_bad:
        return None
    return (
        f"prepare stops at {counted(num_bad, 'file')}: replace them, or leave them out with "
        "--config.data.on_bad_file=report."
    )


def _counts(values: Iterable) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return {str(value): count for value, count in collections.Counter(values).most_common()}


def _lines_of_part(folder: str, part: Mapping) -> list[str]:
    percentiles = part["duration_percentiles_s"].items()
    durations = ", ".join(f"{percent} %: {value:.2f}" for percent, value in percentiles)
    counts = {
        name: ", ".join(f"{value}: {count}" for value, count in part[name].items())
        for name in ("sample_rates_hz", "channels", "encodings")
    }
    return [
        f"{folder}: {counted(part['num_files'], 'readable file')}, "
        f"{part['total_duration_s'] / 3600:.2f} h",
        *(f"  {name:<16} {count}" for name, count in counts.items()),
        f"  durations (s)    {durations}",
        f"  {part['cut_share']:.1%} are longer than {part['cut_at_s']:.2f} s and will be cut",
    ]


def _lines_of_problem(problem: str, entry: Mapping, files: Mapping[str, Mapping]) -> list[str]:
    paths = entry["files"]
    consequence = f": {entry['consequence']}" if paths else ""
    faults = [files[path]["fault"] for path in paths if files.get(path, {}).get("fault")]
    shown = [*faults[:NUM_NAMES_SHOWN], *(["…"] if len(faults) > NUM_NAMES_SHOWN else [])]
    if len(faults) < len(paths):
        shown = [first_few(paths)]
    return [
        f"{len(paths):>6} {problem:<18} {entry['meaning']}{consequence}",
        *(f"         {line}" for line in shown),
    ]
