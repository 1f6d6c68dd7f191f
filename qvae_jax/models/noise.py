"""White noise of which every frame depends on its example and its number alone."""

import jax
import jax.numpy as jnp

from qvae_jax.models import global_batch


def of_rows(key: jax.Array, num_rows: int, axis_name: str | None = None) -> jax.Array:
    """A seed for each row of a batch in training, uint32 [rows, 2], from the key of the step.

    axis_name: where the batch is cut among devices, see global_batch. A row's seed depends on the
    key and its place in the whole batch.
    """
    rows = jnp.arange(num_rows) + global_batch.first_row(num_rows, axis_name)
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)
    return jax.random.key_data(keys)


def white(seeds: jax.Array, num_frames: int, hop_length: int) -> jax.Array:
    """Normal noise [rows, frames·hop], of which a frame depends on its row's seed and its number.

    seeds are two whole numbers for each row, uint32 [rows, 2]: alone or in a batch, among any
    number of frames, and on any number of devices, a frame is the same.
    """
    keys = jax.random.wrap_key_data(seeds, impl="threefry2x32")

    def of_frame(key: jax.Array, number: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, number), (hop_length,))

    frames = jax.vmap(jax.vmap(of_frame, (None, 0)), (0, None))(keys, jnp.arange(num_frames))
    return frames.reshape(len(seeds), num_frames * hop_length)
