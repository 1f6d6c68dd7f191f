"""Forms for graphs of ONNX of what audio/ computes, each beside the plain form that names it.

A plain form is decorated with platforms.with_onnx_form, which chooses. onnxruntime has fast products
of matrices, and no fast Fourier transforms but those of powers of two.
"""

import jax
import jax.numpy as jnp

BLOCK = 16  # places in a row of the products: of more, more of them belong to no lag


def correlated(frames: jax.Array, window: int, first_lag: int, end_lag: int) -> jax.Array:
    """Σ x(t)·x(t + lag) over the window, as pitch._correlated: [frames, n] -> [frames, lags].

    With t = BLOCK·i + j, the sum over i is a product of matrices, and the one over j of what lies
    on its diagonals:

        Σ_j P[j, j + lag],   P[j, q] = Σ_i x(BLOCK·i + j)·x(BLOCK·i + q)
    """
    num_frames, num_rows = frames.shape[0], window // BLOCK
    here = frames[:, :window].reshape(num_frames, num_rows, BLOCK)
    reach = end_lag - first_lag + BLOCK - 1
    starts = [first_lag + BLOCK * row for row in range(num_rows)]
    later = jnp.stack([frames[:, start : start + reach] for start in starts], axis=1)
    products = jnp.einsum("fij,fiq->fjq", here, later, precision=jax.lax.Precision.HIGHEST)
    # Rows that are one longer move each diagonal into a column.
    flat = jnp.pad(products.reshape(num_frames, BLOCK * reach), [(0, 0), (0, BLOCK)])
    skewed = flat.reshape(num_frames, BLOCK, reach + 1)
    return jnp.sum(skewed[:, :, : end_lag - first_lag], axis=1)


def cheapest(first: jax.Array, steps: jax.Array) -> jax.Array:
    """The states of the cheapest path, as pitch._cheapest: [states] and [n - 1, states, states].

    A loop costs a runtime some microseconds an operator. Instead the cheapest ways through two
    frames, four, eight and so on are found for all frames at once: in the algebra in which a product
    adds and a sum takes the least, they are products of the steps' matrices (Hillis & Steele, 1986).
    """
    length = steps.shape[0] + 1
    begin = jnp.broadcast_to(first[None, :, None], (1, *steps.shape[1:]))
    ways = jnp.concatenate([begin, steps], axis=0)
    for count in _doublings(length):
        # [later state, state before] of the later frames, and those of the earlier, turned.
        later, earlier = ways[count:], jnp.swapaxes(ways[:-count], 1, 2)
        both = jnp.min(later[:, :, None, :] + earlier[:, None, :, :], axis=-1)
        both -= jnp.min(both, axis=(1, 2), keepdims=True)  # only differences count
        ways = jnp.concatenate([ways[:count], both], axis=0)
    totals = ways[:, :, 0]
    came_from = jnp.argmin(steps + totals[:-1, None, :], axis=2).astype(jnp.int32)
    last = jnp.argmin(totals[-1]).astype(jnp.int32)
    # Likewise from which state each state of the last frame came, further and further back.
    for count in _doublings(length - 1):
        further = jnp.take_along_axis(came_from[:-count], came_from[count:], axis=1)
        came_from = jnp.concatenate([further, came_from[-count:]], axis=0)
    path = jnp.take_along_axis(came_from, jnp.full((length - 1, 1), last), axis=1)[:, 0]
    return jnp.append(path, last)


def _doublings(length: int) -> list[int]:
    """1, 2, 4 and so on, below length."""
    return [2**power for power in range(max(0, length - 1).bit_length())]
