"""What of JAX's operations are operators of ONNX: of single elements, of shapes, sums and products."""

import numpy as np

from qvae_jax.exporting.conversion import (
    FUNCTIONS,
    SINGLE,
    Builder,
    Complex,
    Tensor,
    broadcast,
    constant,
    elementwise,
    handles,
)

# --- Single elements

SAME = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
    "xor": "Xor",
}
SINGLE.update(SAME)
SINGLE.update(
    ("convert_element_type", "integer_pow", "log1p", "expm1", "erfc", "exp2", "ne", "rem")
)
SINGLE.update(
    ("round", "rsqrt", "select_n", "square", "clamp", "copy", "stop_gradient", "is_finite")
)


@handles(*SAME)
def _same(builder: Builder, operation, *inputs):
    if any(isinstance(value, Complex) for value in inputs):
        return _of_complex(builder, operation, *inputs)
    return elementwise(SAME[operation.primitive.name], builder, operation, *inputs)


def _of_complex(builder: Builder, operation, *inputs):
    """Sums and products of complex values, of which some may have no imaginary part."""
    name = operation.primitive.name
    add = lambda operator, a, b: builder.add(operator, [a, b], broadcast([a, b]), np.float32)
    a, b = (value if isinstance(value, Complex) else Complex(value, None) for value in inputs)
    if name == "mul":
        return _product(add, a, b)
    if name not in ("add", "add_any", "sub"):
        raise NotImplementedError(f"JAX's operation {name} of complex numbers")
    operator = "Sub" if name == "sub" else "Add"
    real = add(operator, a.real, b.real)
    if a.imag is None and b.imag is not None:
        zero = constant(np.zeros((1,) * len(b.imag.shape), np.float32))
        return Complex(real, add(operator, zero, b.imag))
    return Complex(real, a.imag if b.imag is None else add(operator, a.imag, b.imag))


def _product(add, a: Complex, b: Complex) -> Complex:
    if a.imag is None and b.imag is not None:
        return _product(add, b, a)
    if b.imag is None:
        imag = None if a.imag is None else add("Mul", a.imag, b.real)
        return Complex(add("Mul", a.real, b.real), imag)
    return Complex(
        add("Sub", add("Mul", a.real, b.real), add("Mul", a.imag, b.imag)),
        add("Add", add("Mul", a.real, b.imag), add("Mul", a.imag, b.real)),
    )


@handles("complex")
def _complex(builder, operation, real, imag):
    return Complex(real, imag)


@handles("real")
def _real(builder, operation, value):
    return value.real


@handles("imag")
def _imag(builder, operation, value):
    return _imaginary(value)


def _imaginary(value: Complex) -> Tensor:
    if value.imag is not None:
        return value.imag
    return constant(np.zeros((1,) * len(value.real.shape), np.float32))


@handles("conj")
def _conj(builder, operation, value):
    if isinstance(value, Tensor) or value.imag is None:
        return value if isinstance(value, Complex) else Complex(value, None)
    return Complex(value.real, builder.add("Neg", [value.imag], value.imag.shape, np.float32))


def _each_part(handler):
    """A handler that of a complex value makes the same of both its parts."""

    def handle(builder, operation, *inputs):
        if not any(isinstance(value, Complex) for value in inputs):
            return handler(builder, operation, *inputs)
        of = lambda part: [part(value) if isinstance(value, Complex) else value for value in inputs]
        real = handler(builder, operation, *of(lambda value: value.real))
        if all(value.imag is None for value in inputs if isinstance(value, Complex)):
            return Complex(real, None)
        return Complex(real, handler(builder, operation, *of(_imaginary)))

    return handle


@handles("copy", "stop_gradient", "optimization_barrier")
def _itself(builder, operation, value):
    return value


@handles("ne")
def _differs(builder, operation, a, b):
    equal = builder.add("Equal", [a, b], broadcast([a, b]), bool)
    return builder.add("Not", [equal], equal.shape, bool)


@handles("square")
def _square(builder, operation, value):
    return elementwise("Mul", builder, operation, value, value)


@handles("integer_pow")
def _integer_pow(builder, operation, value):
    if operation.params["y"] == 2:
        return _square(builder, operation, value)
    exponent = constant(np.asarray(operation.params["y"], value.dtype))
    return elementwise("Pow", builder, operation, value, exponent)


@handles("exp2")
def _exp2(builder, operation, value):
    return elementwise("Pow", builder, operation, constant(np.float32(2)), value)


@handles("rsqrt")
def _rsqrt(builder, operation, value):
    root = elementwise("Sqrt", builder, operation, value)
    return elementwise("Reciprocal", builder, operation, root)


@handles("log1p")
def _log1p(builder, operation, value):
    # Of what is no more than rounding beside 1 it is 0, not the value: fine beside other terms.
    return elementwise("Log", builder, operation, _plus(builder, value, 1.0))


@handles("erfc")
def _erfc(builder, operation, value):
    negated = elementwise("Neg", builder, operation, elementwise("Erf", builder, operation, value))
    return _plus(builder, negated, 1.0)


@handles("expm1")
def _expm1(builder, operation, value):
    return _plus(builder, elementwise("Exp", builder, operation, value), -1.0)


def _plus(builder: Builder, value: Tensor, number: float) -> Tensor:
    return builder.add("Add", [value, constant(np.float32(number))], value.shape, value.dtype)


@handles("round")
def _round(builder, operation, value):
    if int(operation.params["rounding_method"]) != 1:  # to the nearest, and of two to the even one
        raise NotImplementedError("rounding away from zero")
    return elementwise("Round", builder, operation, value)


@handles("rem")
def _rem(builder, operation, a, b):
    return elementwise("Mod", builder, operation, a, b, fmod=1)


@handles("clamp")
def _clamp(builder, operation, least, value, most):
    above = builder.add("Max", [value, least], broadcast([value, least]), value.dtype)
    return elementwise("Min", builder, operation, above, most)


@handles("select_n")
def _select(builder, operation, which, *cases):
    if len(cases) != 2 or which.dtype != bool:
        raise NotImplementedError("a choice among more than two")
    return elementwise("Where", builder, operation, which, cases[1], cases[0])


@handles("convert_element_type")
def _converted(builder, operation, value):
    if np.dtype(operation.params["new_dtype"]).kind == "c":
        if isinstance(value, Complex):
            return value
        return Complex(builder.cast(value, np.float32), None)
    return builder.cast(value, operation.params["new_dtype"])


@handles("gelu", table=FUNCTIONS)
def _gelu(builder, operation, value):
    return elementwise("Gelu", builder, operation, value, approximate="tanh")


@handles("logaddexp", table=FUNCTIONS)
def _logaddexp(builder, operation, a, b):
    """ln(e^a + e^b) = b + ln(1 + e^(a - b))"""
    apart = builder.add("Sub", [a, b], broadcast([a, b]), a.dtype)
    over = elementwise("Softplus", builder, operation, apart)
    return elementwise("Add", builder, operation, over, b)


# --- Shapes


def whole(builder: Builder, operation, inputs, number: int = 0) -> Tensor:
    """An input in the shape in which it was traced."""
    return builder.full(inputs[number], operation.invars[number].aval.shape)


@handles("broadcast_in_dim")
@_each_part
def _broadcast(builder, operation, value, *sizes):
    """As small as it is: only its axes are moved to where they belong."""
    shape = [1] * len(operation.params["shape"])
    for size, axis in zip(value.shape, operation.params["broadcast_dimensions"]):
        shape[axis] = size
    return builder.reshape(value, shape)


@handles("reshape")
@_each_part
def _reshape(builder, operation, *inputs):
    value = whole(builder, operation, inputs)
    return builder.reshape(value, operation.outvars[0].aval.shape)


@handles("squeeze")
@_each_part
def _squeeze(builder, operation, value):
    gone = {axis % len(value.shape) for axis in operation.params["dimensions"]}
    kept = [size for axis, size in enumerate(value.shape) if axis not in gone]
    return builder.reshape(value, kept)


@handles("transpose")
@_each_part
def _transpose(builder, operation, *inputs):
    value = whole(builder, operation, inputs)
    return builder.transpose(value, operation.params["permutation"])


@handles("slice")
@_each_part
def _slice(builder, operation, *inputs):
    value = whole(builder, operation, inputs)
    params = operation.params
    steps = params["strides"] or (1,) * len(value.shape)
    return builder.slice(value, params["start_indices"], params["limit_indices"], steps)


@handles("rev")
@_each_part
def _rev(builder, operation, *inputs):
    value = whole(builder, operation, inputs)
    axes = operation.params["dimensions"]
    number = lambda n: constant(np.full(len(axes), n, np.int64))
    lowest = np.iinfo(np.int64).min
    given = [value, number(-1), number(lowest), constant(np.array(axes, np.int64)), number(-1)]
    return builder.add("Slice", given, value.shape, value.dtype)


@handles("concatenate")
@_each_part
def _concatenate(builder, operation, *inputs):
    parts = [whole(builder, operation, inputs, number) for number in range(len(inputs))]
    return _joined(builder, parts, operation.params["dimension"], operation.outvars[0].aval)


@handles("stack")
@_each_part
def _stack(builder, operation, *inputs):
    parts, axis = [], operation.params["axis"]
    for number in range(len(inputs)):
        part = whole(builder, operation, inputs, number)
        parts.append(builder.reshape(part, (*part.shape[:axis], 1, *part.shape[axis:])))
    return _joined(builder, parts, axis, operation.outvars[0].aval)


def _joined(builder, parts, axis: int, out) -> Tensor:
    parts = [part for part in parts if 0 not in part.shape]
    if len(parts) == 1:
        return parts[0]
    return builder.add("Concat", parts, out.shape, out.dtype, axis=axis)


@handles("split")
def _split(builder, operation, *inputs):
    value = whole(builder, operation, inputs)
    sizes, axis = operation.params["sizes"], operation.params["axis"]
    results = [(out.aval.shape, out.aval.dtype) for out in operation.outvars]
    return builder.add_all(
        "Split", [value, constant(np.array(sizes, np.int64))], results, axis=axis
    )


@handles("pad")
@_each_part
def _pad(builder, operation, *inputs):
    value, filling = whole(builder, operation, inputs), inputs[1]
    before, after, between = zip(*operation.params["padding_config"])
    if any(between):
        raise NotImplementedError("padding between elements")
    cut = [max(0, -count) for count in before]
    stops = [
        size - max(0, -count) if isinstance(size, int) else size
        for size, count in zip(value.shape, after)
    ]
    value = builder.slice(value, cut, stops, (1,) * len(cut))
    added = [max(0, count) for count in (*before, *after)]
    out = operation.outvars[0].aval
    if not any(added):
        return value
    of_bool = value.dtype == bool
    if of_bool:
        value, filling = builder.cast(value, np.int32), builder.cast(filling, np.int32)
    inputs = [value, constant(np.array(added, np.int64)), builder.reshape(filling, ())]
    found = builder.add("Pad", inputs, out.shape, value.dtype)
    return builder.cast(found, bool) if of_bool else found


@handles("iota")
def _iota(builder, operation, *sizes):
    params = operation.params
    size = params["shape"][params["dimension"]]
    if not isinstance(size, int):
        raise NotImplementedError("numbers up to the batch")
    shape = [1] * len(params["shape"])
    shape[params["dimension"]] = size
    return constant(np.arange(size, dtype=params["dtype"]).reshape(shape))


@handles("gather")
@_each_part
def _gather(builder, operation, *inputs):
    """Of one axis: by places that are the same for all rows, or that each row has of its own.

    Where places are known and follow each other, it is a slice: so JAX writes one of a value whose
    batch it does not know.
    """
    params, dims = operation.params, operation.params["dimension_numbers"]
    value, places = (whole(builder, operation, inputs, number) for number in (0, 1))
    out = operation.outvars[0].aval
    axes, sizes = dims.start_index_map, params["slice_sizes"]
    if places.constant is not None and len(places.shape) == 1 and not dims.operand_batching_dims:
        starts, stops = [0] * len(sizes), list(sizes)
        for axis, place in zip(axes, places.constant.tolist()):
            starts[axis], stops[axis] = place, place + sizes[axis]
        part = builder.slice(value, starts, stops, (1,) * len(sizes))
        return builder.reshape(part, out.shape)
    if len(axes) != 1 or sizes[axes[0]] != 1 or places.shape[-1:] != (1,):
        raise NotImplementedError("a gather of several axes")
    axis = axes[0]
    others = [n for n in range(len(sizes)) if n != axis and n not in dims.operand_batching_dims]
    if any(sizes[n] != value.shape[n] for n in others):
        raise NotImplementedError("a gather of parts")
    places = builder.reshape(places, places.shape[:-1])
    if dims.operand_batching_dims:
        return _of_rows(builder, value, places, axis, dims, others, out)
    if axis not in dims.collapsed_slice_dims:
        raise NotImplementedError("a gather that keeps its axis")
    step = _step(places)
    if step is not None:
        first, last = places.constant[0], places.constant[-1]
        starts, stops, steps = [0] * len(sizes), list(value.shape), [1] * len(sizes)
        starts[axis], stops[axis], steps[axis] = int(first), int(last) + 1, step
        found = builder.slice(value, starts, stops, steps)
    else:
        # ONNX puts the places where the axis was; JAX says where the others are.
        shape = value.shape[:axis] + places.shape + value.shape[axis + 1 :]
        places = builder.cast(places, np.int64)
        found = builder.add("Gather", [value, places], shape, value.dtype, axis=axis)
    return _arranged(builder, found, axis, len(places.shape), dims.offset_dims, out)


def _step(places: Tensor) -> int | None:
    """By how much known places follow each other; None where they do not."""
    if places.constant is None or places.constant.ndim != 1 or len(places.constant) < 2:
        return None
    steps = set(np.diff(places.constant).tolist())
    return steps.pop() if len(steps) == 1 and min(steps) > 0 else None


def _arranged(builder, found: Tensor, axis: int, num_places: int, offsets, out) -> Tensor:
    """The axes of a gather in JAX's order."""
    rank = len(out.shape)
    of_places = [n for n in range(rank) if n not in offsets]
    order = [0] * rank
    for number, place in enumerate(of_places):
        order[place] = axis + number
    rest = [n for n in range(rank) if not axis <= n < axis + num_places]
    for number, place in zip(rest, sorted(offsets)):
        order[place] = number
    return builder.transpose(found, order)


def _of_rows(builder, value, places, axis, dims, others, out) -> Tensor:
    """Of each row, at places that are its own."""
    at = dims.start_indices_batching_dims
    free = [n for n in range(len(places.shape)) if n not in at]
    # Rows first, then the axis; of the places too.
    value = builder.transpose(value, [*dims.operand_batching_dims, axis, *others])
    places = builder.transpose(builder.cast(places, np.int64), [*at, *free])
    shape = (*places.shape, *(value.shape[len(at) + 1 :]))
    places = builder.reshape(places, (*places.shape, 1))
    found = builder.add("GatherND", [value, places], shape, value.dtype, batch_dims=len(at))
    # What is not of the places stays in JAX's order, an axis of size 1 among it, which comes last.
    kept = sorted([*others, *(() if axis in dims.collapsed_slice_dims else (axis,))])
    offsets = [where for n, where in zip(kept, dims.offset_dims) if n != axis]
    of_places = [n for n in range(len(out.shape)) if n not in dims.offset_dims]
    wanted = [(where, number) for number, where in enumerate(np.array(of_places)[[*at, *free]])]
    wanted += [(where, len(of_places) + number) for number, where in enumerate(offsets)]
    found = builder.transpose(found, [number for _, number in sorted(wanted)])
    return builder.reshape(found, out.shape)


# --- Sums, extremes and their places

REDUCED = {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}


@handles(*REDUCED)
def _reduced(builder, operation, *inputs):
    value, axes = whole(builder, operation, inputs), operation.params["axes"]
    operator = REDUCED[operation.primitive.name]
    axes = constant(np.array(axes, np.int64))
    out = operation.outvars[0].aval
    return builder.add(operator, [value, axes], out.shape, out.dtype, keepdims=0)


@handles("reduce_or", "reduce_and")
def _any(builder, operation, *inputs):
    value = builder.cast(whole(builder, operation, inputs), np.int32)
    operator = "ReduceMax" if operation.primitive.name == "reduce_or" else "ReduceMin"
    axes = constant(np.array(operation.params["axes"], np.int64))
    shape = operation.outvars[0].aval.shape
    return builder.cast(builder.add(operator, [value, axes], shape, np.int32, keepdims=0), bool)


@handles("argmin", "argmax")
def _place(builder, operation, *inputs):
    value, (axis,) = whole(builder, operation, inputs), operation.params["axes"]
    if value.dtype == bool:
        value = builder.cast(value, np.int32)
    operator = {"argmin": "ArgMin", "argmax": "ArgMax"}[operation.primitive.name]
    out = operation.outvars[0].aval
    found = builder.add(operator, [value], out.shape, np.int64, axis=axis, keepdims=0)
    return builder.cast(found, out.dtype)


@handles("cumsum")
def _cumsum(builder, operation, *inputs):
    value = whole(builder, operation, inputs)
    axis = constant(np.array(operation.params["axis"], np.int64))
    reverse = int(operation.params["reverse"])
    return builder.add("CumSum", [value, axis], value.shape, value.dtype, reverse=reverse)


@handles("cummax", "cummin")
def _extreme_so_far(builder, operation, *inputs):
    """The largest within a window that reaches back over all; of numbers that float32 can hold."""
    value, axis = whole(builder, operation, inputs), operation.params["axis"]
    if axis != len(value.shape) - 1:
        raise NotImplementedError("an extreme along another axis than the last")
    length = value.shape[axis]
    edges = (0, length - 1) if operation.params["reverse"] else (length - 1, 0)
    largest = operation.primitive.name == "cummax"
    return _pooled(builder, value, length, edges, largest=largest)


@handles("reduce_window_max", "reduce_window")
def _window_max(builder, operation, *inputs):
    value, params = whole(builder, operation, inputs), operation.params
    if operation.primitive.name == "reduce_window":
        (inner,) = params["jaxpr"].eqns
        if inner.primitive.name != "max":
            raise NotImplementedError("another window than that of the largest")
    *others, length = params["window_dimensions"]
    plain = not any((*params["padding"][:-1][0],)) if others else True
    if any(size != 1 for size in others) or not plain or set(params["window_strides"]) != {1}:
        raise NotImplementedError("a window over several axes")
    found = _pooled(builder, value, length, params["padding"][-1], largest=True)
    if operation.primitive.name == "reduce_window_max" or inputs[1].constant == -np.inf:
        return found
    return builder.add("Max", [found, inputs[1]], found.shape, found.dtype)


def _pooled(builder, value: Tensor, length: int, edges, *, largest: bool) -> Tensor:
    """The extreme of each window of so many along the last axis; nothing lies beyond the edges."""
    found = builder.cast(value, np.float32)
    sign = (lambda x: x) if largest else lambda x: builder.add("Neg", [x], x.shape, x.dtype)
    found = sign(found)
    shape = found.shape if len(found.shape) == 3 else (value.shape[0], 1, value.shape[-1])
    if len(value.shape) > 3:
        raise NotImplementedError("a window over so many axes")
    found = builder.reshape(found, shape)
    pooled = builder.add(
        "MaxPool", [found], shape, np.float32, kernel_shape=[length], pads=list(edges)
    )
    return builder.cast(builder.reshape(sign(pooled), value.shape), value.dtype)


@handles("top_k")
def _top_k(builder, operation, *inputs):
    value, count = whole(builder, operation, inputs), operation.params["k"]
    values, places = (out.aval for out in operation.outvars)
    found, where = builder.add_all(
        "TopK",
        [value, constant(np.array([count], np.int64))],
        [(values.shape, values.dtype), (places.shape, np.int64)],
    )
    return [found, builder.cast(where, places.dtype)]
