"""An ONNX graph cut in two, one part that hears and one that renders; and weights that parts share.

    waveform, … ──> hear ──> mean, log_variance, z, curves, num_frames, duration_s
                                                 z, curves, num_frames, noise ──> render ──> sound

A page that draws variations, or has curves drawn, asks the second part alone.
"""

import hashlib
import math
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

CUT = ("z", "curves", "num_frames")  # what the second part takes of the first one's outputs
RENDERED = "sound"
TOLD = ("mean", "log_variance", "z", "curves", "num_frames", "duration_s")
WHOLE = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
SMALLEST_SHARED = 1024  # bytes of a tensor that lies in the file of weights


def cut(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The part that hears and the part that renders, whose inputs and outputs have the graph's names."""
    names = [one.name for one in model.graph.output]
    inputs = [one.name for one in model.graph.input]
    told = [name for name in TOLD if name in names]
    second = _begun_at(model, [name for name in CUT if name in names])
    return _reaching(model, inputs, told), _reaching(second, [*CUT, *inputs], [RENDERED])


def _begun_at(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A graph in which these outputs are what is taken, wherever what they repeat was taken."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    repeated = {
        node.input[0]: node.output[0]
        for node in found.graph.node
        if node.op_type == "Identity" and node.output[0] in names
    }
    for node in found.graph.node:
        node.input[:] = [repeated.get(name, name) for name in node.input]
    return found


def _reaching(
    model: onnx.ModelProto, starts: Sequence[str], ends: Sequence[str]
) -> onnx.ModelProto:
    """What of a graph leads to some tensors; its inputs are those of `starts` that are reached."""
    nodes = list(model.graph.node)
    made_by = {name: place for place, node in enumerate(nodes) for name in node.output}
    begun = set(starts) - set(ends)
    wanted, reached, kept = list(ends), set(), set()
    while wanted:
        name = wanted.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in made_by and name not in begun:
            kept.add(made_by[name])
            node = nodes[made_by[name]]
            wanted += [*node.input, *_taken_within(node)]
    described = {one.name: one for one in [*model.graph.output, *model.graph.input]}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    for field in ("node", "initializer", "input", "output", "value_info"):
        graph.ClearField(field)
    graph.node.extend(nodes[place] for place in sorted(kept))
    graph.initializer.extend(one for one in model.graph.initializer if one.name in reached)
    graph.input.extend(described[name] for name in starts if name in reached & begun)
    graph.output.extend(described[name] for name in ends)
    return part


def _taken_within(node: onnx.NodeProto) -> list[str]:
    """What the graphs inside a node (of a loop, or of a choice) take from around it, and more."""
    graphs = [one.g for one in node.attribute if one.type == onnx.AttributeProto.GRAPH]
    inner = [one for graph in graphs for one in graph.node]
    return [name for one in inner for name in [*one.input, *_taken_within(one)]]


def write(parts: Iterable[tuple[pathlib.Path, onnx.ModelProto]], weights: pathlib.Path) -> None:
    """Writes parts, whose large tensors lie in one file beside them, each of them once.

    The parts are changed by it.
    """
    places = {}
    with weights.open("wb") as file:
        for path, part in parts:
            _count_instead(part.graph)
            for tensor in part.graph.initializer:
                content = tensor.raw_data
                if len(content) < SMALLEST_SHARED:
                    continue
                key = hashlib.sha256(content).digest()
                if key not in places:
                    places[key] = file.tell()
                    file.write(content)
                _lie_in(tensor, weights.name, places[key])
            path.write_bytes(part.SerializeToString())


def _count_instead(graph: onnx.GraphProto) -> None:
    """Puts operators that count in the place of large tensors that hold 0, 1, 2 and so on."""
    counts = [tensor for tensor in graph.initializer if _is_count(tensor)]
    operators = []
    for tensor in counts:
        name, kind = tensor.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        numbers = {"first": 0, "end": math.prod(tensor.dims), "step": 1}
        for word, number in numbers.items():
            of_word = numpy_helper.from_array(np.array(number, kind), f"{name}_{word}")
            graph.initializer.append(of_word)
        shape = np.array(tensor.dims, np.int64)
        graph.initializer.append(numpy_helper.from_array(shape, f"{name}_shape"))
        given = [f"{name}_{word}" for word in numbers]
        operators.append(onnx.helper.make_node("Range", given, [f"{name}_counted"]))
        reshaped = [f"{name}_counted", f"{name}_shape"]
        operators.append(onnx.helper.make_node("Reshape", reshaped, [name]))
        graph.initializer.remove(tensor)
    others = list(graph.node)
    graph.ClearField("node")
    graph.node.extend([*operators, *others])


def _is_count(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type not in WHOLE or len(tensor.raw_data) < SMALLEST_SHARED:
        return False
    values = numpy_helper.to_array(tensor).ravel()
    return np.array_equal(values, np.arange(values.size))


def _lie_in(tensor: onnx.TensorProto, name: str, offset: int) -> None:
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": name, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))
