"""What the models compute, each operation written the plain way: what an accelerator runs.

Data is channels-last: sounds are [batch, time, channels], maps [batch, height, width, channels].
The models call these through forms.py, which takes a fast form instead where one is chosen.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def conv1d(x: jax.Array, kernel: jax.Array, *, dilation: int = 1) -> jax.Array:
    """Same-length convolution: [batch, time, in] with odd [taps, in, out] -> [batch, time, out]."""
    padding = dilation * (len(kernel) - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=[(padding, padding)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )


def depthwise_conv1d(x: jax.Array, taps: jax.Array, *, dilation: int = 1) -> jax.Array:
    """Same-length convolution of each channel by its own odd taps [taps, 1, channels].

    [batch, time, channels] -> the same shape: a sum of shifted products, which every backend of XLA
    fuses.
    """
    reach, length = dilation * (len(taps) // 2), x.shape[1]
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
    return sum(padded[:, i * dilation :][:, :length] * taps[i] for i in range(len(taps)))


def grouped_conv1d(x: jax.Array, taps: jax.Array, *, dilation: int = 1) -> jax.Array:
    """depthwise_conv1d as one convolution of as many groups as channels."""
    reach = dilation * (len(taps) // 2)
    return lax.conv_general_dilated(
        x,
        taps,
        window_strides=(1,),
        padding=[(reach, reach)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=x.shape[-1],
    )


def gelu(x: jax.Array) -> jax.Array:
    """The Gaussian error linear unit by its formula with tanh (Hendrycks & Gimpel, 2016)."""
    return jax.nn.gelu(x)


def upsample3_conv1d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest ×3 upsampling, then conv1d: [batch, time, in] -> [batch, 3·time, out]."""
    return conv1d(jnp.repeat(x, 3, axis=1), kernel)


def upsample3_linear_conv1d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Linear ×3 upsampling, then conv1d: [batch, time, in] -> [batch, 3·time, out]."""
    return conv1d(upsample3_linear(x), kernel)


def upsample3_linear(x: jax.Array) -> jax.Array:
    """Linear ×3 upsampling with half-pixel centres: [batch, time, C] -> [batch, 3·time, C].

    Each sample stays in the middle of its three. The one on either side of it is two thirds of it
    and one third of the neighbour there; at the edges the neighbour is the sample itself (torch's
    interpolate, mode "linear", align_corners false).
    """
    before = jnp.concatenate([x[:, :1], x[:, :-1]], axis=1)
    after = jnp.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    phases = jnp.stack([(before + 2.0 * x) / 3.0, x, (2.0 * x + after) / 3.0], axis=2)
    return phases.reshape(x.shape[0], -1, x.shape[-1])


def transposed_conv1d_stride3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution of kernel and stride 3: [batch, time, in] -> [batch, 3·time, out].

    kernel is [3, in, out], and its tap i gives the sample i of each three.
    """
    return lax.conv_transpose(
        x, kernel[::-1], (3,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
    )


def conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolution padded by (k − 1) / 2 on each side, as torch does and "SAME" does not.

    [batch, height, width, in] with odd [k, k, in, out] -> [batch, ⌈height/stride⌉, …, out].
    """
    return _conv2d(x, kernel, stride, groups=1)


def gated_conv2d(x: jax.Array, kernel: jax.Array, gate: jax.Array, *, stride: int = 1) -> jax.Array:
    """conv2d of a map whose channels are first scaled by gate [batch, in]."""
    return conv2d(x * gate[:, None, None, :], kernel, stride=stride)


def depthwise_conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolution of each channel with its own kernel [k, k, 1, channels], padded as in conv2d."""
    return _conv2d(x, kernel, stride, groups=x.shape[-1])


def _conv2d(x: jax.Array, kernel: jax.Array, stride: int, groups: int) -> jax.Array:
    half = (len(kernel) - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(half, half), (half, half)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def mean_of_places(x: jax.Array, counts: np.ndarray | None = None) -> jax.Array:
    """The mean of a map over its places: [batch, height, width, channels] -> [batch, channels].

    counts [width] says how often each column counts; once, where it is None.
    """
    if counts is None:
        return jnp.mean(x, (1, 2))
    shares = counts / (x.shape[1] * counts.sum())
    return jnp.sum(x * shares.astype(x.dtype)[:, None], (1, 2))


def mixed_branches(x: jax.Array, branches: Sequence[Callable], output: Callable) -> jax.Array:
    """Convolutions side by side, and one of a single tap that mixes their channels.

    branches and output are layers.Conv1d: [batch, time, in] -> [batch, time, out of output].
    """
    return output(jnp.concatenate([branch(x) for branch in branches], axis=-1))


class Step(NamedTuple):
    """One layer of several that are applied in turn.

    sees_batch: whether it lets samples see each other, as BatchNorm in training does.
    """

    name: str
    apply: Callable[[jax.Array], jax.Array]
    sees_batch: bool


def in_turn(steps: Sequence[Step], x: jax.Array) -> jax.Array:
    """What the steps, one after the other, make of x [batch, …]."""
    for step in steps:
        x = step.apply(x)
    return x


def train_stages(x: jax.Array, stages: Sequence[Callable], output: Callable) -> jax.Array:
    """A decoder's stages in training mode, then its output layer.

    stages are decoders.Stage: [batch, time, in] -> [batch, longer time, out of output].
    """
    for stage in stages:
        x = stage(x, train=True)
    return output(x)
