"""Products and convolutions as operators of ONNX, which wants channels first."""

import math

import numpy as np

from qvae_jax.exporting.conversion import Builder, Tensor, constant, handles
from qvae_jax.exporting.operators import whole


@handles("dot_general")
def _product(builder: Builder, operation, *inputs):
    """A matrix product, of rows and columns that each may be several axes."""
    (left_axes, right_axes), (left_batch, right_batch) = operation.params["dimension_numbers"]
    left, right = (whole(builder, operation, inputs, number) for number in (0, 1))
    out = operation.outvars[0].aval
    left_free = _others(left, left_axes, left_batch)
    right_free = _others(right, right_axes, right_batch)
    left = builder.transpose(left, [*left_batch, *left_free, *left_axes])
    right = builder.transpose(right, [*right_batch, *right_axes, *right_free])
    inner = math.prod(right.shape[len(right_batch) : len(right_batch) + len(right_axes)])
    batch = left.shape[: len(left_batch)]
    rows = left.shape[len(left_batch) : len(left_batch) + len(left_free)]
    columns = right.shape[len(right_batch) + len(right_axes) :]
    # Where one matrix multiplies all, its rows stay the axes that they are.
    if left_batch or not rows:
        rows_as = (_together(rows),)
    else:
        rows_as = rows
    left = builder.reshape(left, (*batch, *rows_as, inner))
    right = builder.reshape(right, (*batch, inner, _together(columns)))
    shape = (*batch, *rows_as, _together(columns))
    found = builder.add("MatMul", [left, right], shape, out.dtype)
    return builder.reshape(found, out.shape)


def _others(value: Tensor, *taken) -> list[int]:
    gone = {axis for axes in taken for axis in axes}
    return [axis for axis in range(len(value.shape)) if axis not in gone]


def _together(sizes):
    found = 1
    for size in sizes:
        found = found * size
    return found


@handles("conv_general_dilated")
def _convolution(builder: Builder, operation, *inputs):
    params = operation.params
    dims = params["dimension_numbers"]
    if params["batch_group_count"] != 1:
        raise NotImplementedError("a convolution of groups of the batch")
    signal, kernel = (whole(builder, operation, inputs, number) for number in (0, 1))
    signal = builder.transpose(signal, dims.lhs_spec)
    kernel = builder.transpose(kernel, dims.rhs_spec)
    out = operation.outvars[0].aval
    found_shape = tuple(out.shape[axis] for axis in dims.out_spec)
    if any(step != 1 for step in params["lhs_dilation"]):
        found = _transposed(builder, params, signal, kernel, found_shape)
    else:
        before, after = zip(*params["padding"])
        found = builder.add(
            "Conv",
            [signal, kernel],
            found_shape,
            out.dtype,
            kernel_shape=kernel.shape[2:],
            strides=params["window_strides"],
            dilations=params["rhs_dilation"],
            group=params["feature_group_count"],
            pads=[*before, *after],
        )
    return builder.transpose(found, np.argsort(dims.out_spec))


def _transposed(builder: Builder, params, signal: Tensor, kernel: Tensor, shape) -> Tensor:
    """A convolution of a signal with zeros in between, which ONNX has as one transposed."""
    if params["feature_group_count"] != 1 or set(params["window_strides"]) != {1}:
        raise NotImplementedError("a transposed convolution of groups or strides")
    if set(params["rhs_dilation"]) != {1}:
        raise NotImplementedError("a transposed convolution that is dilated")
    axes = range(2, len(kernel.shape))
    flipped = np.flip(kernel.constant.swapaxes(0, 1), axes)
    edges = [
        [size - 1 - count for size, count in zip(kernel.shape[2:], counts)]
        for counts in zip(*params["padding"])
    ]
    return builder.add(
        "ConvTranspose",
        [signal, constant(flipped)],
        shape,
        signal.dtype,
        kernel_shape=kernel.shape[2:],
        strides=params["lhs_dilation"],
        pads=[*edges[0], *edges[1]],
    )
