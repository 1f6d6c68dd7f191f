"""Convolutions channels-last, with fast forms of those that XLA does slowly on CPU.

Every fast form gives what its plain form gives, up to rounding; the tests hold the two together.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qvae_jax.system import platforms

FEW_PRODUCTS = 40  # on CPU, XLA's own convolution is the faster one where there are more

# What a convolution's output samples read. It writes len(Reads) samples, its phases, for each input
# sample t; each phase is the sum over its (tap, shift) of input sample t + shift times that tap.
Reads = tuple[tuple[tuple[int, int], ...], ...]


def conv1d(x: jax.Array, kernel: jax.Array, *, dilation: int = 1) -> jax.Array:
    """Same-length convolution: [batch, time, in] with odd [taps, in, out] -> [batch, time, out]."""
    num_taps, _, num_out = kernel.shape
    if x.shape[1] <= dilation:
        return x @ kernel[num_taps // 2]  # every other tap reads beyond the edges
    if platforms.on_cpu() and num_taps * num_out <= FEW_PRODUCTS:
        return convolve(x, kernel, same_length(num_taps, dilation))
    padding = dilation * (num_taps - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=[(padding, padding)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )


def upsample3_conv1d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest ×3 upsampling, then conv1d: [batch, time, in] -> [batch, 3·time, out].

    Each tap is multiplied once per input sample, a third of the plain form's arithmetic.
    """
    return convolve(x, kernel, upsampling3(len(kernel)))


def transposed_conv1d_stride3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution of kernel and stride 3: [batch, time, in] -> [batch, 3·time, out].

    Its output windows do not overlap: one matrix product with [3, in, out] and a reshape.
    """
    return convolve(x, kernel, TRANSPOSED3)


def same_length(num_taps: int, dilation: int = 1) -> Reads:
    """The reads of conv1d."""
    return (tuple((tap, dilation * (tap - num_taps // 2)) for tap in range(num_taps)),)


def upsampling3(num_taps: int) -> Reads:
    """The reads of upsample3_conv1d."""
    return tuple(
        tuple((tap, (phase + tap - num_taps // 2) // 3) for tap in range(num_taps))
        for phase in range(3)
    )


TRANSPOSED3: Reads = tuple(((phase, 0),) for phase in range(3))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, reads: Reads) -> jax.Array:
    """[…, time, in] with [taps, in, out] -> […, phases·time, out], zeros beyond the edges.

    One product by all taps side by side, then sums of shifted products. The gradient is written
    out because JAX's own, a chain of pads and scatters, takes about twice as long on CPU.
    """
    num_taps, _, num_out = kernel.shape
    if reads == upsampling3(num_taps):
        return _upsampled_convolution(x, kernel)
    time, reach = x.shape[-2], _reach(reads)
    products = _with_edges(x, reach) @ side_by_side(kernel)
    phases = [
        sum(
            products[..., reach + shift : reach + shift + time, tap * num_out : (tap + 1) * num_out]
            for tap, shift in phase
        )
        for phase in reads
    ]
    return jnp.concatenate(phases, -1).reshape(*x.shape[:-2], len(reads) * time, num_out)


def convolve_gradients(
    x: jax.Array, kernel: jax.Array, cotangent: jax.Array, reads: Reads
) -> tuple[jax.Array, jax.Array]:
    """The gradients of convolve by x and by kernel, given that by its result."""
    num_taps, num_in, num_out = kernel.shape
    if reads == upsampling3(num_taps):
        order, of_products = slice(None, None, -1), _of_upsampled_products(cotangent, num_taps)
    else:
        order, of_products = slice(None), _of_products(cotangent, reads, num_taps)
    by_kernel = x.reshape(-1, num_in).T @ of_products.reshape(-1, num_taps * num_out)
    by_kernel = by_kernel.reshape(num_in, num_taps, num_out).transpose(1, 0, 2)
    return of_products @ side_by_side(kernel[order]).T, by_kernel[order]


def _of_products(cotangent: jax.Array, reads: Reads, num_taps: int) -> jax.Array:
    """The gradient by the products of convolve, […, time, taps·out]."""
    *batch, long, num_out = cotangent.shape
    time, reach = long // len(reads), _reach(reads)
    padded = _with_edges(cotangent.reshape(*batch, time, len(reads) * num_out), reach)
    of_tap = [
        sum(
            padded[
                ..., reach - shift : reach - shift + time, phase * num_out : (phase + 1) * num_out
            ]
            for phase, of_phase in enumerate(reads)
            for read, shift in of_phase
            if read == tap
        )
        for tap in range(num_taps)
    ]
    return jnp.concatenate(of_tap, axis=-1)


# Nearest ×3 upsampling puts two zeros after each sample and then sums every three samples in a row.
# That sum commutes with the convolution, which comes first here, among the zeros, where it is one
# product. Its taps in descending order write to the places 1 − half, …, 1 + half after sample 3t
# for the input sample t, and half is half of the taps.


def _upsampled_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """convolve by the reads of upsampling3."""
    num_taps, _, num_out = kernel.shape
    if num_taps == 1:
        return jnp.repeat(x @ kernel[0], 3, axis=-2)
    *batch, time, _ = x.shape
    first, reach = num_taps // 2 - 1, _row_reach(num_taps) + 1
    products = _with_edges(x, reach) @ side_by_side(kernel[::-1])

    def written(taps: slice, row: int) -> jax.Array:
        """What input samples −1 − row to time − row write, row rows of three further on."""
        start = reach - 1 - row
        columns = slice(taps.start * num_out, taps.stop * num_out)
        return products[..., start : start + time + 2, columns]

    among_zeros = written(slice(first, first + 3), 0).reshape(*batch, time + 2, 3, num_out)
    slot_of = lax.broadcasted_iota(np.int32, among_zeros.shape, among_zeros.ndim - 2)
    for tap in [*range(first), *range(first + 3, num_taps)]:
        row, slot = divmod(tap - first, 3)
        others = written(slice(tap, tap + 1), row)[..., None, :]
        among_zeros = among_zeros + jnp.where(slot_of == slot, others, 0.0)
    among_zeros = among_zeros.reshape(*batch, 3 * (time + 2), num_out)
    return sum(among_zeros[..., start : start + 3 * time, :] for start in (2, 3, 4))


def _of_upsampled_products(cotangent: jax.Array, num_taps: int) -> jax.Array:
    """The gradient by the products of _upsampled_convolution, […, time, taps·out]."""
    *batch, long, num_out = cotangent.shape
    time, reach, first = long // 3, _row_reach(num_taps), num_taps // 2 - 1
    rows = time + 2 * reach
    padded = _with_edges(cotangent, 3 * reach + 1)
    sums = sum(padded[..., start : start + 3 * rows, :] for start in (0, 1, 2))
    sums = sums.reshape(*batch, rows, 3 * num_out)

    def of_tap(tap: int) -> jax.Array:
        row, slot = divmod(tap - first, 3)
        columns = slice(slot * num_out, (slot + 1) * num_out)
        return sums[..., reach + row : reach + row + time, columns]

    return jnp.concatenate([of_tap(tap) for tap in range(num_taps)], axis=-1)


def _row_reach(num_taps: int) -> int:
    """The most rows of three samples by which a tap writes before or after its input's own."""
    half = num_taps // 2
    return max(abs(place // 3) for place in (1 - half, 1 + half))


convolve.defvjp(
    lambda x, kernel, reads: (convolve(x, kernel, reads), (x, kernel)),
    lambda reads, saved, cotangent: convolve_gradients(*saved, cotangent, reads),
)


def side_by_side(kernel: jax.Array) -> jax.Array:
    """[taps, in, out] -> [in, taps·out]: one matrix that multiplies by every tap at once."""
    return kernel.transpose(1, 0, 2).reshape(kernel.shape[1], -1)


def _reach(reads: Reads) -> int:
    """The farthest that any output sample reads from its own input sample."""
    return max(abs(shift) for phase in reads for _, shift in phase)


def _with_edges(x: jax.Array, reach: int) -> jax.Array:
    """[…, time, C] with reach zeros before and after."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(reach, reach), (0, 0)])


def conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolution padded by (k − 1) / 2 on each side, as torch does and 'SAME' does not.

    [batch, height, width, in] with odd [k, k, in, out] -> [batch, ⌈height/stride⌉, …, out].
    """
    if kernel.shape[:2] == (1, 1) and stride == 1:
        # In two dimensions: XLA transposes whole maps for the gradient of one in four.
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)
    if platforms.on_cpu() and x.shape[-1] == 1:
        return depthwise_as_shifted_sum(x, kernel, stride)  # each tap is one scaled copy here too
    return _conv2d(x, kernel, stride, groups=1)


def depthwise_conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolution of each channel with its own kernel [k, k, 1, channels], padded as conv2d.

    XLA's CPU backend runs grouped convolutions channel by channel; there the sum of k² shifted
    products, which it fuses into one loop, is several times as fast. Other backends keep the
    grouped convolution.
    """
    if not platforms.on_cpu():
        return _conv2d(x, kernel, stride, groups=x.shape[-1])
    return depthwise_as_shifted_sum(x, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_as_shifted_sum(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """depthwise_conv2d as a sum over taps of shifted, scaled copies of the input.

    An input of one channel goes to all channels of the kernel: what conv2d does with it.
    The gradient is written out: JAX's own is a pass over the map for every tap.
    """
    half = len(kernel) // 2
    padded = jnp.pad(x, [(0, 0), (half, half), (half, half), (0, 0)])
    shape = _strided_shape(x, stride)
    return sum(
        _every(padded, (i, j), shape, stride) * kernel[i, j, 0]
        for i, j in itertools.product(range(len(kernel)), repeat=2)
    )


def _depthwise_gradients(stride: int, saved: tuple[jax.Array, jax.Array], cotangent: jax.Array):
    x, kernel = saved
    by_input = _depthwise_gradient_by_input(x.shape, kernel, cotangent, stride)
    if x.shape[-1] == 1:
        by_input = jnp.sum(by_input, -1, keepdims=True)
    return by_input, _depthwise_gradient_by_kernel(x, kernel, cotangent, stride)


def _depthwise_gradient_by_input(input_shape, kernel, cotangent, stride: int) -> jax.Array:
    """A shifted sum of the cotangent for each parity of row and column, or what stride leaves."""
    half, reach = len(kernel) // 2, len(kernel) // stride + 1
    shape = cotangent.shape[1:3]
    padded = jnp.pad(cotangent, [(0, 0), (reach, reach), (reach, reach), (0, 0)])

    def read_by(phase: int) -> list[tuple[int, int]]:
        """(tap, place in padded) of the results that read rows, or columns, of this phase."""
        taps = [tap for tap in range(len(kernel)) if (phase + half - tap) % stride == 0]
        return [(tap, reach + (phase + half - tap) // stride) for tap in taps]

    def of_phase(row: int, column: int) -> jax.Array:
        return sum(
            (
                _every(padded, (top, left), shape, 1) * kernel[i, j, 0]
                for (i, top), (j, left) in itertools.product(read_by(row), read_by(column))
            ),
            start=jnp.zeros((), cotangent.dtype),
        )

    batch, height, width, _ = input_shape
    channels = cotangent.shape[-1]
    if stride == 1:
        return of_phase(0, 0)
    phases = [
        [
            jnp.broadcast_to(of_phase(row, column), (batch, *shape, channels))
            for column in range(stride)
        ]
        for row in range(stride)
    ]
    interleaved = jnp.stack([jnp.stack(columns, axis=3) for columns in phases], axis=2)
    whole = interleaved.reshape(batch, stride * shape[0], stride * shape[1], channels)
    return whole[:, :height, :width]


def _depthwise_gradient_by_kernel(x, kernel, cotangent, stride: int) -> jax.Array:
    """Sums over all places of the cotangent times what each tap read: one pass for all taps."""
    half = len(kernel) // 2
    padded = jnp.pad(x, [(0, 0), (half, half), (half, half), (0, 0)])
    shape = _strided_shape(x, stride)
    of_tap = tuple(
        _every(padded, (i, j), shape, stride) * cotangent
        for i, j in itertools.product(range(len(kernel)), repeat=2)
    )
    zeros = (jnp.zeros((), x.dtype),) * len(of_tap)
    # Along a row first, in which the taps of one place read what the next place's will.
    sums = lax.reduce(of_tap, zeros, lambda a, b: [p + q for p, q in zip(a, b)], (2,))
    return jnp.sum(jnp.stack(sums), (1, 2)).reshape(kernel.shape)


depthwise_as_shifted_sum.defvjp(
    lambda x, kernel, stride: (depthwise_as_shifted_sum(x, kernel, stride), (x, kernel)),
    _depthwise_gradients,
)


def _strided_shape(x: jax.Array, stride: int) -> tuple[int, int]:
    """Height and width of a convolution's result."""
    return -(-x.shape[1] // stride), -(-x.shape[2] // stride)


def _every(x: jax.Array, first: tuple[int, int], shape: tuple[int, int], stride: int) -> jax.Array:
    """shape places of x [batch, height, width, C], from first on, stride apart."""
    # The same program as indexing gives, in half of the time to trace it.
    ends = [start + stride * (count - 1) + 1 for start, count in zip(first, shape)]
    strides = (1, stride, stride, 1)
    return lax.slice(x, (0, *first, 0), (len(x), *ends, x.shape[3]), strides)


def _conv2d(x: jax.Array, kernel: jax.Array, stride: int, groups: int) -> jax.Array:
    half = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(half, half), (half, half)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
