"""A stand-in for VimSketch of any size: real names, cheap audio of realistic durations.

    python -m benchmarks.stand_in FOLDER --num_imitations=12453

A few hundred sounds are synthesised, and each name is a hard link to one of them, so that the full
size takes only seconds and a few hundred megabytes. Time and memory measured on it are right,
because they depend on the numbers of files, samples and rows. Only the disk's own speed is not
measured: so few files stay in the system's memory.
"""

import argparse
import os
import pathlib

import numpy as np
import soundfile

from qvae_jax.data.vimsketch import (
    IMITATIONS_FOLDER,
    IMITATIONS_LIST,
    REFERENCES_FOLDER,
    REFERENCES_LIST,
)

NAMES_DIR = pathlib.Path(__file__).resolve().parents[2] / "shared" / "vimsketch_names"
FULL_SIZE = 12_453  # imitations, of 542 references
IMITATIONS_PER_SOUND = 18  # among the names invented beyond the end of the real list
NUM_SOUNDS = 300  # different ones in each folder
SAMPLE_RATES_HZ = (44_100, 48_000)
# Durations at these shares of all files, joined by straight lines. Extremes, medians and the
# imitations' 90th percentile are VimSketch's.
SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
IMITATION_DURATIONS_S = (0.05, 1.5, 4.4, 10.7, 46.8)
REFERENCE_DURATIONS_S = (0.08, 1.2, 4.2, 9.0, 15.4)


def write_stand_in(
    folder: pathlib.Path,
    num_imitations: int = FULL_SIZE,
    *,
    names_dir: pathlib.Path = NAMES_DIR,
    num_sounds: int = NUM_SOUNDS,
) -> None:
    """Lays out a data set of num_imitations imitations and the references that they imitate.

    Args:
        folder: where to.
        num_imitations: the first ones of the real list; beyond its end, invented names follow.
        names_dir: the folder that holds VimSketch's lists of names.
        num_sounds: how many different sounds each of the two folders holds.
    """
    references, imitations = names(names_dir, num_imitations)
    parts = (
        (REFERENCES_FOLDER, REFERENCES_LIST, references, REFERENCE_DURATIONS_S),
        (IMITATIONS_FOLDER, IMITATIONS_LIST, imitations, IMITATION_DURATIONS_S),
    )
    for seed, (name, list_name, listed, durations_s) in enumerate(parts):
        rng = np.random.default_rng(seed)
        sounds = folder / "sounds" / name
        sounds.mkdir(parents=True)
        (folder / name).mkdir()
        count = min(num_sounds, len(listed))
        for number in range(count):
            duration_s = np.interp((number + 0.5) / count, SHARES, durations_s)
            rate_hz = SAMPLE_RATES_HZ[number % len(SAMPLE_RATES_HZ)]
            samples = _sound(rng, round(duration_s * rate_hz), rate_hz)
            soundfile.write(sounds / f"{number}.wav", samples, rate_hz, subtype="PCM_16")
        for linked, number in zip(listed, rng.integers(0, count, len(listed))):
            os.link(sounds / f"{number}.wav", folder / name / linked)
        (folder / list_name).write_text("".join(f"{line}\n" for line in listed), "utf-8")


def names(names_dir: pathlib.Path, num_imitations: int) -> tuple[list[str], list[str]]:
    """File names of the references and of the imitations, in the lists' order."""
    references, imitations = (
        (names_dir / name).read_text("utf-8").split("\n")[:-1]
        for name in (REFERENCES_LIST, IMITATIONS_LIST)
    )
    num_real, num_sounds = len(imitations), len(references)
    for number in range(num_real, num_imitations):
        sound = num_sounds + 1 + (number - num_real) // IMITATIONS_PER_SOUND
        imitations.append(f"{number + 1:05d}_stand-in, sound {sound}.wav")
        if (number - num_real) % IMITATIONS_PER_SOUND == 0:
            references.append(f"{sound:03d}_stand-in, sound {sound}.wav")
    imitations = imitations[:num_imitations]
    keys = {name.partition("_")[2] for name in imitations}
    return [name for name in references if name.partition("_")[2] in keys], imitations


def _sound(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """A decaying tone in noise [samples]: no measurement depends on what sounds are like."""
    time_s = np.arange(num_samples) / sample_rate_hz
    tone = np.sin(2 * np.pi * rng.uniform(80, 2000) * time_s) * np.exp(-time_s)
    return 0.4 * tone + 0.05 * rng.standard_normal(num_samples)


def main() -> None:
    """Writes a stand-in, and says where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--num_imitations", type=int, default=FULL_SIZE)
    given = parser.parse_args()
    write_stand_in(given.folder, given.num_imitations)
    print(f"{given.num_imitations} imitations and their references in {given.folder}")


if __name__ == "__main__":
    main()
