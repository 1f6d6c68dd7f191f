"""Linear ×3 upsampling and a convolution after it, which is computed before it.

Upsampling mixes neighbouring samples, and the product by a tap may come before the mixing as well
as after it. So each tap is multiplied once per input sample, not once for each of the three that it
becomes, and the products are mixed. With three taps, for the last of the three samples that x[t]
becomes:

    upsampled       3t + 1      3t + 2                    3t + 3
    is made of      x[t]        2/3 x[t] + 1/3 x[t+1]     1/3 x[t] + 2/3 x[t+1]
                      |                 |                         |
    y[3t + 2]  =    tap 0      +      tap 1            +        tap 2

               =    (tap 0 + 2/3 tap 1 + 1/3 tap 2) · x[t]  +  (1/3 tap 1 + 2/3 tap 2) · x[t+1]

The edges are different: beyond them the upsampled sound is silence, where mixing would go on with
the first or the last sample. The few outputs there are computed the plain way.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qvae_jax.models.cpu import convolutions, tap_products

# What an upsampled sample 3t + phase is made of: (shift, weight) of input samples t + shift.
MIXES = (((-1, 1 / 3), (0, 2 / 3)), ((0, 1.0),), ((0, 2 / 3), (1, 1 / 3)))


def upsample3_linear_conv1d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """plain.upsample3_linear_conv1d, with a third of its products where x is long enough."""
    if x.shape[1] >= 2 * _at_edge(kernel):
        return convolved_before(x, kernel)
    return convolved_after(x, kernel)


def convolved_after(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Upsampling first, then the convolution."""
    return convolutions.conv1d(upsample3_linear(x), kernel)


def upsample3_linear(x: jax.Array) -> jax.Array:
    """plain.upsample3_linear."""
    before = jnp.concatenate([x[:, :1], x[:, :-1]], axis=1)
    after = jnp.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    return _interleaved([(before + 2.0 * x) / 3.0, x, (2.0 * x + after) / 3.0])


@jax.custom_vjp
def convolved_before(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """convolved_after, given at least twice as many samples as decide the outputs at an edge.

    The gradient is convolved_after's; it keeps the input, not the upsampled one.
    """
    half, at_edge = len(kernel) // 2, _at_edge(kernel)
    y = _mixed_products(x, kernel, _reads(len(kernel)))
    if half == 0:
        return y
    first = convolved_after(x[:, :at_edge], kernel)[:, :half]
    last = convolved_after(x[:, -at_edge:], kernel)[:, -half:]
    return y.at[:, :half].set(first).at[:, -half:].set(last)


convolved_before.defvjp(
    lambda x, kernel: (convolved_before(x, kernel), (x, kernel)),
    lambda saved, cotangent: jax.vjp(convolved_after, *saved)[1](cotangent),
)


def _at_edge(kernel: jax.Array) -> int:
    """How many samples decide the outputs whose taps reach beyond an edge."""
    return len(kernel) // 2 + 2


def _reads(num_taps: int) -> list[list[tuple[int, int, float]]]:
    """By phase of the output: (tap, shift, weight) of all the products that it sums."""
    reads = []
    for phase in range(3):
        places = [divmod(phase + tap - num_taps // 2, 3) for tap in range(num_taps)]
        reads.append(
            [
                (tap, blocks + shift, weight)
                for tap, (blocks, of_phase) in enumerate(places)
                for shift, weight in MIXES[of_phase]
            ]
        )
    return reads


def _mixed_products(x: jax.Array, kernel: jax.Array, reads) -> jax.Array:
    """The convolution of x upsampled without end, its first and last samples going on."""
    time, num_out = x.shape[1], kernel.shape[-1]
    reach = max(abs(shift) for phase in reads for _, shift, _ in phase)
    padded = jnp.pad(x, [(0, 0), (reach, reach), (0, 0)], mode="edge")
    products = padded @ tap_products.side_by_side(kernel)
    phases = [
        sum(
            weight
            * products[:, reach + shift : reach + shift + time, tap * num_out : (tap + 1) * num_out]
            for tap, shift, weight in phase
        )
        for phase in reads
    ]
    return _interleaved(phases)


def _interleaved(phases: list[jax.Array]) -> jax.Array:
    """Phases of […, time, C], taken in turns sample by sample -> […, phases·time, C].

    A choice, not a concatenation: XLA fuses it with what comes before and after into one pass.
    """
    *batch, time, channels = phases[0].shape
    shape = (*batch, time, len(phases), channels)
    phase_of = lax.broadcasted_iota(np.int32, shape, len(shape) - 2)
    chosen = phases[-1][..., None, :]
    for phase in reversed(range(len(phases) - 1)):
        chosen = jnp.where(phase_of == phase, phases[phase][..., None, :], chosen)
    return chosen.reshape(*batch, len(phases) * time, channels)
