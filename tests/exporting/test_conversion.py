"""Each operation of ONNX graphs beside JAX's, with rows of which the graph does not know how many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

onnxruntime = pytest.importorskip("onnxruntime", reason="graphs of ONNX run in onnxruntime")
onnx = pytest.importorskip("onnx", reason="ONNX is written with the package onnx")

from qvae_jax.exporting import contractions, operators, transforms  # noqa: F401
from qvae_jax.exporting.conversion import converted
from qvae_jax.models import forms, plain
from qvae_jax.system import platforms
from qvae_jax.system.errors import UserError

RNG = np.random.default_rng(0)
KERNEL_1D = RNG.standard_normal((3, 6, 5)).astype(np.float32)
KERNEL_2D = RNG.standard_normal((3, 3, 2, 4)).astype(np.float32)
DEPTHWISE = RNG.standard_normal((5, 5, 1, 2)).astype(np.float32)
TAPS = RNG.standard_normal((7, 1, 6)).astype(np.float32)
MATRIX = RNG.standard_normal((6, 4)).astype(np.float32)


# Of x, float32 [rows, 12, 6].
FUNCTIONS = {
    "arithmetic": lambda x: (x + 1.5) * x - x / (2 + x * x),
    "powers": lambda x: x**2 + jnp.abs(x) ** 3 + 2.0**x + jnp.abs(x) ** 0.3,
    "exponentials": lambda x: jnp.log(jnp.exp(x) + 1) + jnp.log1p(x * x) + jnp.expm1(x),
    "waves": lambda x: jnp.sin(x) + jnp.cos(3 * x) + jnp.tanh(x),
    "roots": lambda x: jnp.sqrt(jnp.abs(x)) + lax.rsqrt(1 + x * x),
    "rounding": lambda x: jnp.floor(x) + jnp.ceil(2 * x) + jnp.round(x * 4) + jnp.sign(x),
    "halves are rounded to the even": lambda x: jnp.round(jnp.round(x * 2) / 2),
    "choices": lambda x: jnp.where((x > 0) & ~(x > 1) | (x == 0), x, jnp.maximum(-x, 0.2)),
    "bounds": lambda x: jnp.clip(x, -0.5, 0.5) + jnp.minimum(x, x[:, :1]),
    "whole numbers": lambda x: (x * 100).astype(jnp.int32) // 7 + jnp.int32(3),
    "truncated": lambda x: lax.div(
        (x * 100).astype(jnp.int32), jnp.full(x.shape[1:], 7, jnp.int32)[None]
    ),
    "remainders": lambda x: lax.rem((x * 100).astype(jnp.int32), jnp.int32(7)),
    "activations": lambda x: (
        forms.gelu(x) + jax.nn.softplus(x) + jax.nn.sigmoid(x) + jax.nn.hard_swish(x)
    ),
    "exact gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "sums": lambda x: (
        jnp.sum(x, axis=1) + jnp.mean(x, axis=1) + jnp.max(x, axis=1) - jnp.min(x, axis=1)
    ),
    "any": lambda x: jnp.any(x > 1.5, axis=(1, 2)) & jnp.all(x < 9, axis=(1, 2)),
    "places": lambda x: jnp.argmax(x, axis=1) + jnp.argmin(x, axis=1),
    "running": lambda x: jnp.cumsum(x, axis=1) + lax.cumsum(x, axis=2, reverse=True),
    "whole numbers that wrap": lambda x: jnp.cumsum(
        (x * 2**29).astype(jnp.int32), axis=1, dtype=jnp.int32
    ),
    "extremes so far": lambda x: (
        lax.cummax(x[:, :, 0], axis=1) + lax.cummin(x[:, :, 1], axis=1, reverse=True)
    ),
    "windows": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3), (1, 1, 1), "SAME"),
    "windows of no less than 0": lambda x: jax.vmap(
        lambda row: lax.reduce_window(row, 0.0, lax.max, (5,), (1,), "SAME")
    )(x[:, :, 0]),
    "best": lambda x: lax.top_k(x, 3)[0] + lax.top_k(x, 3)[1],
    "joined": lambda x: jnp.concatenate([x[:, ::2], x[:, :3], jnp.zeros_like(x[:, :1])], axis=1),
    "padded": lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 3)), constant_values=7),
    "held": lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 0)), mode="edge"),
    "mirrored": lambda x: jnp.pad(x, ((0, 0), (3, 3), (0, 0)), mode="reflect"),
    "reversed": lambda x: lax.rev(x, (1, 2)),
    "repeated": lambda x: jnp.repeat(x, 3, axis=1),
    "reshaped": lambda x: x.reshape(x.shape[0], 8, 9).swapaxes(1, 2)[..., None].squeeze(-1),
    "parts": lambda x: jnp.split(x, 3, axis=-1)[1] * x[:, :1, 2:4],
    "broadcast": lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 2, 12, 6)),
    "taken by each row": lambda x: jnp.take_along_axis(x, jnp.argmax(x, axis=1)[:, None], axis=1),
    "rows taken by each row": lambda x: jnp.take_along_axis(
        x, jnp.argmax(x[:, :, :1], axis=1)[:, None], axis=1
    ),
    "taken by fixed places": lambda x: x[:, np.array([3, 1, 1, 11])],
    "looked up": lambda x: jnp.arange(50.0)[(jnp.abs(x) * 9).astype(jnp.int32)],
    "matrix": lambda x: x @ MATRIX,
    "of each row": lambda x: jnp.einsum("bij,bkj->bki", x, x),
    "from the left": lambda x: jnp.einsum("jk,bij->bki", MATRIX, x),
    "convolution": lambda x: plain.conv1d(x, KERNEL_1D, dilation=2),
    "upsampling": lambda x: plain.upsample3_linear_conv1d(x, KERNEL_1D),
    "transposed": lambda x: plain.transposed_conv1d_stride3(x, KERNEL_1D),
    "maps": lambda x: plain.conv2d(x.reshape(x.shape[0], 6, 6, 2), KERNEL_2D, stride=2),
    "depthwise": lambda x: plain.depthwise_conv2d(x.reshape(x.shape[0], 6, 6, 2), DEPTHWISE),
    "taps": lambda x: plain.grouped_conv1d(x, TAPS, dilation=2),
    "spectrum": lambda x: jnp.abs(jnp.real(jnp.fft.rfft(x, axis=-1)) + jnp.imag(jnp.fft.rfft(x))),
    "long spectrum": lambda x: jnp.imag(jnp.fft.rfft(x.reshape(x.shape[0], 72), 128)),
    "there and back": lambda x: jnp.fft.irfft(
        jnp.fft.rfft(x, 10) * jnp.conj(jnp.fft.rfft(x, 10)), 10
    ),
    "complex": lambda x: jnp.fft.irfft(lax.complex(x, jnp.sin(x)) * x + lax.complex(x, x), 10),
}


def _ran(function, x: np.ndarray) -> np.ndarray:
    (rows,) = export.symbolic_shape("batch")
    specs = {"x": jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype)}
    with platforms.compiling_for(platforms.ONNX):
        model = converted(lambda inputs: {"y": function(inputs["x"])}, specs, ["y"])
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["y"], {"x": x})[0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_operation_is_jaxs(name):
    function = FUNCTIONS[name]
    for rows in (1, 3):
        x = np.random.default_rng(rows).standard_normal((rows, 12, 6)).astype(np.float32)
        wanted = np.asarray(jax.jit(function)(x))
        found = _ran(function, x)
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_what_is_known_is_computed_while_exporting():
    """No operator but the sum is left."""
    (rows,) = export.symbolic_shape("batch")
    specs = {"x": jax.ShapeDtypeStruct((rows, 6), np.float32)}
    weights = lambda: jnp.sqrt(jnp.exp(jnp.asarray(MATRIX[:, 0])) + 1)
    model = converted(lambda inputs: {"y": inputs["x"] + weights()}, specs, ["y"])
    assert [node.op_type for node in model.graph.node] == ["Add", "Identity"]


def test_what_has_no_conversion_is_named():
    with pytest.raises(UserError, match="JAX's operation lgamma has no conversion"):
        _ran(lambda x: lax.lgamma(x), np.ones((1, 2), np.float32))
