"""What may be wrong with a data set: a table of problems, and which files have each."""

import collections
from collections.abc import Callable, Mapping

from qvae_jax.audio import listing
from qvae_jax.audio.levels import LOUDEST_PEAK, SILENT_PEAK, is_beyond_scale
from qvae_jax.data import survey
from qvae_jax.data.examine import Examination
from qvae_jax.data.library import Library
from qvae_jax.data.names import matching_name, pairing_key
from qvae_jax.data.vimsketch import IMITATIONS_FOLDER, REFERENCES_FOLDER, Contents

SHORTEST_S = 0.1  # ten frames of the log-mel; a voice needs more to imitate anything
CLIPPED_SHARE = 1e-3  # every other recording has a few flat peaks; above this share they are heard
COMMON_RATES_HZ = (
    8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000,
)  # fmt: skip

# What a problem leads to: training cannot begin, the file is left out, or it takes part.
STOPS = "prepare stops"
STOPS_UNLESS = "prepare stops, or leaves them out with --config.data.on_bad_file=report"
LEFT_OUT = "left out"
CONVERT = "left out: convert them to WAV"
USED = "used as they are"
# What each problem means and what it leads to, in the order of the report.
PROBLEMS = {
    "unreadable": ("cannot be decoded to their end", STOPS_UNLESS),
    "not_finite": ("hold NaN, infinite or absurdly large samples", STOPS_UNLESS),
    "absent": ("listed, but not in their folder", STOPS),
    "listed_twice": ("imitations listed more than once", STOPS),
    "same_name": ("imitations with one name but for its suffix or Unicode form", STOPS),
    "without_key": ("nothing after the name's first underscore to pair them by", STOPS),
    "same_key": ("references with one key, so that imitations fit several", STOPS),
    "unlisted": ("in the folder, but not listed", LEFT_OUT),
    "foreign": ("of a kind that libsndfile does not read", CONVERT),
    "other_files": ("not named as sounds are", LEFT_OUT),
    "folders": ("folders within the folder, of which nothing is read", LEFT_OUT),
    "no_files": ("links that lead nowhere, and the like", LEFT_OUT),
    "without_reference": ("imitations of no sound that is here", LEFT_OUT),
    "without_imitation": ("references that nobody imitates", LEFT_OUT),
    "silent": (f"no sample above {SILENT_PEAK:g}, but for a constant", USED),
    "short": (f"shorter than {SHORTEST_S:g} s", USED),
    "beyond_scale": (f"peaks above {LOUDEST_PEAK:g}, where 1 is full scale", USED),
    "cancelled": ("channels that cancel each other: little is left of their mean", USED),
    "goes_on": ("more bytes behind the sound than the header states", USED),
    "clipped": (f"more than {CLIPPED_SHARE:.1%} of samples flat at full scale", USED),
    "multichannel": ("stereo or more: channels are averaged", USED),
    "odd_rate": ("sample rates that no device uses", USED),
    "duplicates": ("the same sound, sample for sample, as another file", USED),
}

# The same of a sound library, where there are no names to pair by.
_SAME_NAME = ("files with the name of another but for its suffix or Unicode form", LEFT_OUT)
_LINKED_FOLDERS = ("links to folders, which are not followed", LEFT_OUT)
_TOO_SHORT = (f"shorter than {survey.SHORTEST_S * 1000:g} ms", LEFT_OUT)
LIBRARY_PROBLEMS = {
    **{name: PROBLEMS[name] for name in ("unreadable", "not_finite", "foreign", "other_files")},
    "linked_folders": _LINKED_FOLDERS,
    "no_files": PROBLEMS["no_files"],
    "same_name": _SAME_NAME,
    "silent": (PROBLEMS["silent"][0], LEFT_OUT),
    "too_short": _TOO_SHORT,
    **{
        name: PROBLEMS[name]
        for name in ("short", "beyond_scale", "cancelled", "goes_on", "clipped", "multichannel")
    },
    "odd_rate": PROBLEMS["odd_rate"],
    "duplicates": (PROBLEMS["duplicates"][0], "used, and held out together if at all"),
}

_LEFT_OUT = (
    listing.UNLISTED, listing.FOREIGN, listing.OTHER_FILES, listing.FOLDERS, listing.NO_FILES,
)  # fmt: skip


def find_problems(contents: Contents, examined: Mapping[str, Examination]) -> dict[str, list[str]]:
    """The files, as FOLDER/NAME, that have each problem of PROBLEMS; empty lists where none has.

    Args:
        contents: what the data set lists and holds.
        examined: what reading each file showed, by FOLDER/NAME.
    """
    return (
        dict.fromkeys(_LEFT_OUT, [])
        | contents.left_out()
        | _list_problems(contents)
        | _pairing_problems(contents)
        | _sound_problems(examined)
    )


def find_library_problems(
    library: Library, examined: Mapping[str, Examination]
) -> dict[str, list[str]]:
    """The files of a library, by their names, that have each problem of LIBRARY_PROBLEMS."""
    too_short = [
        file
        for file, each in examined.items()
        if each.fault is None and each.duration_s < survey.SHORTEST_S
    ]
    found = {name: list(files) for name, files in library.left_out.items()}
    found |= {"same_name": list(library.same_name), "too_short": too_short}
    found |= _sound_problems(examined)
    return {problem: found.get(problem, []) for problem in LIBRARY_PROBLEMS}


def duplicate_groups(examined: Mapping[str, Examination]) -> list[list[str]]:
    """Groups of files with the same decoded sound, in the order of `examined`."""
    groups = collections.defaultdict(list)
    for path, each in examined.items():
        if each.fault is None:
            groups[each.sound_digest].append(path)
    return [group for group in groups.values() if len(group) > 1]


def _list_problems(contents: Contents) -> dict[str, list[str]]:
    problems = {"absent": [], "listed_twice": []}
    if contents.listed is None:
        return problems
    for folder, listed in contents.listed.items():
        present = contents.files(folder)
        problems["absent"] += [f"{folder}/{name}" for name in listed if name not in present]
    counts = collections.Counter(contents.listed[IMITATIONS_FOLDER])
    problems["listed_twice"] += [
        f"{IMITATIONS_FOLDER}/{name}" for name, count in counts.items() if count > 1
    ]
    return problems


def _pairing_problems(contents: Contents) -> dict[str, list[str]]:
    names = contents.names()
    keys = {folder: list(map(pairing_key, folder_names)) for folder, folder_names in names.items()}
    num_references = collections.Counter(keys[REFERENCES_FOLDER])
    imitated = set(keys[IMITATIONS_FOLDER])
    imitations = set(names[IMITATIONS_FOLDER])
    num_alike = collections.Counter(map(matching_name, imitations))

    def matching(folder: str, is_meant: Callable[[str], bool]) -> list[str]:
        pairs = zip(names[folder], keys[folder], strict=True)
        return [f"{folder}/{name}" for name, key in pairs if is_meant(key)]

    return {
        "without_key": [path for folder in names for path in matching(folder, lambda key: not key)],
        "same_name": [
            f"{IMITATIONS_FOLDER}/{name}"
            for name in sorted(imitations)
            if num_alike[matching_name(name)] > 1
        ],
        "same_key": matching(REFERENCES_FOLDER, lambda key: key and num_references[key] > 1),
        "without_reference": matching(
            IMITATIONS_FOLDER, lambda key: key and key not in num_references
        ),
        "without_imitation": matching(REFERENCES_FOLDER, lambda key: key and key not in imitated),
    }


def _sound_problems(examined: Mapping[str, Examination]) -> dict[str, list[str]]:
    readable = {path: each for path, each in examined.items() if each.fault is None}

    def matching(is_meant: Callable[[Examination], bool]) -> list[str]:
        return [path for path, each in readable.items() if is_meant(each)]

    return {
        "unreadable": [path for path in examined if path not in readable],
        "not_finite": matching(lambda each: not each.is_finite),
        "silent": matching(lambda each: each.is_finite and each.swing <= SILENT_PEAK),
        "short": matching(lambda each: each.duration_s < SHORTEST_S),
        "beyond_scale": matching(lambda each: is_beyond_scale(each.peak)),
        "cancelled": matching(lambda each: each.is_cancelled),
        "goes_on": matching(lambda each: each.goes_on),
        "clipped": matching(lambda each: each.clipped_share > CLIPPED_SHARE),
        "multichannel": matching(lambda each: each.num_channels > 1),
        "odd_rate": matching(lambda each: each.sample_rate_hz not in COMMON_RATES_HZ),
        "duplicates": [path for group in duplicate_groups(examined) for path in group[1:]],
    }
