"""Fourier transforms in an ONNX graph, as products with small fixed matrices.

onnxruntime has an operator, DFT, which takes three times as long for 1,024 samples as a product with
one matrix of all their cosines and sines, ten times as long for 972 or 720, and is then off by 1e-4
(908 frames on one core). A length that is a product, n = a·b, takes two steps of far smaller matrices
(Cooley & Tukey, 1965). With samples t = b·i + j and bins k = a·l + m,

    Σ_t x(t) w(t·k / n)  =  Σ_j  w(j·l / b) · w(j·m / n) · Σ_i x(b·i + j) w(i·m / a),

where w(u) = exp(-2πi·u). The way back is the same from right to left.
"""

import functools
import math

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
    a, b = factors(length)
    *before, _ = samples.shape
    bins = length // 2 + 1
    columns = bins // a + 1  # of l: as many as the bins reach into
    # [i, j] to [j, i], and from i to m: its cosines beside its sines.
    grid = builder.reshape(samples, (*before, a, b))
    grid = builder.transpose(grid, (*range(len(before)), len(before) + 1, len(before)))
    found = _times(builder, grid, _rows(a), (*before, b, 2 * a))
    real, imag = _halves(builder, found, a)
    turned = _turned(builder, Complex(real, imag), _twiddles(a, b))
    # From j to l, the real parts over the imaginary ones.
    both = builder.add(
        "Concat", [turned.real, turned.imag], (*before, 2 * b, a), np.float32, axis=len(before)
    )
    matrix = constant(_columns(b, columns))
    found = builder.add("MatMul", [matrix, both], (*before, 2 * columns, a), np.float32)
    parts = []
    for part in range(2):
        part = _part(builder, found, len(before), part * columns, (part + 1) * columns)
        flat = builder.reshape(part, (*before, columns * a))
        parts.append(_part(builder, flat, len(before), 0, bins))
    return Complex(*parts)


def _to_real(builder: Builder, real: Tensor, imag: Tensor, length: int) -> Tensor:
    """The adjoint of _of_real, of bins that count twice but for the first and, maybe, the last."""
    a, b = factors(length)
    *before, bins = real.shape
    columns = bins // a + 1
    counted = np.full(bins, 2 / length, np.float32)
    counted[0] = 1 / length
    if length % 2 == 0:
        counted[-1] = 1 / length
    grids = []
    for part in (real, imag):
        part = builder.add("Mul", [part, constant(counted)], part.shape, np.float32)
        missing = np.zeros(2 * len(part.shape), np.int64)
        missing[-1] = columns * a - bins
        part = builder.add("Pad", [part, constant(missing)], (*before, columns * a), np.float32)
        grids.append(builder.reshape(part, (*before, columns, a)))
    # From l to j, then turned back, then from m to i.
    both = builder.add("Concat", grids, (*before, 2 * columns, a), np.float32, axis=len(before))
    matrix = constant(np.ascontiguousarray(_columns(b, columns).T))
    found = builder.add("MatMul", [matrix, both], (*before, 2 * b, a), np.float32)
    halves = [_part(builder, found, len(before), n * b, (n + 1) * b) for n in range(2)]
    turned = _turned(builder, Complex(*halves), _twiddles(a, b).conj())
    both = builder.add(
        "Concat", [turned.real, turned.imag], (*before, b, 2 * a), np.float32, axis=len(before) + 1
    )
    found = _times(builder, both, np.ascontiguousarray(_rows(a).T), (*before, b, a))
    grid = builder.transpose(found, (*range(len(before)), len(before) + 1, len(before)))
    return builder.reshape(grid, (*before, length))


def _times(builder: Builder, value: Tensor, matrix: np.ndarray, shape) -> Tensor:
    return builder.add("MatMul", [value, constant(matrix)], shape, np.float32)


def _turned(builder: Builder, value: Complex, by: np.ndarray) -> Complex:
    """The value [..., b, a] times complex numbers [b, a]."""
    cos, sin = constant(by.real.astype(np.float32)), constant(by.imag.astype(np.float32))
    shape = value.real.shape
    of = lambda operator, x, y: builder.add(operator, [x, y], shape, np.float32)
    return Complex(
        of("Sub", of("Mul", value.real, cos), of("Mul", value.imag, sin)),
        of("Add", of("Mul", value.real, sin), of("Mul", value.imag, cos)),
    )


def _halves(builder: Builder, value: Tensor, size: int) -> tuple[Tensor, Tensor]:
    axis = len(value.shape) - 1
    return tuple(_part(builder, value, axis, n * size, (n + 1) * size) for n in range(2))


def _part(builder: Builder, value: Tensor, axis: int, first: int, end: int) -> Tensor:
    starts, stops = [0] * len(value.shape), list(value.shape)
    starts[axis], stops[axis] = first, end
    return builder.slice(value, starts, stops, (1,) * len(starts))


def factors(length: int) -> tuple[int, int]:
    """The two factors of a length that are nearest to each other, the smaller first."""
    a = next(a for a in range(math.isqrt(length), 0, -1) if length % a == 0)
    return a, length // a


def _waves(rows: int, columns: int, period: int) -> np.ndarray:
    """w(row·column / period), complex128 [rows, columns]."""
    turns = np.outer(np.arange(rows), np.arange(columns)) % period
    return np.exp(-2j * np.pi * turns / period)


@functools.cache
def _rows(a: int) -> np.ndarray:
    """What makes of i the real parts of m beside the imaginary ones: float32 [a, 2·a]."""
    waves = _waves(a, a, a)
    return np.concatenate([waves.real, waves.imag], axis=1).astype(np.float32)


@functools.cache
def _columns(b: int, columns: int) -> np.ndarray:
    """What makes of j the parts of l, the real over the imaginary: float32 [2·columns, 2·b]."""
    waves = _waves(columns, b, b)
    return np.block([[waves.real, -waves.imag], [waves.imag, waves.real]]).astype(np.float32)


def _twiddles(a: int, b: int) -> np.ndarray:
    """w(j·m / n): complex [b, a]."""
    return _waves(b, a, a * b)
