"""Indexing a library beside librosa and PyTorch one by one; and a query to a large index.

    python -m benchmarks.search --num_sounds=2000 --num_rounds=1
    python -m benchmarks.search --query --num_rows=100000

The peer loads each file with librosa (whole, mono, 32 kHz), cuts or pads it to 10 s, and computes
its log-mel and mn10's pooled features with PyTorch, one file after the other, by one thread or one for
each core, of which the faster counts. Ours is retrieval/index.py with all that a search needs:
digests, and an index that is safely on disk, in a new folder each time. They take turns. Ours
includes starting the processes that read; importing and compiling count for neither.

The query is measured in a process of its own, to an index of random embeddings on disk: opening it,
hearing ten seconds and finding ten sounds, the peak of memory, and whether ranks are those of one
plain product in float64.
"""

import argparse
import functools
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data.reading import default_num_processes
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.retrieval import index, parts, search
from qvae_jax.retrieval.encoders import Encoder
from qvae_jax.retrieval.lengths import NUM_LENGTHS
from qvae_jax.retrieval.parts import Entry
from qvae_jax.system import caches
from qvae_jax.system.errors import counted

FRONT_END = FrontEnd()
DIM = 960  # of mn10
ABOUT = {"version": index.VERSION, "encoder": "e" * 64, "dim": DIM, "library": "/stand-in"}
BLOCK = 10_000
NUM_QUERIES = 20


def drawn(width: float = 1.0) -> tuple[QVAEConfig, Variables]:
    """An encoder of random weights."""
    config = QVAEConfig(encoder_width=width)
    network = encoder_network(config, rng=np.random.default_rng(0))
    return config, variables.split(network)[1]


def straightforward(
    paths: list[pathlib.Path], config: QVAEConfig, given: Variables, num_threads: int
) -> np.ndarray:
    """Embeddings [files, dim] by one process that does one thing at a time."""
    import librosa
    import torch

    from benchmarks import torch_peer
    from weight_port import to_torch

    torch.set_num_threads(num_threads)
    state = to_torch.encoder_state_dict(given, config.encoder_width)
    log_mel = torch_peer.log_mel_of(FRONT_END)
    rows = []
    with torch.inference_mode():
        for path in paths:
            samples, _ = librosa.load(path, sr=FRONT_END.sample_rate_hz)
            samples = librosa.util.fix_length(samples, size=FRONT_END.num_samples)
            rows.append(torch_peer.features(state, log_mel(torch.from_numpy(samples)[None]))[0])
    return torch.stack(rows).numpy()


def ours(library: pathlib.Path, encoder: Encoder, cache: pathlib.Path) -> np.ndarray:
    """The same rows by our index, in a new cache folder."""
    os.environ[caches.VARIABLE] = str(cache)
    return index.indexed(library, encoder).embeddings


def write_large(num_rows: int) -> None:
    """An index of random embeddings, where ABOUT says."""
    folder = index.folder_of(ABOUT)
    folder.mkdir(parents=True)
    entries = [Entry(f"{n % 100}/sound_{n}.wav", n, n, f"{n:064x}", 1.0) for n in range(num_rows)]
    rng = np.random.default_rng(0)

    def blocks():
        for first in range(0, num_rows, BLOCK):
            block = rng.standard_normal((min(BLOCK, num_rows - first), DIM), np.float32)
            yield block / np.linalg.norm(block, axis=1, keepdims=True)

    parts.write(folder, ABOUT, entries, blocks())


def query() -> None:
    """Prints what a query to the index of write_large takes."""
    start_s = time.perf_counter()
    (whole,), _ = parts.read(index.folder_of(ABOUT), ABOUT)
    opened_s = time.perf_counter() - start_s
    encoder, rng = Encoder(*drawn()), np.random.default_rng(1)
    hums = rng.uniform(-0.5, 0.5, (1 + NUM_QUERIES, FRONT_END.num_samples)).astype(np.float32)
    encoder.embed(hums[:1], [""], 1)  # compiles
    queries, heard_s, taken_s, found = [], [], [], []
    for hum in hums[1:]:
        start_s = time.perf_counter()
        queries.append(encoder.embed([hum], [""], 1)[0])
        heard_s.append(time.perf_counter() - start_s)
        found.append(search.nearest(queries[-1][None], whole.embeddings, 10)[0][0])
        taken_s.append(time.perf_counter() - start_s - heard_s[-1])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    same = 0
    for one, rows in zip(queries, found):
        plain = np.concatenate(
            [
                whole.embeddings[first : first + BLOCK].astype(np.float64) @ one.astype(np.float64)
                for first in range(0, len(whole.entries), BLOCK)
            ]
        )
        same += np.array_equal(rows, np.argsort(-plain, kind="stable")[:10])
    print(
        f"{len(whole.entries)} sounds: opened in {opened_s:.2f} s; of {NUM_QUERIES} queries, mn10 "
        f"heard one in {1e3 * np.median(heard_s):.0f} ms, and it was found in "
        f"{1e3 * np.median(taken_s):.0f} ms (slowest {1e3 * max(taken_s):.0f} ms); peak memory "
        f"{peak_mb:.0f} MB; "
        f"ranks of {same} of {NUM_QUERIES} are those of a plain product"
    )


def compare(num_sounds: int, num_rounds: int, library: pathlib.Path | None) -> None:
    """Prints a line for each way of indexing: files a second, and the ratio to the peer's."""
    from benchmarks.stand_in import write_stand_in

    config, given = drawn()
    encoder = Encoder(config, given)
    for step in range(1, NUM_LENGTHS + 1):  # compiles
        silence = np.zeros(FRONT_END.num_samples * step // NUM_LENGTHS, np.float32)
        encoder.embed([silence], [""], index.BATCH_SIZE)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if library is None:
            write_stand_in(folder / "stand_in", num_sounds)
            library = folder / "stand_in" / "vocal_imitations"
        paths = sorted(path for path in library.rglob("*") if path.suffix in (".wav", ".flac"))
        straightforward(paths[:3], config, given, 1)
        cores = default_num_processes()
        ways = {
            f"librosa and PyTorch, {counted(count, 'thread')}": functools.partial(
                lambda cache, count: straightforward(paths, config, given, count), count=count
            )
            for count in dict.fromkeys((1, cores))
        }
        ways["qvae_jax"] = lambda cache: ours(library, encoder, cache)
        taken_s, rows = {name: [] for name in ways}, {}
        for number in range(num_rounds):
            for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
                start_s = time.perf_counter()
                rows[name] = np.array(ways[name](folder / f"cache_{number}"))
                taken_s[name].append(time.perf_counter() - start_s)
    medians = {name: np.median(seconds) for name, seconds in taken_s.items()}
    peer = min(list(ways)[:-1], key=medians.get)
    largest = np.abs(rows[peer] - rows["qvae_jax"]).max()
    print(
        f"{len(paths)} sounds, medians of {num_rounds} rounds; the peer is {peer!r}; largest "
        f"difference {largest:.1e}"
    )
    for name, seconds in medians.items():
        ratio = medians[peer] / seconds
        print(f"{name:34}{len(paths) / seconds:7.1f} sounds/s, {ratio:5.2f} times the peer")


def main() -> None:
    """Prints one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_sounds", type=int, default=2000)
    parser.add_argument("--num_rounds", type=int, default=1)
    parser.add_argument("--library", type=pathlib.Path, help="instead of a stand-in")
    parser.add_argument("--query", action="store_true")
    parser.add_argument("--num_rows", type=int, default=100_000)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        query()
    elif given.query:
        with tempfile.TemporaryDirectory() as folder:
            os.environ[caches.VARIABLE] = folder
            write_large(given.num_rows)
            subprocess.run([sys.executable, "-m", "benchmarks.search", "--measure"], check=True)
    else:
        compare(given.num_sounds, given.num_rounds, given.library)


if __name__ == "__main__":
    main()
