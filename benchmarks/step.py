"""`python -m benchmarks.step`: what a training step costs besides its time for a batch of 8.

    compiling   seconds to trace and compile it, with nothing compiled before
    memory      peak resident memory of a process while it takes steps of 8, beside PyTorch's
    flatness    time per sample in batches of 16, 32 and 64, over that in batches of 8

The steps are those of benchmarks.compute. Each figure is measured in its own process.
"""

import argparse
import gc
import json
import pathlib
import subprocess
import sys
import time

import jax

from benchmarks import compute, timing
from qvae_jax.system import memory

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
STEPS = {
    "frozen": None,
    "fine_tuned": compute.FINE_TUNED,
    "from_scratch": frozenset(range(17)),
}
BATCHES = (8, 16, 32, 64)
COMPILING_GOAL_S = 20
FLATNESS_GOAL = 1.15
STEPS_WATCHED = 3
RESET_PEAK = "5"  # written to /proc/self/clear_refs


def main() -> None:
    """Prints a line for each step and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, step = given.measure
        print(json.dumps(MEASURES[name](STEPS[step])))
        return
    for part in given.parts.split(","):
        for step in given.steps.split(","):
            print(f"{part:12}{step:14}{PARTS[part](step)}", flush=True)


def _compiling_line(step: str) -> str:
    seconds, core_seconds = _measured("compiling", step)
    wanted = f"wanted: at most {COMPILING_GOAL_S} s"
    return f"{seconds:.1f} s, {core_seconds:.1f} s of the cores ({wanted})"


def _memory_line(step: str) -> str:
    (ours, ours_before), (theirs, theirs_before) = (
        _measured(side, step) for side in ("memory_ours", "memory_eager")
    )
    return (
        f"peak {ours:.0f} MB, PyTorch {theirs:.0f} MB: {ours / theirs:.2f}; "
        f"above what stays between steps, {ours - ours_before:.0f} and "
        f"{theirs - theirs_before:.0f} MB (wanted: below PyTorch's)"
    )


def _flatness_line(step: str) -> str:
    ratios = _measured("flatness", step)
    texts = [f"{batch}: {ratio:.2f}" for batch, ratio in zip(BATCHES, ratios)]
    return f"{', '.join(texts)} (wanted: at most {FLATNESS_GOAL})"


def _measured(name: str, step: str):
    """A figure of a step, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.step", "--measure", name, step]
    run = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


def _compiling(layers: frozenset[int] | None) -> tuple[float, float]:
    """Seconds of the wall clock, and of all cores."""
    row = compute.training_step(layers, BATCHES[0])
    start = time.perf_counter(), time.process_time()
    row.ours()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def _memory(layers: frozenset[int] | None, side: str) -> tuple[float, float]:
    """Resident memory in MB: the peak while steps are taken, and what stays between them."""
    row = compute.training_step(layers, BATCHES[0])
    program = row.ours() if side == "ours" else row.peers[side]()
    del row
    jax.block_until_ready(program())
    gc.collect()
    memory.give_back_freed_memory()
    pathlib.Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before = _status_mb("VmRSS")
    for _ in range(STEPS_WATCHED):
        jax.block_until_ready(program())
    return _status_mb("VmHWM"), before


def _status_mb(field: str) -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1000


def _flatness(layers: frozenset[int] | None) -> list[float]:
    """Time per sample for each of BATCHES, over that of the smallest."""
    programs = {str(batch): compute.training_step(layers, batch).ours() for batch in BATCHES}
    seconds = timing.interleaved(programs, num_rounds=3)
    of_sample = [seconds[str(batch)] / batch for batch in BATCHES]
    return [value / of_sample[0] for value in of_sample]


PARTS = {"compiling": _compiling_line, "memory": _memory_line, "flatness": _flatness_line}
MEASURES = {
    "compiling": _compiling,
    "memory_ours": lambda layers: _memory(layers, "ours"),
    "memory_eager": lambda layers: _memory(layers, compute.EAGER),
    "flatness": _flatness,
}

if __name__ == "__main__":
    memory.restart_with_huge_pages()  # as main.py does
    main()
