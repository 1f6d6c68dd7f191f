"""`onnx`: a model's graphs for onnxruntime, here and in a browser."""

import hashlib
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np

from qvae_jax.exporting import description, packages
from qvae_jax.exporting.description import Described
from qvae_jax.exporting.graph import Graph, function
from qvae_jax.generation.model import Model
from qvae_jax.models.stored import CONFIG_FILE
from qvae_jax.models.variables import Variables
from qvae_jax.system import files, platforms
from qvae_jax.system.errors import UserError, first_line

FORMAT = "onnx"
LARGEST_BYTES = 2**31 - 2**24  # of a graph's arrays, which lie beside it where they are more
ARRAYS_FILE = "arrays.bin"
LEAST_MOVED_BYTES = 1024
ALIGNED_BYTES = 64


def write(model: Model, folder: pathlib.Path) -> None:
    """Writes a model's graphs, their noise and config.json into a new folder, or nothing.

    Where a graph would be larger than LARGEST_BYTES, the graphs' arrays lie in one file beside them,
    ARRAYS_FILE, those that both have once. Raises UserError where the folder is there already, and
    without the package onnx.
    """
    packages.require("onnx", "writes ONNX")
    # Here, because only who exports needs the package onnx.
    from qvae_jax.exporting.conversion import IR_VERSION, OPSET

    graphs, others = description.named_graphs(model.config, FORMAT), []
    versions = {"opset": OPSET, "ir_version": IR_VERSION, "jax_version": jax.__version__}
    with files.new_folder(folder) as temporary:
        protos = {name: exported(graph, model.variables) for name, graph in graphs}
        if max(map(_num_bytes, protos.values())) > LARGEST_BYTES:
            move_arrays(protos.values(), temporary / ARRAYS_FILE)
            others.append(ARRAYS_FILE)
        for name, proto in protos.items():
            (temporary / name).write_bytes(proto.SerializeToString())
        description.write_noise(temporary, [graph for _, graph in graphs])
        described = description.described(
            temporary, graphs, FORMAT, model.source, others=others, **versions
        )
        files.write_json(temporary / CONFIG_FILE, described)


def _num_bytes(proto) -> int:
    return sum(len(array.raw_data) for array in proto.graph.initializer)


def move_arrays(protos, path: pathlib.Path) -> None:
    """Moves the arrays of graphs into one file, and leaves there where each of them lies."""
    import onnx

    places = {}
    with path.open("wb") as file:
        for proto in protos:
            for array in proto.graph.initializer:
                if len(array.raw_data) < LEAST_MOVED_BYTES:
                    continue
                digest = hashlib.sha256(array.raw_data).digest()
                if digest not in places:
                    file.write(b"\0" * (-file.tell() % ALIGNED_BYTES))
                    places[digest] = file.tell()
                    file.write(array.raw_data)
                where = {"offset": places[digest], "length": len(array.raw_data)}
                array.ClearField("raw_data")
                array.data_location = onnx.TensorProto.EXTERNAL
                for key, value in {"location": path.name, **where}.items():
                    array.external_data.add(key=key, value=str(value))


def exported(graph: Graph, given: Variables):
    """The graph as an onnx.ModelProto, its inputs and outputs in the description's order."""
    # Here, because only who exports needs the package onnx.
    from qvae_jax.exporting import contractions, operators, transforms  # noqa: F401
    from qvae_jax.exporting.conversion import converted

    outputs = [field.name for field in description.outputs(graph)]
    with platforms.compiling_for(platforms.ONNX):
        return converted(function(graph, given), description.specs(graph), outputs)


def opened(graph: Described) -> Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]:
    """A graph of a folder as a function; UserError where it cannot be read."""
    packages.require("onnxruntime", "runs graphs of ONNX")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
    except Exception as error:  # of several kinds, which onnxruntime does not name
        raise UserError(
            f"{graph.path} cannot be read as a graph by this version of onnxruntime "
            f"({first_line(error)}): export the model again."
        ) from error
    for part, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        names = [value.name for value in values]
        description.check_agrees(graph, names, [value.shape[1:] for value in values], part)
    names = [field.name for field in graph.outputs]
    return lambda given: dict(zip(names, session.run(names, dict(given)), strict=True))
