"""What is read of running processes, and of the metrics of a run."""

import os
import subprocess
import sys

import pytest

from benchmarks import memory


def test_a_childs_memory_counts_too():
    alone = memory._memory_mb(os.getpid())
    if not alone["Rss"]:
        pytest.skip("needs /proc/PID/smaps_rollup")
    assert alone.keys() == set(memory.FIELDS) and alone["Rss"] >= alone["Pss"]
    code = "block = bytearray(50_000_000); print(len(block), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        together = memory._memory_mb(os.getpid())
        child.kill()
    assert together["Anonymous"] > alone["Anonymous"] + 30


def test_a_process_that_has_ended_has_none():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert memory._memory_mb(child.pid) == dict.fromkeys(memory.FIELDS, 0.0)


@pytest.mark.parametrize(
    ("lines", "num_steps", "data_wait"),
    [
        ([], 0, None),
        (['{"part": "train", "loss": 1}', '{"part": "train", "loss": 2}'], 2, None),
        (
            [
                '{"part": "speed", "data_wait": 0.2}',
                '{"part": "train", "loss": 1}',
                '{"part": "speed", "data_wait": 0.1}',
            ],
            1,
            0.2,
        ),
    ],
)
def test_steps_and_waits_are_read_from_the_metrics(tmp_path, lines, num_steps, data_wait):
    assert memory._steps_taken(tmp_path) == 0
    (tmp_path / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert memory._steps_taken(tmp_path) == num_steps
    assert memory._data_wait(tmp_path) == data_wait
