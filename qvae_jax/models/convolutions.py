"""Convolutions channels-last, with fast forms of those that XLA does slowly on CPU.

Every fast form gives what its plain form gives, up to rounding; the tests hold the two together.
"""

import jax
import jax.numpy as jnp
from jax import lax


def conv1d(x: jax.Array, kernel: jax.Array, *, dilation: int = 1) -> jax.Array:
    """Same-length convolution: [batch, time, in] with odd [taps, in, out] -> [batch, time, out]."""
    padding = dilation * (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=[(padding, padding)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )


@jax.custom_vjp
def upsample3_conv1d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest ×3 upsampling, then conv1d: [batch, time, in] -> [batch, 3·time, out].

    Upsampling commutes with the product of a single tap, so each tap is multiplied once per input
    sample, a third of the plain form's arithmetic; the three output phases are sums of shifted
    products. The gradient is written out because JAX's own, a chain of pads and scatters, takes
    about twice as long on CPU.
    """
    taps, num_in, num_out = kernel.shape
    batch, time, _ = x.shape
    products = (x @ _side_by_side(kernel)).reshape(batch, time, taps, num_out)
    shifts = _input_shifts(taps)
    padded = jnp.pad(products, [(0, 0), (_reach(taps), _reach(taps)), (0, 0), (0, 0)])
    phases = [
        sum(_shifted(padded[:, :, tap], shifts[phase][tap], time, taps) for tap in range(taps))
        for phase in range(3)
    ]
    return jnp.stack(phases, axis=2).reshape(batch, 3 * time, num_out)


def _upsample3_conv1d_forward(x, kernel):
    return upsample3_conv1d(x, kernel), (x, kernel)


def _upsample3_conv1d_backward(saved, gradient):
    x, kernel = saved
    taps, num_in, num_out = kernel.shape
    batch, time, _ = x.shape
    phases = gradient.reshape(batch, time, 3 * num_out)
    padded = jnp.pad(phases, [(0, 0), (_reach(taps), _reach(taps)), (0, 0)])
    shifts = _input_shifts(taps)
    of_tap = [
        sum(
            _shifted(
                padded[..., phase * num_out : (phase + 1) * num_out],
                -shifts[phase][tap],
                time,
                taps,
            )
            for phase in range(3)
        )
        for tap in range(taps)
    ]
    # Fused into the two products below, these sums would be computed anew for every block of them.
    products = lax.optimization_barrier(jnp.concatenate(of_tap, axis=-1))
    x_gradient = products @ _side_by_side(kernel).T
    kernel_gradient = x.reshape(-1, num_in).T @ products.reshape(-1, taps * num_out)
    return x_gradient, kernel_gradient.reshape(num_in, taps, num_out).transpose(1, 0, 2)


upsample3_conv1d.defvjp(_upsample3_conv1d_forward, _upsample3_conv1d_backward)


def _side_by_side(kernel: jax.Array) -> jax.Array:
    """[taps, in, out] -> [in, taps·out]: one matrix that multiplies by every tap at once."""
    return kernel.transpose(1, 0, 2).reshape(kernel.shape[1], -1)


def _input_shifts(taps: int) -> list[list[int]]:
    """Output sample 3t + phase reads input sample t + shifts[phase][tap] through each tap."""
    return [[(phase + tap - taps // 2) // 3 for tap in range(taps)] for phase in range(3)]


def _reach(taps: int) -> int:
    """The farthest that any output sample reads from its own input sample."""
    return max(abs(shift) for row in _input_shifts(taps) for shift in row)


def _shifted(padded: jax.Array, shift: int, time: int, taps: int) -> jax.Array:
    """The time steps shift … shift + time − 1 of an array padded by _reach at both ends."""
    return lax.slice_in_dim(padded, _reach(taps) + shift, _reach(taps) + shift + time, axis=1)


def transposed_conv1d_stride3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution of kernel and stride 3: [batch, time, in] -> [batch, 3·time, out].

    Its output windows do not overlap, so it is one matrix product with [3, in, out] and a reshape.
    """
    batch, time, _ = x.shape
    return (x @ _side_by_side(kernel)).reshape(batch, 3 * time, kernel.shape[-1])


def upsample3_linear(x: jax.Array) -> jax.Array:
    """Linear ×3 upsampling with half-pixel centres: [batch, time, C] -> [batch, 3·time, C].

    Each sample stays in the middle of its three; its neighbours mix 2 : 1 with the next sample,
    and the edges repeat (torch's interpolate, mode "linear", align_corners false).
    """
    before = jnp.concatenate([x[:, :1], x[:, :-1]], axis=1)
    after = jnp.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    phases = [(before + 2.0 * x) / 3.0, x, (2.0 * x + after) / 3.0]
    return jnp.stack(phases, axis=2).reshape(x.shape[0], 3 * x.shape[1], x.shape[2])


def conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolution padded by (k − 1) / 2 on each side, as torch does and 'SAME' does not.

    [batch, height, width, in] with odd [k, k, in, out] -> [batch, ⌈height/stride⌉, …, out].
    """
    if kernel.shape[:2] == (1, 1) and stride == 1:
        return x @ kernel[0, 0]
    return _conv2d(x, kernel, stride, groups=1)


def depthwise_conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolution of each channel with its own kernel [k, k, 1, channels], padded as conv2d.

    XLA's CPU backend runs grouped convolutions channel by channel; there the sum of k² shifted
    products, which it fuses into one loop, is several times as fast. Other backends keep the
    grouped convolution.
    """
    if jax.default_backend() != "cpu":
        return _conv2d(x, kernel, stride, groups=x.shape[-1])
    return depthwise_as_shifted_sum(x, kernel, stride)


def depthwise_as_shifted_sum(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """depthwise_conv2d as a sum over taps of shifted, scaled copies of the input."""
    size = kernel.shape[0]
    half = (size - 1) // 2
    padded = jnp.pad(x, [(0, 0), (half, half), (half, half), (0, 0)])
    batch, height, width, channels = x.shape
    rows, columns = stride * (-(-height // stride) - 1) + 1, stride * (-(-width // stride) - 1) + 1
    total = 0.0
    for i in range(size):
        for j in range(size):
            # The same program as indexing gives, in half of the time to trace it.
            shifted = lax.slice(
                padded,
                (0, i, j, 0),
                (batch, i + rows, j + columns, channels),
                (1, stride, stride, 1),
            )
            total = total + shifted * kernel[i, j, 0]
    return total


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
