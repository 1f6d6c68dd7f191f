"""A traced JAX function as an ONNX graph: the walk through its operations, and what it builds.

What is known while exporting (weights, and all that is computed of them alone) is computed then and
lies in the graph as a constant. A number that is broadcast stays as small as it is wherever the
operator that takes it broadcasts by itself, as those of single elements do.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import onnx
from jax.extend import core
from onnx import TensorProto, helper, numpy_helper

from qvae_jax.system.errors import UserError

OPSET = 20  # the first with Gelu; onnxruntime reads it from 1.17 on
IR_VERSION = 9  # of the same release
TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(bool): TensorProto.BOOL,
}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
        shape: its own, of numbers, and of symbols where it depends on the batch.
        dtype: its type.
        name: of it in the graph; None of a constant that no operator has taken yet.
        constant: what is known of it: all, or None.
    """

    shape: tuple
    dtype: np.dtype
    name: str | None = None
    constant: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Complex:
    """A complex value as two, of which ONNX has no kind; imag is None of a real one."""

    real: Tensor
    imag: Tensor | None


def constant(array) -> Tensor:
    """A value that is known."""
    array = np.asarray(array)
    return Tensor(array.shape, array.dtype, None, array)


def known(array: np.ndarray) -> Tensor | Complex:
    """A value that is known, which may be complex."""
    if array.dtype.kind != "c":
        return constant(array)
    return Complex(constant(array.real), constant(array.imag) if array.imag.any() else None)


class Builder:
    """A graph as it grows: operators by their names, constants once each.

    batch is an input, by whose first size the others of that symbol are told.
    """

    def __init__(self, batch: Tensor):
        self.nodes, self.constants = [], []
        self._names, self._kept = {}, {}
        self._batch = batch

    def fresh(self, stem: str) -> str:
        """A name that no value has."""
        number = self._names.get(stem, 0)
        self._names[stem] = number + 1
        return f"{stem}_{number}"

    def name(self, value: Tensor) -> str:
        """The name of a value, which makes a constant one of the graph's."""
        if value.name is not None:
            return value.name
        array = np.ascontiguousarray(value.constant)
        digest = hashlib.sha256(array.tobytes()).digest()
        key = (array.dtype.str, value.constant.shape, digest)
        if key not in self._kept:
            self._kept[key] = self.fresh("constant")
            tensor = numpy_helper.from_array(array.reshape(value.constant.shape), self._kept[key])
            self.constants.append(tensor)
        return self._kept[key]

    def add(
        self, operator: str, values: Sequence[Tensor | None], shape, dtype, **attributes
    ) -> Tensor:
        """The result, of this shape and type, of an operator; None is an input that is left out."""
        (found,) = self.add_all(operator, values, [(shape, dtype)], **attributes)
        return found

    def add_all(
        self, operator: str, values: Sequence[Tensor | None], results: Sequence, **attributes
    ) -> list[Tensor]:
        """The results of an operator that has several, each of a shape and type."""
        names = ["" if value is None else self.name(value) for value in values]
        found = [
            Tensor(tuple(shape), np.dtype(dtype), self.fresh(operator)) for shape, dtype in results
        ]
        outputs = [value.name for value in found]
        self.nodes.append(helper.make_node(operator, names, outputs, **attributes))
        return found

    # --- What most operators need

    def shape_of(self, shape: Sequence) -> Tensor:
        """A shape as a value, int64; of symbols only the batch itself can be in it."""
        if all(isinstance(size, int) for size in shape):
            return constant(np.array(shape, np.int64))
        parts = [
            constant(np.array([size], np.int64)) if isinstance(size, int) else self._rows(size)
            for size in shape
        ]
        return self.add("Concat", parts, (len(shape),), np.int64, axis=0)

    def _rows(self, size) -> Tensor:
        if size != self._batch.shape[0]:
            raise NotImplementedError(f"a size of {size}")
        return self.add("Shape", [self._batch], (1,), np.int64, start=0, end=1)

    def reshape(self, value: Tensor, shape: Sequence) -> Tensor:
        """The value in another shape, of which at most one size depends on the batch."""
        shape = tuple(shape)
        if value.shape == shape:
            return value
        if value.constant is not None:
            return constant(value.constant.reshape(shape))
        sizes = [size if isinstance(size, int) else -1 for size in shape]
        if sizes.count(-1) > 1:
            raise NotImplementedError(f"a shape of {shape}")
        return self.add("Reshape", [value, constant(np.array(sizes, np.int64))], shape, value.dtype)

    def full(self, value: Tensor, shape: Sequence) -> Tensor:
        """The value in its whole shape, where it has been kept smaller."""
        shape = tuple(shape)
        if value.shape == shape:
            return value
        if value.constant is not None and all(isinstance(size, int) for size in shape):
            return constant(np.broadcast_to(value.constant, shape))
        sizes = [1 if own == size else size for own, size in zip(value.shape, shape)]
        return self.add("Expand", [value, self.shape_of(sizes)], shape, value.dtype)

    def transpose(self, value: Tensor, order: Sequence[int]) -> Tensor:
        """The value with its axes in another order."""
        order = tuple(map(int, order))
        if order == tuple(range(len(order))):
            return value
        if value.constant is not None:
            return constant(value.constant.transpose(order))
        shape = tuple(value.shape[axis] for axis in order)
        return self.add("Transpose", [value], shape, value.dtype, perm=order)

    def cast(self, value: Tensor, dtype) -> Tensor:
        """The value in another type."""
        dtype = np.dtype(dtype)
        if value.dtype == dtype:
            return value
        if value.constant is not None:
            return constant(value.constant.astype(dtype))
        return self.add("Cast", [value], value.shape, dtype, to=TYPES[dtype])

    def slice(
        self, value: Tensor, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]
    ) -> Tensor:
        """Part of a value along axes whose sizes are known; others stay whole."""
        axes = [
            axis
            for axis, size in enumerate(value.shape)
            if isinstance(size, int) and (starts[axis], stops[axis], steps[axis]) != (0, size, 1)
        ]
        if not axes:
            return value
        shape = list(value.shape)
        for axis in axes:
            shape[axis] = max(0, -(-(stops[axis] - starts[axis]) // steps[axis]))
        number = lambda values: constant(np.array([values[axis] for axis in axes], np.int64))
        inputs = [value, number(starts), number(stops), constant(np.array(axes, np.int64))]
        return self.add("Slice", [*inputs, number(steps)], shape, value.dtype)


Handler = Callable[..., Any]
# By a primitive's name: a function of the builder, the traced operation and its inputs, which gives
# the output, or several of them in a list.
HANDLERS: dict[str, Handler] = {}
# By the name of a function that JAX traces as one, so that an operator of its own takes its place.
FUNCTIONS: dict[str, Handler] = {}
# The primitives that only call a traced function.
CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat"}
# The primitives that make each element of the elements at its place.
SINGLE: set[str] = set()


def handles(*names: str, table: dict[str, Handler] = HANDLERS):
    """Enters a function under these names."""

    def enter(handler: Handler) -> Handler:
        table.update(dict.fromkeys(names, handler))
        return handler

    return enter


def walk(builder: Builder, jaxpr, consts: Sequence, inputs: Sequence) -> list:
    """The outputs of a traced function of these inputs, whose operators go into the builder."""
    values = dict(zip(jaxpr.constvars, map(known, map(np.asarray, consts)))) | dict(
        zip(jaxpr.invars, inputs)
    )

    def read(atom):
        if isinstance(atom, core.Literal):
            return known(np.asarray(atom.val, atom.aval.dtype))
        return values[atom]

    for operation in jaxpr.eqns:
        found = _converted(builder, operation, [read(atom) for atom in operation.invars])
        values.update(zip(operation.outvars, found))
    return [read(atom) for atom in jaxpr.outvars]


def _converted(builder: Builder, operation, inputs: list) -> list:
    if all(0 in out.aval.shape for out in operation.outvars):
        # Edges that are padded by nothing; they are joined to something, and left out there.
        return [Tensor(out.aval.shape, out.aval.dtype, "nothing") for out in operation.outvars]
    inner = _inner(operation)
    is_known = all(isinstance(value, Tensor) and value.constant is not None for value in inputs)
    if inner is not None:
        of_its_own = FUNCTIONS.get(operation.params.get("name"))
        if of_its_own is not None and not is_known:
            return [of_its_own(builder, operation, *inputs)]
        return walk(builder, inner.jaxpr, inner.consts, inputs)
    name = operation.primitive.name
    if is_known and name != "broadcast_in_dim" and _is_static(operation):
        return _computed(operation, inputs)
    if name not in HANDLERS:
        raise NotImplementedError(f"JAX's operation {name}")
    found = HANDLERS[name](builder, operation, *inputs)
    return found if isinstance(found, list) else [found]


def _inner(operation):
    """The traced function that an operation only calls; None where it is one itself."""
    if operation.primitive.name not in CALLS:
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = operation.params.get(key)
        if inner is not None:
            return inner if hasattr(inner, "consts") else core.ClosedJaxpr(inner, ())
    return None


def _is_static(operation) -> bool:
    return all(isinstance(size, int) for out in operation.outvars for size in out.aval.shape)


def _computed(operation, inputs: Sequence[Tensor]) -> list[Tensor | Complex]:
    arrays = [value.constant for value in inputs]
    if operation.primitive.name in SINGLE:
        arrays = np.broadcast_arrays(*arrays)  # and no more: it stays as small as it is
    else:
        shapes = [atom.aval.shape for atom in operation.invars]
        arrays = [np.broadcast_to(array, shape) for array, shape in zip(arrays, shapes)]
    found = operation.primitive.bind(*arrays, **operation.params)
    found = found if operation.primitive.multiple_results else [found]
    return [known(np.asarray(array)) for array in found]


def converted(
    function: Callable[[Mapping], Mapping],
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """The ONNX model of a function of inputs by name to outputs by name.

    inputs have one symbol for their first size. Raises UserError for a function with operations that
    cannot be converted.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(dict(inputs))
    names = sorted(inputs)  # as JAX orders dicts
    values = [Tensor(inputs[name].shape, np.dtype(inputs[name].dtype), name) for name in names]
    builder = Builder(values[0])
    try:
        found = dict(zip(sorted(shapes), walk(builder, closed.jaxpr, closed.consts, values)))
    except NotImplementedError as error:
        raise UserError(
            f"The model cannot be written as ONNX ({error} has no conversion): export it as "
            "--format=stablehlo."
        ) from error
    for name in outputs:
        whole = builder.full(found[name], shapes[name].shape)
        builder.nodes.append(helper.make_node("Identity", [builder.name(whole)], [name]))
    graph = helper.make_graph(
        builder.nodes,
        "qvae_jax",
        [_described(name, inputs[name]) for name in inputs],
        [_described(name, shapes[name]) for name in outputs],
        builder.constants,
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="qvae_jax",
    )


def _described(name: str, value) -> onnx.ValueInfoProto:
    sizes = [size if isinstance(size, int) else str(size) for size in value.shape]
    return helper.make_tensor_value_info(name, TYPES[np.dtype(value.dtype)], sizes)


def elementwise(
    operator: str, builder: Builder, operation, *inputs: Tensor, **attributes
) -> Tensor:
    """An operator of single elements, which broadcasts its inputs by itself."""
    dtype = operation.outvars[0].aval.dtype
    return builder.add(operator, inputs, broadcast(inputs), dtype, **attributes)


def broadcast(inputs: Sequence[Tensor]) -> tuple:
    """The shape that these have together."""
    rank = max(len(value.shape) for value in inputs)
    sizes = zip(*((1,) * (rank - len(value.shape)) + tuple(value.shape) for value in inputs))
    return tuple(
        functools.reduce(lambda a, b: b if isinstance(a, int) and a == 1 else a, s) for s in sizes
    )
