"""Preparing log-mels beside a straightforward single process: librosa, then PyTorch.

    python -m benchmarks.prepare --num_imitations=1000 --num_rounds=3

The peer loads each file with librosa (whole, mono, 32 kHz), cuts or pads it to 10 s and computes
its log-mel with PyTorch, one file after the other, keeping float16. Ours is data/cache.py with all
that training needs: rows that are safely on disk, and a manifest. They take turns, in the reverse
order every other round. Each starts with an empty cache, and with the audio files in the system's
memory. Ours includes starting its processes, 0.4 s of a core each; importing counts for neither. On
a machine that others use, time on the cores says more than the wall clock. Training on a frozen
encoder caches features instead, and there the encoder takes nearly all of the time.
"""

import argparse
import pathlib
import resource
import shutil
import tempfile
import time

import librosa
import numpy as np
import torch

from benchmarks import torch_peer
from benchmarks.stand_in import write_stand_in
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data import reading, recipes
from qvae_jax.data.cache import cached_array
from qvae_jax.data.vimsketch import IMITATIONS_FOLDER

FRONT_END = FrontEnd()
LOG_MEL = torch_peer.log_mel_of(FRONT_END)


def straightforward(paths: list[pathlib.Path], num_threads: int) -> np.ndarray:
    """Log-mels, float16 [files, mels, frames], by one process that does one thing at a time.

    num_threads is for PyTorch; where other programs want the cores too, more than one is slower.
    """
    torch.set_num_threads(num_threads)
    rows = np.empty((len(paths), FRONT_END.num_mels, FRONT_END.num_frames), np.float16)
    for row, path in zip(rows, paths):
        samples, _ = librosa.load(path, sr=FRONT_END.sample_rate_hz)
        samples = librosa.util.fix_length(samples, size=FRONT_END.num_samples)
        row[:] = LOG_MEL(torch.from_numpy(samples)[None])[0]
    return rows


def ours(paths: list[pathlib.Path], folder: pathlib.Path, num_processes: int) -> np.ndarray:
    """The same rows by our cache, in a new folder."""
    recipe = recipes.logmels(FRONT_END)
    sources = {path.name: path for path in paths}
    return cached_array(folder / "logmels.npy", sources, recipe, num_processes=num_processes).array


def main() -> None:
    """Prints a line for each way: files a second, and the ratio to the peer's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_imitations", type=int, default=1000)
    parser.add_argument("--num_rounds", type=int, default=3)
    parser.add_argument("--dataset_dir", type=pathlib.Path, help="instead of a stand-in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        dataset_dir = given.dataset_dir or folder / "stand_in"
        if given.dataset_dir is None:
            write_stand_in(dataset_dir, given.num_imitations)
        paths = sorted((dataset_dir / IMITATIONS_FOLDER).iterdir())[: given.num_imitations]
        cores = reading.default_num_processes()
        ways = {
            "librosa and PyTorch, one thread": lambda _: straightforward(paths, 1),
            f"librosa and PyTorch, {cores} threads": lambda _: straightforward(paths, cores),
            "qvae_jax, one process reads": lambda cache: ours(paths, cache, 1),
            f"qvae_jax, {cores} processes read": lambda cache: ours(paths, cache, cores),
        }
        straightforward(paths[:5], 1)
        measured = {name: [] for name in ways}
        rows = {}
        for number in range(given.num_rounds):
            for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
                cache = folder / "cache"
                start_s, start_cpu_s = time.perf_counter(), _cpu_s()
                rows[name] = np.array(ways[name](cache))
                measured[name].append((time.perf_counter() - start_s, _cpu_s() - start_cpu_s))
                shutil.rmtree(cache, ignore_errors=True)
    _print_table(len(paths), given.num_rounds, measured, rows)


def _print_table(
    num_files: int,
    num_rounds: int,
    measured: dict[str, list[tuple[float, float]]],
    rows: dict[str, np.ndarray],
) -> None:
    """Prints a line for each way: files a second, time on the cores, and what differs in rows."""
    medians = {name: np.median(taken, axis=0) for name, taken in measured.items()}
    peer = min(list(medians)[:2], key=lambda name: medians[name][0])
    print(f"{num_files} files, medians of {num_rounds} rounds; the peer is {peer!r}")
    for name, (wall_s, cpu_s) in medians.items():
        largest = np.abs(rows[name].astype(np.float32) - rows[peer].astype(np.float32)).max()
        print(
            f"{name:32}{num_files / wall_s:7.1f} files/s, {medians[peer][0] / wall_s:5.2f} times "
            f"the peer; {1000 * cpu_s / num_files:6.2f} ms of a core for each file; "
            f"largest difference {largest:.1e}"
        )


def _cpu_s() -> float:
    """Seconds that this process, and those that it has waited for, have kept cores busy."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
