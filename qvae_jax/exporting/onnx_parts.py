"""An ONNX graph cut in two: one part that hears, and one that renders.

    waveform, … ──> hear ──> mean, log_variance, z, curves, num_frames, duration_s
                                                 z, curves, num_frames, noise ──> render ──> sound

A page that draws variations, or has curves drawn, asks the second part alone.
"""

from collections.abc import Sequence

import onnx

CUT = ("z", "curves", "num_frames")  # what the second part takes of the first one's outputs
RENDERED = "sound"
TOLD = ("mean", "log_variance", "z", "curves", "num_frames", "duration_s")


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
