"""What goes on from step to step, as a loop of ONNX."""

import numpy as np
from onnx import helper

from qvae_jax.exporting.conversion import TYPES, Builder, Tensor, handles, walk
from qvae_jax.exporting.operators import whole


@handles("scan")
def _scan(builder: Builder, operation, *inputs):
    """ONNX's Scan, whose body sees the outer graph's values, so that constants need no way in."""
    params = operation.params
    num_consts, num_carry = _counts(params)
    values = [whole(builder, operation, inputs, number) for number in range(len(inputs))]
    body = Builder(builder)
    traced = params["jaxpr"]
    inner = traced.jaxpr.invars[num_consts:]
    given = [
        Tensor(atom.aval.shape, np.dtype(atom.aval.dtype), body.fresh("step")) for atom in inner
    ]
    found = walk(body, traced.jaxpr, traced.consts, [*values[:num_consts], *given])
    outputs = []
    for atom, value in zip(traced.jaxpr.outvars, found):
        value = body.full(value, atom.aval.shape)
        # A name of its own, of an operator within the body, for each output.
        outputs.append(body.add("Identity", [value], value.shape, value.dtype))
    graph = helper.make_graph(body.nodes, "step", _infos(given), _infos(outputs))
    num_scanned = len(inner) - num_carry
    num_stacked = len(outputs) - num_carry
    backwards = int(params["reverse"])
    return builder.add_all(
        "Scan",
        values[num_consts:],
        [(out.aval.shape, out.aval.dtype) for out in operation.outvars],
        body=graph,
        num_scan_inputs=num_scanned,
        scan_input_directions=[backwards] * num_scanned,
        scan_output_directions=[backwards] * num_stacked,
    )


def _counts(params) -> tuple[int, int]:
    return params["num_consts"], params["num_carry"]


def _infos(values):
    return [
        helper.make_tensor_value_info(
            value.name,
            TYPES[value.dtype],
            [size if isinstance(size, int) else str(size) for size in value.shape],
        )
        for value in values
    ]
