"""Forms for graphs of ONNX of what audio/ computes, each beside the plain form that names it.

A plain form is decorated with platforms.with_onnx_form, which chooses. onnxruntime has fast products
of matrices, and no fast Fourier transforms but those of powers of two.
"""

import jax
import jax.numpy as jnp

BLOCK = 32  # places in a row of the products: of more, more of them belong to no lag


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
