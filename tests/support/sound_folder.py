"""Folders of short sounds for tests of a sound library."""

import pathlib

import numpy as np
import soundfile

RATE_HZ = 22_050


def noise(seed: int, duration_s: float) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(duration_s * RATE_HZ))


def write_samples(path: pathlib.Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Opened here, as libsndfile takes no name that is not UTF-8.
    with open(path, "wb") as file:
        soundfile.write(file, samples, RATE_HZ, format=path.suffix[1:])


def write(folder: pathlib.Path, **durations_s: float) -> pathlib.Path:
    """Writes NAME.wav for each name, noise of its own that lasts so long; gives the folder."""
    for name, duration_s in durations_s.items():
        seed = list(name.encode())
        write_samples(folder / f"{name}.wav", noise(seed, duration_s))
    return folder
