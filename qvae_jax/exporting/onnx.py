"""`onnx`: a model's graphs for onnxruntime, here and in a browser."""

import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax import export

from qvae_jax.exporting import description
from qvae_jax.exporting.description import Described
from qvae_jax.exporting.graph import Graph, function, graphs_of
from qvae_jax.generation.model import Model
from qvae_jax.models.stored import CONFIG_FILE
from qvae_jax.models.variables import Variables
from qvae_jax.system import files, platforms
from qvae_jax.system.errors import UserError, first_line

FORMAT = "onnx"
LARGEST_BYTES = 2**31 - 2**20  # of one file; what is larger keeps its arrays beside it
INSTALL = "install it with `python3 -m pip install '.[onnx]'`"


def write(model: Model, folder: pathlib.Path) -> None:
    """Writes a model's graphs, their noise and config.json into a new folder, or nothing.

    Raises UserError where the folder is there already, and without the package onnx.
    """
    _require("onnx", "writes")
    from qvae_jax.exporting.conversion import IR_VERSION, OPSET

    with files.new_folder(folder) as temporary:
        graphs = [(f"graph_{graph.duration_s:g}s.onnx", graph) for graph in graphs_of(model.config)]
        for name, graph in graphs:
            _save(exported(graph, model.variables), temporary / name)
        description.write_noise(temporary, [graph for _, graph in graphs])
        versions = {"opset": OPSET, "ir_version": IR_VERSION, "jax_version": jax.__version__}
        described = description.described(temporary, graphs, FORMAT, model.source, **versions)
        files.write_json(temporary / CONFIG_FILE, described)


def exported(graph: Graph, given: Variables):
    """The graph as an onnx.ModelProto, its inputs and outputs in the description's order."""
    # Here, because only who exports needs the package onnx.
    from qvae_jax.exporting import contractions, loops, operators, transforms  # noqa: F401
    from qvae_jax.exporting.conversion import converted

    (rows,) = export.symbolic_shape(description.BATCH)
    specs = {
        field.name: jax.ShapeDtypeStruct((rows, *field.shape[1:]), field.dtype)
        for field in description.inputs(graph)
    }
    outputs = [field.name for field in description.outputs(graph)]
    with platforms.compiling_for(platforms.ONNX):
        return converted(function(graph, given), specs, outputs)


def _save(model, path: pathlib.Path) -> None:
    import onnx

    size = sum(len(array.raw_data) for array in model.graph.initializer)
    if size < LARGEST_BYTES:
        path.write_bytes(model.SerializeToString())
        return
    onnx.save_model(
        model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024
    )


def opened(graph: Described) -> Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]:
    """A graph of a folder as a function; UserError where it cannot be read."""
    _require("onnxruntime", "reads")
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


def _require(package: str, does: str) -> None:
    try:
        __import__(package)
    except ImportError as error:
        raise UserError(
            f"The package {package}, which {does} ONNX, is missing: {INSTALL}."
        ) from error
