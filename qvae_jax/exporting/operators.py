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
SINGLE.update(("convert_element_type", "integer_pow", "log1p", "expm1", "exp2", "ne", "rem"))
SINGLE.update(
    ("round", "rsqrt", "select_n", "square", "clamp", "copy", "stop_gradient", "is_finite")
)


@handles(*SAME)
def _same(builder: Builder, operation, *inputs):
    if any(isinstance(value, Complex) for value in inputs):
        return _of_complex(builder, operation, *inputs)
    return elementwise(SAME[operation.primitive.name], builder, operation, *inputs)


def _of_complex(builder: Builder, operation, *inputs):
    """Sums and products of complex values, and of a complex and a real one."""
    name = operation.primitive.name
    add = lambda operator, a, b: builder.add(operator, [a, b], broadcast([a, b]), np.float32)
    a, b = (value if isinstance(value, Complex) else Complex(value, None) for value in inputs)
    if name == "mul":
        return _product(add, a, b)
    if name in ("add", "add_any", "sub") and a.imag is not None and b.imag is not None:
        operator = "Sub" if name == "sub" else "Add"
        return Complex(add(operator, a.real, b.real), add(operator, a.imag, b.imag))
    raise NotImplementedError(f"JAX's operation {name} of complex numbers")


def _product(add, a: Complex, b: Complex) -> Complex:
    if b.imag is None:
        return Complex(add("Mul", a.real, b.real), add("Mul", a.imag, b.real))
    if a.imag is None:
        return _product(add, b, a)
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
    return value.imag


@handles("conj")
def _conj(builder, operation, value):
    if isinstance(value, Tensor):
        return Complex(value, constant(np.zeros((1,) * len(value.shape), np.float32)))
    negated = builder.add("Neg", [value.imag], value.imag.shape, np.float32)
    return Complex(value.real, negated)


@handles("copy", "copy_p", "stop_gradient", "optimization_barrier", "sharding_constraint")
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
    return builder.cast(value, operation.params["new_dtype"])


@handles("gelu", table=FUNCTIONS)
def _gelu(builder, operation, value):
    inner = operation.params["jaxpr"].jaxpr
    approximate = any(one.primitive.name == "tanh" for one in inner.eqns)
    how = "tanh" if approximate else "none"
    return elementwise("Gelu", builder, operation, value, approximate=how)


# --- Shapes


def whole(builder: Builder, operation, inputs, number: int = 0) -> Tensor:
    """An input in the shape in which it was traced."""
    return builder.full(inputs[number], operation.invars[number].aval.shape)


def _of_parts(handler):
    """A handler of one real input in its whole shape, which of a complex one is asked twice."""

    def handle(builder, operation, *inputs):
        if isinstance(inputs[0], Complex):
            parts = (
                handler(builder, operation, builder.full(part, operation.invars[0].aval.shape))
                for part in (inputs[0].real, inputs[0].imag)
            )
            return Complex(*parts)
        return handler(builder, operation, whole(builder, operation, inputs), *inputs[1:])

    return handle


@handles("broadcast_in_dim")
def _broadcast(builder, operation, value, *sizes):
    """As small as it is: only its axes are moved to where they belong."""
    if isinstance(value, Complex):
        return Complex(*(_broadcast(builder, operation, part) for part in (value.real, value.imag)))
    shape = [1] * len(operation.params["shape"])
    for size, axis in zip(value.shape, operation.params["broadcast_dimensions"]):
        shape[axis] = size
    return builder.reshape(value, shape)


@handles("reshape")
@_of_parts
def _reshape(builder, operation, value, *sizes):
    return builder.reshape(value, operation.outvars[0].aval.shape)


@handles("squeeze")
def _squeeze(builder, operation, value):
    if isinstance(value, Complex):
        return Complex(*(_squeeze(builder, operation, part) for part in (value.real, value.imag)))
    gone = {axis % len(value.shape) for axis in operation.params["dimensions"]}
    kept = [size for axis, size in enumerate(value.shape) if axis not in gone]
    return builder.reshape(value, kept)


@handles("expand_dims")
def _expand_dims(builder, operation, value):
    shape = list(value.shape)
    for axis in sorted(operation.params["dimensions"]):
        shape.insert(axis, 1)
    return builder.reshape(value, shape)


@handles("transpose")
@_of_parts
def _transpose(builder, operation, value):
    return builder.transpose(value, operation.params["permutation"])


@handles("slice")
@_of_parts
def _slice(builder, operation, value):
    params = operation.params
    steps = params["strides"] or (1,) * len(value.shape)
    return builder.slice(value, params["start_indices"], params["limit_indices"], steps)


@handles("rev")
@_of_parts
def _rev(builder, operation, value):
    axes = operation.params["dimensions"]
    number = lambda n: constant(np.full(len(axes), n, np.int64))
    lowest = np.iinfo(np.int64).min
    inputs = [value, number(-1), number(lowest), constant(np.array(axes, np.int64)), number(-1)]
    return builder.add("Slice", inputs, value.shape, value.dtype)


@handles("concatenate")
def _concatenate(builder, operation, *inputs):
    parts = [whole(builder, operation, inputs, number) for number in range(len(inputs))]
    out = operation.outvars[0].aval
    return builder.add("Concat", parts, out.shape, out.dtype, axis=operation.params["dimension"])


@handles("split")
@_of_parts
def _split(builder, operation, value):
    sizes, axis = operation.params["sizes"], operation.params["axis"]
    results = [(out.aval.shape, out.aval.dtype) for out in operation.outvars]
    return builder.add_all(
        "Split", [value, constant(np.array(sizes, np.int64))], results, axis=axis
    )


@handles("pad")
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
def _gather(builder, operation, *inputs):
    """Of one axis: by places that are the same for all rows, or that each row has of its own."""
    params, dims = operation.params, operation.params["dimension_numbers"]
    value, places = (whole(builder, operation, inputs, number) for number in (0, 1))
    out = operation.outvars[0].aval
    axes = dims.start_index_map
    sizes = params["slice_sizes"]
    others = [n for n in range(len(sizes)) if n not in axes and n not in dims.operand_batching_dims]
    if len(axes) != 1 or sizes[axes[0]] != 1 or places.shape[-1:] != (1,):
        raise NotImplementedError("a gather of several axes")
    axis = axes[0]
    places = builder.cast(builder.reshape(places, places.shape[:-1]), np.int64)
    if axis not in dims.collapsed_slice_dims:
        raise NotImplementedError("a gather that keeps its axis")
    if not dims.operand_batching_dims:
        if any(sizes[n] != value.shape[n] for n in others):
            raise NotImplementedError("a gather of parts")
        # ONNX puts the places where the axis was; JAX says where the others are.
        found_shape = value.shape[:axis] + places.shape + value.shape[axis + 1 :]
        found = builder.add("Gather", [value, places], found_shape, value.dtype, axis=axis)
        return _arranged(builder, found, axis, len(places.shape), dims.offset_dims, out)
    return _of_rows(builder, value, places, axis, dims, sizes, others, out)


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


def _of_rows(builder, value, places, axis, dims, sizes, others, out) -> Tensor:
    batch = dims.operand_batching_dims
    at = dims.start_indices_batching_dims
    if any(sizes[n] != 1 for n in batch) or any(sizes[n] != 1 for n in others if n != axis):
        if any(sizes[n] not in (1, value.shape[n]) for n in others):
            raise NotImplementedError("a gather of parts")
    if others:
        raise NotImplementedError("a gather of several elements at a place")
    # Rows first, then the axis: [rows…, n]; the places likewise, whatever else they have after.
    value = builder.transpose(value, [*batch, axis])
    free = [n for n in range(len(places.shape)) if n not in at]
    places = builder.transpose(places, [*at, *free])
    if len(free) > 1:
        raise NotImplementedError("places of several axes")
    shape = places.shape if free else (*places.shape, 1)
    found = builder.add(
        "GatherElements",
        [value, builder.reshape(places, shape)],
        shape,
        value.dtype,
        axis=len(batch),
    )
    found = builder.reshape(found, places.shape)
    order = np.argsort([*at, *free])
    return builder.transpose(found, order)


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
    return _pooled(builder, value, length, params["padding"][-1], largest=True)


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
