"""How the training state and the batches are spread over devices.

A one-dimensional mesh over all devices: the state is on every device, a batch is cut along its
first axis. Whatever a step computes over the whole batch, BatchNorm's statistics and the spectral
convergence among it, is then over the global batch, and XLA adds the communication.
"""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from qvae_jax.errors import UserError


def mesh() -> Mesh:
    """All devices in a row, under the axis name "batch"."""
    # Auto: XLA decides how each intermediate result is spread, from how the inputs are.
    return jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(AxisType.Auto,))


def replicated(devices: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(devices, PartitionSpec())


def split_by_example(devices: Mesh) -> NamedSharding:
    """The first axis, cut into equal parts."""
    return NamedSharding(devices, PartitionSpec("batch"))


def check_batch_size(batch_size: int, devices: Mesh) -> None:
    """Raises UserError where a batch does not divide by the devices, with the nearest that do."""
    count = devices.size
    if batch_size % count:
        below, above = batch_size // count * count, -(-batch_size // count) * count
        nearest = f"{below} or {above}" if below else f"{above}"
        raise UserError(
            f"a batch of {batch_size} examples does not divide by {count} devices: set "
            f"training.batch_size to {nearest}."
        )
