"""Fourier transforms in an ONNX graph: as the runtime's own, or as products with fixed matrices.

onnxruntime's DFT takes few steps where the length is a power of two. Of any other it is slower than
a product (1024 and 972 samples a frame, 908 frames: benchmarks/export.py).
"""

import functools

import numpy as np

from qvae_jax.exporting.conversion import Builder, Complex, Tensor, constant, handles
from qvae_jax.exporting.operators import whole


@handles("fft")
def _transform(builder: Builder, operation, *inputs):
    kind = operation.params["fft_type"].name
    (length,) = operation.params["fft_lengths"]
    if kind == "RFFT":
        return _of_real(builder, whole(builder, operation, inputs), length)
    if kind == "IRFFT" and inputs[0].imag is not None:
        shape = operation.invars[0].aval.shape
        parts = (builder.full(part, shape) for part in (inputs[0].real, inputs[0].imag))
        return _to_real(builder, *parts, length)
    raise NotImplementedError("a complex transform")


def _of_real(builder: Builder, samples: Tensor, length: int) -> Complex:
    cosines, sines = _matrices(length)
    shape = (*samples.shape[:-1], length // 2 + 1)
    real = builder.add("MatMul", [samples, constant(cosines)], shape, np.float32)
    return Complex(real, builder.add("MatMul", [samples, constant(sines)], shape, np.float32))


def _to_real(builder: Builder, real: Tensor, imag: Tensor, length: int) -> Tensor:
    cosines, sines = _matrices(length)
    # A bin stands for itself and its mirror image, but for the first and, of an even length, the last.
    counted = np.full(length // 2 + 1, 2.0)
    counted[0] = 1.0
    if length % 2 == 0:
        counted[-1] = 1.0
    scale = (counted / length)[:, None]
    weights = [
        (scale * matrix.T.astype(np.float64)).astype(np.float32) for matrix in (cosines, sines)
    ]
    shape = (*real.shape[:-1], length)
    parts = [
        builder.add("MatMul", [part, constant(matrix)], shape, np.float32)
        for part, matrix in zip((real, imag), weights)
    ]
    return builder.add("Add", parts, shape, np.float32)


@functools.cache
def _matrices(length: int) -> tuple[np.ndarray, np.ndarray]:
    """What gives the real and the imaginary parts of the bins: two float32 [length, bins]."""
    turned = np.outer(np.arange(length), np.arange(length // 2 + 1)) % length
    angles = 2 * np.pi * turned / length
    return np.cos(angles).astype(np.float32), (-np.sin(angles)).astype(np.float32)
