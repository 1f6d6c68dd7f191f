"""Where the training state and the batches lie among the devices, and how steps run there.

A one-dimensional mesh over all devices: the state is on every device, a batch is cut along its
first axis. There are three ways to run one step function on it:

- jit, BatchNorm global: XLA cuts the computation. Whatever a step computes over the whole batch,
  BatchNorm's statistics and the spectral convergence among it, is then over the global batch, and
  XLA adds the communication.
- jit, BatchNorm per device: the step is mapped over the devices' parts of the batch by
  jax.shard_map, and the means and sums over the batch are written out in it (global_batch).
- pmap: the same mapped step under jax.pmap, whose arrays have an axis for the devices in front.

Losses, gradients and, unless per device, BatchNorm are the same whichever way and on any number
of devices.
"""

import dataclasses
from collections.abc import Callable

import jax
import ml_collections
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from qvae_jax.system.errors import UserError, counted

AXIS = "batch"
WHOLE, BY_EXAMPLE = PartitionSpec(), PartitionSpec(AXIS)


@dataclasses.dataclass(frozen=True)
class Placement:
    """All devices in a row, and how steps run on them."""

    mesh: Mesh
    parallel: str = "jit"  # or "pmap"
    batch_norm: str = "global"  # or "per_device"

    @property
    def axis_name(self) -> str | None:
        """The axis over which a step must take means itself; None where XLA sees the whole batch."""
        whole = self.parallel == "jit" and self.batch_norm == "global"
        return None if whole else AXIS


def arrange(parallel: str = "jit", batch_norm: str = "global", devices=None) -> Placement:
    """The placement on these devices, on all of them unless given."""
    # Those of one host beside each other, so that a host reads one stretch of a batch.
    row = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    # Auto: XLA decides where each intermediate result lies, from where the inputs do.
    return Placement(
        Mesh(np.array(row), (AXIS,), axis_types=(AxisType.Auto,)), parallel, batch_norm
    )


def compile_train_step(step: Callable, placement: Placement) -> Callable:
    """A train step on all devices; it takes its state's memory for the new one."""
    if placement.parallel == "pmap":
        return jax.pmap(step, AXIS, donate_argnums=0, devices=list(placement.mesh.devices))
    if placement.axis_name is not None:
        step = _mapped(step, placement, (WHOLE, BY_EXAMPLE), (WHOLE, WHOLE))
    return jax.jit(step, donate_argnums=0)


def compile_eval_step(step: Callable, placement: Placement) -> Callable:
    """An evaluation step on all devices."""
    if placement.parallel == "pmap":
        return jax.pmap(step, AXIS, in_axes=(0, 0, None), devices=list(placement.mesh.devices))
    if placement.axis_name is not None:
        step = _mapped(step, placement, (WHOLE, BY_EXAMPLE, WHOLE), (WHOLE, BY_EXAMPLE))
    return jax.jit(step)


def put_state(tree, placement: Placement):
    """A full copy of every array on every device."""
    if placement.parallel == "pmap":
        tree = jax.tree.map(lambda x: np.stack([np.asarray(x)] * placement.mesh.size), tree)
        return jax.device_put(tree, NamedSharding(placement.mesh, BY_EXAMPLE))
    return jax.device_put(tree, NamedSharding(placement.mesh, WHOLE))


def put_batch(batch: dict, placement: Placement) -> dict:
    """This process's rows (own_rows) of a batch, cut into an equal part for each device."""
    if placement.parallel == "pmap":
        batch = {
            name: x.reshape(placement.mesh.size, -1, *x.shape[1:]) for name, x in batch.items()
        }
    sharding = NamedSharding(placement.mesh, BY_EXAMPLE)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def own_rows(batch_size: int, placement: Placement) -> slice:
    """The rows of a batch that this process reads: those that lie on its devices."""
    processes = [device.process_index for device in placement.mesh.devices]
    first = processes.index(jax.process_index())
    on_device = batch_size // len(processes)
    return slice(first * on_device, (first + jax.local_device_count()) * on_device)


def get_state(tree, placement: Placement):
    """The state, or a step's metrics, as if there were one device."""
    return jax.tree.map(lambda x: x[0], tree) if placement.parallel == "pmap" else tree


def get_rows(array: jax.Array, placement: Placement) -> np.ndarray:
    """All rows of a result that is cut by example."""
    if jax.process_count() > 1:
        array = multihost_utils.process_allgather(array, tiled=True)
    rows = np.asarray(array)
    return rows.reshape(-1, *rows.shape[2:]) if placement.parallel == "pmap" else rows


def check_batch_size(batch_size: int, num_devices: int, num_parts: int = 1) -> None:
    """Raises UserError where a batch does not divide by the devices, with the nearest that do.

    num_parts: the parts that it is computed in one after the other, each cut among the devices.
    """
    count = num_devices * num_parts
    if batch_size % count:
        below, above = batch_size // count * count, -(-batch_size // count) * count
        nearest = f"{below} or {above}" if below else f"{above}"
        times = f" times {num_parts} parts (training.accumulation_steps)" if num_parts > 1 else ""
        raise UserError(
            f"a batch of {counted(batch_size, 'example')} does not divide by "
            f"{counted(num_devices, 'device')}{times}: set training.batch_size to {nearest}."
        )


def _mapped(step: Callable, placement: Placement, in_specs: tuple, out_specs: tuple) -> Callable:
    # check_vma would make the gradient by the state a sum over devices of its own accord; without
    # it, gradients are those of pmap.
    return jax.shard_map(
        step, mesh=placement.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def check_devices(config: ml_collections.ConfigDict) -> None:
    """Raises UserError for settings that make no sense on the devices at hand."""
    platform = jax.devices()[0].platform
    if config.training.dtype == "bfloat16" and platform == "cpu":
        raise UserError(
            "training.dtype is bfloat16, but the devices are CPUs, which only get slower by it: "
            "set it to float32."
        )
    if config.parallel == "pmap" and jax.process_count() > 1:
        raise UserError(
            f"parallel is pmap, which runs on one host, but there are {jax.process_count()} "
            "processes: set it to jit."
        )
