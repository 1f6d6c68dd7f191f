"""`--mode=doctor`: what is wrong with a data set, told before training meets it."""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Iterable

import ml_collections
import numpy as np

from qvae_jax.audio.files import is_audio_file_name
from qvae_jax.data.examine import Examination, examine_all
from qvae_jax.data.vimsketch import (
    IMITATIONS_FOLDER,
    REFERENCES_FOLDER,
    Contents,
    pairing_key,
    read_contents,
    read_index,
)
from qvae_jax.models import decoders
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

REPORT_FILE = "report.json"
# The loss's silence threshold: of such a sound nothing counts. -80 dB below full scale.
SILENT_PEAK = 1e-4
SHORTEST_S = 0.1  # ten frames of the log-mel; a voice needs more to imitate anything
CLIPPED_SHARE = 1e-3  # a few flat peaks are in every other recording; from here on they are heard
COMMON_RATES_HZ = (
    8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000,
)  # fmt: skip
PERCENTILES = (0, 1, 10, 50, 90, 99, 100)
NUM_NAMES_SHOWN = 3

# What is done about each problem: training cannot begin; the file is left out; it takes part.
STOPS = "prepare stops"
STOPS_UNLESS = "prepare stops, or leaves them out with --config.data.on_bad_file=report"
LEFT_OUT = "left out"
USED = "used as they are"
# Each problem's meaning and what becomes of such files, in the order of the report.
PROBLEMS = {
    "unreadable": ("cannot be decoded to their end", STOPS_UNLESS),
    "not_finite": ("hold NaN, infinite or absurdly large samples", STOPS_UNLESS),
    "absent": ("listed, but not in their folder", STOPS),
    "listed_twice": ("imitations listed more than once", STOPS),
    "without_key": ("nothing after the name's first underscore to pair them by", STOPS),
    "same_key": ("references with one key, so that imitations fit several", STOPS),
    "unlisted": ("in the folder, but not listed", LEFT_OUT),
    "without_reference": ("imitations of no sound that is here", LEFT_OUT),
    "without_imitation": ("references that nobody imitates", LEFT_OUT),
    "silent": (f"no sample above {SILENT_PEAK:g}", USED),
    "short": (f"shorter than {SHORTEST_S:g} s", USED),
    "clipped": (f"more than {CLIPPED_SHARE:.1%} of samples flat at full scale", USED),
    "multichannel": ("stereo or more: channels are averaged", USED),
    "odd_rate": ("sample rates that no device uses", USED),
    "duplicates": ("the same sound, sample for sample, as another file", USED),
}


def run(config: ml_collections.ConfigDict, output_dir: str | None = None) -> dict:
    """Reads the whole data set in data.dataset_dir, prints what is found, and changes nothing.

    Args:
        config: of which data.dataset_dir and data.input_duration_s are used.
        output_dir: where to write the whole report, with all names and numbers, as report.json.

    Returns:
        The report: JSON values.

    Raises:
        UserError: what read_contents raises; output_dir is in the data set or cannot be written.
    """
    if not config.data.dataset_dir:
        raise UserError(
            "data.dataset_dir is empty: name the data set's folder with "
            "--config.data.dataset_dir=FOLDER."
        )
    folder = pathlib.Path(config.data.dataset_dir)
    if output_dir is not None:
        _require_outside(pathlib.Path(output_dir), folder)
    contents = read_contents(folder)
    names = _names(contents)
    examined = _examined(folder, names, contents)
    found = _list_problems(contents) | _pairing_problems(names) | _sound_problems(examined)
    report = {
        "dataset_dir": str(folder),
        "verdict": _verdict(folder, found),
        "problems": {
            problem: {"meaning": meaning, "consequence": consequence, "files": found[problem]}
            for problem, (meaning, consequence) in PROBLEMS.items()
        },
        "duplicates": _duplicates(examined),
        "parts": _parts(examined, config.data.input_duration_s),
        "files": {path: dataclasses.asdict(each) for path, each in examined.items()},
    }
    _print(report)
    if output_dir is not None:
        path = pathlib.Path(output_dir) / REPORT_FILE
        files.write_json(path, report)
        print(f"all names and numbers: {path}")
    return report


def _require_outside(output_dir: pathlib.Path, folder: pathlib.Path) -> None:
    if output_dir.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"--output_dir={output_dir} is in the data set, which is left as it is: name another."
        )


def _names(contents: Contents) -> dict[str, list[str]]:
    """The names that prepare would take, by folder: the listed ones, or all audio files."""
    if contents.listed is not None:
        return contents.listed
    return {
        folder: sorted(filter(is_audio_file_name, present))
        for folder, present in contents.present.items()
    }


def _examined(
    directory: pathlib.Path, names: dict[str, list[str]], contents: Contents
) -> dict[str, Examination]:
    """What reading each file shows, by FOLDER/NAME; each once, absent ones left out."""
    paths = [
        f"{folder}/{name}"
        for folder, folder_names in names.items()
        for name in dict.fromkeys(folder_names)
        if name in contents.present[folder]
    ]
    results = examine_all([directory / path for path in paths])
    shown = progress_bar("reading", total=len(paths), unit="file", over=results)
    return dict(zip(paths, shown, strict=True))


def _list_problems(contents: Contents) -> dict[str, list[str]]:
    problems = {"absent": [], "unlisted": [], "listed_twice": []}
    if contents.listed is None:
        return problems
    for folder, listed in contents.listed.items():
        present = contents.present[folder]
        visible = sorted(name for name in present if not name.startswith("."))
        named = set(listed)
        problems["absent"] += [f"{folder}/{name}" for name in listed if name not in present]
        problems["unlisted"] += [f"{folder}/{name}" for name in visible if name not in named]
    counts = collections.Counter(contents.listed[IMITATIONS_FOLDER])
    problems["listed_twice"] += [
        f"{IMITATIONS_FOLDER}/{name}" for name, count in counts.items() if count > 1
    ]
    return problems


def _pairing_problems(names: dict[str, list[str]]) -> dict[str, list[str]]:
    keys = {folder: list(map(pairing_key, folder_names)) for folder, folder_names in names.items()}
    num_references = collections.Counter(keys[REFERENCES_FOLDER])
    imitated = set(keys[IMITATIONS_FOLDER])

    def matching(folder: str, is_meant: Callable[[str], bool]) -> list[str]:
        pairs = zip(names[folder], keys[folder], strict=True)
        return [f"{folder}/{name}" for name, key in pairs if is_meant(key)]

    return {
        "without_key": [path for folder in names for path in matching(folder, lambda key: not key)],
        "same_key": matching(REFERENCES_FOLDER, lambda key: key and num_references[key] > 1),
        "without_reference": matching(
            IMITATIONS_FOLDER, lambda key: key and key not in num_references
        ),
        "without_imitation": matching(REFERENCES_FOLDER, lambda key: key and key not in imitated),
    }


def _sound_problems(examined: dict[str, Examination]) -> dict[str, list[str]]:
    readable = {path: each for path, each in examined.items() if each.fault is None}

    def matching(is_meant: Callable[[Examination], bool]) -> list[str]:
        return [path for path, each in readable.items() if is_meant(each)]

    return {
        "unreadable": [path for path in examined if path not in readable],
        "not_finite": matching(lambda each: not each.is_finite),
        "silent": matching(lambda each: each.is_finite and each.peak <= SILENT_PEAK),
        "short": matching(lambda each: each.duration_s < SHORTEST_S),
        "clipped": matching(lambda each: each.clipped_share > CLIPPED_SHARE),
        "multichannel": matching(lambda each: each.num_channels > 1),
        "odd_rate": matching(lambda each: each.sample_rate_hz not in COMMON_RATES_HZ),
        "duplicates": [path for group in _duplicates(examined) for path in group[1:]],
    }


def _duplicates(examined: dict[str, Examination]) -> list[list[str]]:
    """Groups of files with the same decoded sound, the first in order first."""
    groups = collections.defaultdict(list)
    for path, each in examined.items():
        if each.fault is None:
            groups[each.sound_digest].append(path)
    return [group for group in groups.values() if len(group) > 1]


def _verdict(folder: pathlib.Path, found: dict[str, list[str]]) -> str:
    try:
        index = read_index(folder)
    except UserError as error:
        return f"prepare stops: {error}"
    num_bad = len(found["unreadable"]) + len(found["not_finite"])
    if num_bad:
        return (
            f"prepare stops at {num_bad} files: replace them, or leave them out with "
            "--config.data.on_bad_file=report."
        )
    return f"prepare can begin: {len(index.pairs)} pairs of {len(index.references)} sounds."


def _parts(examined: dict[str, Examination], input_duration_s: float) -> dict[str, dict]:
    """Counts and durations of the readable files of each folder."""
    target_s = decoders.NUM_SAMPLES / decoders.SAMPLE_RATE_HZ
    parts = {}
    for folder, limit_s in ((REFERENCES_FOLDER, target_s), (IMITATIONS_FOLDER, input_duration_s)):
        readable = [
            each
            for path, each in examined.items()
            if path.startswith(f"{folder}/") and each.fault is None
        ]
        durations_s = np.array([each.duration_s for each in readable])
        percentiles_s = np.percentile(durations_s, PERCENTILES) if readable else []
        parts[folder] = {
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
    return parts


def _counts(values: Iterable) -> dict[str, int]:
    """How often each value comes, the most frequent first."""
    return {str(value): count for value, count in collections.Counter(values).most_common()}


def _print(report: dict) -> None:
    for folder, part in report["parts"].items():
        print(
            f"{folder}: {part['num_files']} readable files, {part['total_duration_s'] / 3600:.2f} h"
        )
        for name in ("sample_rates_hz", "channels", "encodings"):
            counts = ", ".join(f"{value}: {count}" for value, count in part[name].items())
            print(f"  {name:<16} {counts}")
        percentiles = part["duration_percentiles_s"].items()
        shown = ", ".join(f"{percent} %: {value:.2f}" for percent, value in percentiles)
        print(f"  durations (s)    {shown}")
        print(f"  {part['cut_share']:.1%} are longer than {part['cut_at_s']:.2f} s and will be cut")
    for problem, entry in report["problems"].items():
        print(f"{len(entry['files']):>6} {problem:<18} {entry['meaning']}" + _outcome(entry))
        for path in entry["files"][:NUM_NAMES_SHOWN]:
            print("         " + (report["files"].get(path, {}).get("fault") or path))
        if len(entry["files"]) > NUM_NAMES_SHOWN:
            print("         …")
    print(report["verdict"])


def _outcome(entry: dict) -> str:
    return f": {entry['consequence']}" if entry["files"] else ""
