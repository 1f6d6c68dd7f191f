"""Peak memory of preparing and of training, beside keeping all prepared arrays in memory.

    python -m benchmarks.memory --modes=prepare,frozen,fine_tuned --num_imitations=12453
    python -m benchmarks.memory --config=steered --modes=frozen

Lays out a stand-in for the data set, runs `main.py` on it, and reads the memory of its processes
about ten times a second: resident memory, summed over processes, so that shared pages count in
each; proportional memory, where they count once; and anonymous memory, the only kind that the
system cannot take back. Training runs for a few steps and is stopped by SIGTERM; data_wait is taken
from its metrics. For a frozen encoder the cache is filled with noise of the right shape: preparing
it would take the encoder half an hour, and training's memory does not depend on the values.
"""

import argparse
import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.stand_in import FULL_SIZE, write_stand_in
from configs import steered, vimsketch
from qvae_jax import configuration
from qvae_jax.data import catalogue, recipes
from qvae_jax.data.cache import cached_array
from qvae_jax.data.vimsketch import IMITATIONS_FOLDER

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
MODES = ("prepare", "frozen", "fine_tuned")
CONFIGS = {"vimsketch": vimsketch, "steered": steered}
COMMON = {"model.encoder_checkpoint": "", "training.batch_size": 32}  # mn10 and as many at once
LIMITS_MB = {"prepare": 1500, "frozen": 2500, "fine_tuned": 4000}
STEPS_PER_EPOCH = 5
FIELDS = ("Rss", "Pss", "Anonymous")


def run(
    mode: str, config: str, folder: pathlib.Path, num_steps: int, accumulation_steps: int
) -> tuple[dict[str, float], float]:
    """Runs one mode on folder/stand_in: its peak memory in MB by field, and its seconds."""
    command = [sys.executable, "main.py", *_arguments(mode, config, folder, accumulation_steps)]
    peaks = dict.fromkeys(FIELDS, 0.0)
    start_s = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY)
    stopping = False
    while process.poll() is None:
        found = _memory_mb(process.pid)
        peaks = {field: max(peaks[field], found[field]) for field in FIELDS}
        if not stopping and _steps_taken(folder / mode) >= num_steps:
            process.send_signal(signal.SIGTERM)
            stopping = True
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return peaks, time.perf_counter() - start_s


def _arguments(mode: str, config: str, folder: pathlib.Path, accumulation_steps: int) -> list[str]:
    settings = COMMON | {
        "data.dataset_dir": folder / "stand_in",
        "data.cache_dir": folder / "cache",
        "training.encoder": "frozen" if mode == "frozen" else "fine_tuned",
        "training.steps_per_epoch": STEPS_PER_EPOCH,
        "training.accumulation_steps": accumulation_steps,
        # These take minutes here, and are no part of a step.
        "diagnostics.every_epochs": 0,
        "validation.every_epochs": 10**6,
        "logging.samples_every_epochs": 10**6,
        "checkpoints.every_epochs": 10**6,
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    given = ["--mode=train", f"--workdir={folder / mode}"]
    if mode == "prepare":
        given = ["--mode=prepare"]
    return [*given, f"--config=configs/{config}.py", *flags]


def _memory_mb(pid: int) -> dict[str, float]:
    """Memory in MB by field, summed over a process and its children."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    try:
        pids = [str(pid), *children.read_text().split()]
    except OSError:
        return dict.fromkeys(FIELDS, 0.0)
    total = dict.fromkeys(FIELDS, 0.0)
    for one in pids:
        try:
            lines = pathlib.Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name in total:
                total[name] += int(rest.split()[0]) / 1000
    return total


def _steps_taken(workdir: pathlib.Path) -> int:
    metrics = workdir / "metrics.jsonl"
    return metrics.read_text().count('"part": "train"') if metrics.exists() else 0


def _data_wait(workdir: pathlib.Path) -> float | None:
    """The largest data_wait of any epoch; None where no epoch ended."""
    entries = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return max((e["data_wait"] for e in entries if e["part"] == "speed"), default=None)


def fill_with_noise(folder: pathlib.Path, name: str) -> None:
    """Puts random features of unit norm where prepare would put those of the imitations."""
    config = CONFIGS[name].get_config()
    config.update_from_flattened_dict(COMMON)
    config.data.dataset_dir = str(folder / "stand_in")
    config.data.cache_dir = str(folder / "cache")
    config.training.encoder = "frozen"
    configuration.resolve_encoder(config, None)
    model_config = configuration.model_config(config)
    recipe = recipes.features(model_config, configuration.initial_variables(config, model_config))
    rng = np.random.default_rng(0)

    def noise(waveforms: list) -> np.ndarray:
        values = rng.standard_normal((len(waveforms), *recipe.row_shape))
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    recipe = dataclasses.replace(recipe, load=lambda path: np.zeros(1), transform=noise)
    cache = catalogue.cache_folder(config, folder / "stand_in", None)
    path = cache / f"features-{recipes.digest(recipe.parameters)}.npy"
    paths = sorted((folder / "stand_in" / IMITATIONS_FOLDER).iterdir())
    cached_array(path, {source.name: source for source in paths}, recipe)


def main() -> None:
    """Prints a line for each mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--config", choices=CONFIGS, default="vimsketch")
    parser.add_argument("--num_imitations", type=int, default=FULL_SIZE)
    parser.add_argument("--num_steps", type=int, default=3 * STEPS_PER_EPOCH)
    parser.add_argument("--accumulation_steps", type=int, default=1, help="parts of a batch of 32")
    parser.add_argument(
        "--folder", type=pathlib.Path, help="folder to keep; by default a temporary one"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or pathlib.Path(temporary)
        if not (folder / "stand_in").exists():
            write_stand_in(folder / "stand_in", given.num_imitations)
        for mode in given.modes.split(","):
            if mode == "frozen":
                fill_with_noise(folder, given.config)
            peaks, taken_s = run(
                mode, given.config, folder, given.num_steps, given.accumulation_steps
            )
            arrays = {path.name.partition("-")[0]: path for path in folder.glob("cache/*/*.npy")}
            read = ("targets.npy", "features" if mode == "frozen" else "logmels")
            in_memory_mb = sum(arrays[name].stat().st_size for name in read if name in arrays) / 1e6
            data_wait = None if mode == "prepare" else _data_wait(folder / mode)
            print(
                f"{mode:10} peak MB: resident {peaks['Rss']:5.0f} of at most {LIMITS_MB[mode]}, "
                f"proportional {peaks['Pss']:5.0f}, anonymous {peaks['Anonymous']:5.0f}; "
                f"arrays {in_memory_mb:5.0f} MB, {peaks['Rss'] / in_memory_mb:4.1f} times; "
                f"{taken_s:5.0f} s"
                + ("" if data_wait is None else f"; data_wait at most {data_wait:.4f}"),
                flush=True,
            )


if __name__ == "__main__":
    main()
