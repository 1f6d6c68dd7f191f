"""One training on virtual CPU devices, in a process of its own: everywhere the same."""

import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

import small_run
import virtual_devices
from qvae_jax.system.errors import UserError
from qvae_jax.training import devices

REPOSITORY = pathlib.Path(__file__).parents[2]
PROGRAM = REPOSITORY / "tests" / "support" / "many_devices.py"
COUNTS = (2, 4, 8)
EVERY_PLACEMENT = [f"{parallel}:{count}" for parallel in ("jit", "pmap") for count in COUNTS]


def results(tmp_path, num_steps: int, *placements: str, x64: bool = True) -> dict[str, dict]:
    """What many_devices.py finds, by placement."""
    output = tmp_path / "results.npz"
    environment = virtual_devices.environment(8, JAX_ENABLE_X64=str(int(x64)))
    command = [sys.executable, str(PROGRAM), str(output), str(num_steps), *placements]
    subprocess.run(command, env=environment, check=True)
    return virtual_devices.by_placement(output, placements)


def difference(ours: dict, theirs: dict, kind: str) -> float:
    """The largest difference of all arrays of a kind, relative to the largest number among them.

    Not to each array's own: the gradient of a bias before BatchNorm is zero but for rounding.
    """
    names = [name for name in theirs if name.startswith(f"{kind}/")]
    assert names and names == [name for name in ours if name.startswith(f"{kind}/")]
    largest = max(np.abs(theirs[name]).max() for name in names)
    return float(max(np.abs(ours[name] - theirs[name]).max() for name in names) / largest)


def assert_same(ours: dict, theirs: dict, rtol: float, *kinds: str) -> None:
    for kind in kinds:
        assert difference(ours, theirs, kind) < rtol, kind


def assert_same_training(found: dict[str, dict]) -> None:
    """Loss, gradients and statistics of the first step, and the parameters after the last."""
    one, *others = found.values()
    for other in others:
        for name in (name for name in one if name.startswith("metrics/")):
            assert other[name] == pytest.approx(one[name], rel=1e-5), name
        assert_same(other, one, 1e-5, "gradients", "batch_stats")
        assert_same(other, one, 1e-8, "params")


def test_a_batch_on_two_devices_trains_as_on_one(tmp_path):
    assert_same_training(results(tmp_path, 20, "jit:1:no_log", "pmap:2:no_log"))


def test_a_steered_decoder_trains_on_two_devices_as_on_one(tmp_path):
    assert_same_training(results(tmp_path, 2, "jit:1:steered,warming", "pmap:2:steered,warming"))


@pytest.mark.slow
@pytest.mark.parametrize("changes", ["steered,warming", "steered,warming,parts"])
def test_a_steered_decoder_trains_the_same_on_any_number_of_devices(tmp_path, changes):
    placements = (
        ("jit:1", "jit:2", "pmap:4") if "parts" in changes else ("jit:1", "jit:8", "pmap:8")
    )
    assert_same_training(results(tmp_path, 2, *(f"{s}:{changes}" for s in placements)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", ["no_log", "no_log,parts", "no_log,dropout,warming", "warming", "warming,parts"]
)
def test_twenty_steps_are_the_same_on_any_number_of_devices(tmp_path, changes):
    """With every term at the rate of the authors' warm-up, which moves parameters by 1e-4.

    At the full rate, ten times to a thousand times what parts two runs at a step parts them at the
    next, and twenty steps part any two: see the test below.
    """
    every = changes in ("no_log", "warming")
    placements = ["jit:1", *EVERY_PLACEMENT] if every else ["jit:1", "jit:4", "pmap:4"]
    assert_same_training(results(tmp_path, 20, *(f"{s}:{changes}" for s in placements)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("x64", "num_steps", "kind"), [(True, 4, "params"), (False, 1, "gradients")]
)
def test_devices_part_two_trainings_no_more_than_rounding_does(tmp_path, x64, num_steps, kind):
    """All terms at the full rate, where a bin near zero makes much of little (test_step.py)."""
    placements = [f"{placement}:" for placement in ("jit:1", *EVERY_PLACEMENT)]
    one, *others, shaken = results(
        tmp_path, num_steps, *placements, "jit:1:shaken", x64=x64
    ).values()
    by_rounding = difference(shaken, one, kind)
    for other in others:
        assert difference(other, one, kind) < 10 * by_rounding


@pytest.mark.slow
def test_a_step_with_every_term_is_the_same_on_any_number_of_devices(tmp_path):
    found = results(tmp_path, 1, *(f"{placement}:" for placement in ("jit:1", *EVERY_PLACEMENT)))
    assert_same_training(found)
    one, *others = found.values()
    for other in others:
        assert_same(other, one, 1e-9, "evaluation")
        np.testing.assert_allclose(other["audio"], one["audio"], rtol=1e-9)


@pytest.mark.slow
def test_losses_and_statistics_are_the_same_in_single_precision(tmp_path):
    # Not the gradients: see the tests below.
    placements = (f"{placement}:" for placement in ("jit:1", *EVERY_PLACEMENT))
    one, *others = results(tmp_path, 1, *placements, x64=False).values()
    for other in others:
        for name in ("total", "spectral", "mel", "waveform", "kl"):
            assert other[f"metrics/{name}"] == pytest.approx(one[f"metrics/{name}"], rel=1e-5)
        assert_same(other, one, 1e-5, "batch_stats", "evaluation")


@pytest.mark.slow
def test_gradients_without_logarithms_are_the_same_in_single_precision(tmp_path):
    placements = (f"{placement}:no_log,no_mel" for placement in ("jit:1", *EVERY_PLACEMENT))
    one, *others = results(tmp_path, 1, *placements, x64=False).values()
    for other in others:
        assert_same(other, one, 1e-5, "gradients")


@pytest.mark.slow
def test_gradients_with_a_floor_below_all_logarithms_are_the_same_in_single_precision(tmp_path):
    """ln(|P| + 1) has a slope of 1 where that of ln(|P| + 1e-7) is 1e7: bins near 0 part them."""
    placements = (f"{placement}:floor" for placement in ("jit:1", "jit:2", "jit:8", "pmap:8"))
    one, *others = results(tmp_path, 1, *placements, x64=False).values()
    for other in others:
        assert_same(other, one, 1e-5, "gradients")


@pytest.mark.slow
def test_batch_norm_per_device_sees_a_part_of_the_batch(tmp_path):
    placements = ("jit:1:", "jit:1:per_device", "jit:2:per_device", "pmap:2:per_device")
    whole, alone, mapped, pmapped = results(tmp_path, 1, *placements).values()
    assert_same(alone, whole, 1e-8, "batch_stats", "params")
    assert_same(pmapped, mapped, 1e-8, "batch_stats", "params")
    # The means are those of the whole batch still, but not what they are taken of.
    assert difference(mapped, whole, "batch_stats") > 1e-4
    assert difference(mapped, whole, "gradients") > 1e-3


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_step_takes_its_states_memory_over(parallel):
    placement = devices.arrange(parallel, devices=jax.devices()[:1])
    train_step = devices.compile_train_step(lambda state, batch: (state + batch, {}), placement)
    state = devices.put_state(np.ones(3, np.float32), placement)
    batch = devices.put_batch({"x": np.ones(3, np.float32)}, placement)["x"]
    after, _ = train_step(state, batch)
    assert state.is_deleted() and not batch.is_deleted() and not after.is_deleted()


def test_a_batch_is_divided_among_all_devices():
    devices.check_batch_size(16, 8)
    with pytest.raises(UserError, match="batch of 12 .*8 devices.*to 8 or 16"):
        devices.check_batch_size(12, 8)
    with pytest.raises(UserError, match="to 8\\."):
        devices.check_batch_size(3, 8)
    with pytest.raises(UserError, match="2 devices times 3 parts .*to 6 or 12"):
        devices.check_batch_size(8, 2, 3)


@pytest.mark.parametrize(("process", "rows"), [(0, slice(0, 4)), (1, slice(4, 8))])
def test_each_process_reads_the_rows_of_its_devices(monkeypatch, process, rows):
    row = [types.SimpleNamespace(process_index=i // 2) for i in range(4)]
    placement = devices.Placement(types.SimpleNamespace(devices=row))
    monkeypatch.setattr(jax, "process_index", lambda: process)
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    assert devices.own_rows(8, placement) == rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training.dtype": "bfloat16"}, "training.dtype is bfloat16, but the devices are CPUs"),
        ({"parallel": "pmap"}, "parallel is pmap, which runs on one host, but there are 2"),
    ],
)
def test_settings_that_make_no_sense_on_these_devices(data_set, monkeypatch, change, message):
    devices.check_devices(small_run.config(data_set))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=message):
        devices.check_devices(small_run.config(data_set, **change))
