"""`stablehlo`: a model's graphs as programs of JAX's own, for CPU, CUDA and TPU at once."""

import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax import export

from qvae_jax.exporting import description, packages
from qvae_jax.exporting.description import Described
from qvae_jax.exporting.graph import Graph, function
from qvae_jax.generation.model import Model
from qvae_jax.models.stored import CONFIG_FILE
from qvae_jax.models.variables import Variables
from qvae_jax.system import files, platforms
from qvae_jax.system.errors import UserError, first_line

FORMAT = "stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def write(model: Model, folder: pathlib.Path) -> None:
    """Writes a model's graphs, their noise and config.json into a new folder, or nothing.

    Raises UserError where the folder is there already, and without the package flatbuffers.
    """
    packages.require("flatbuffers", "JAX writes graphs with")
    with files.new_folder(folder) as temporary:
        graphs = description.named_graphs(model.config, FORMAT)
        for name, graph in graphs:
            (temporary / name).write_bytes(exported(graph, model.variables).serialize())
        description.write_noise(temporary, [graph for _, graph in graphs])
        versions = {"platforms": PLATFORMS, "jax_version": jax.__version__}
        described = description.described(temporary, graphs, FORMAT, model.source, **versions)
        files.write_json(temporary / CONFIG_FILE, described)


def exported(graph: Graph, given: Variables) -> export.Exported:
    """The graph for any number of rows, its inputs and outputs as dicts by name."""
    program = jax.jit(function(graph, given))
    with platforms.compiling_for(platforms.ANY):
        return export.export(program, platforms=PLATFORMS)(description.specs(graph))


def opened(graph: Described) -> Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]:
    """A graph of a folder as a function; UserError where it cannot be read."""
    packages.require("flatbuffers", "JAX reads graphs with")
    platforms.start_backend()
    try:
        found = export.deserialize(bytearray(graph.path.read_bytes()))
    except Exception as error:  # a flat buffer's reader raises its own kinds
        raise UserError(
            f"{graph.path} cannot be read as a graph by this version of JAX ({first_line(error)}): "
            "export the model again."
        ) from error
    (inputs,), _ = jax.tree.unflatten(found.in_tree, found.in_avals)
    outputs = jax.tree.unflatten(found.out_tree, found.out_avals)
    for part, values in (("inputs", inputs), ("outputs", outputs)):
        shapes = [value.shape[1:] for value in values.values()]
        description.check_agrees(graph, list(values), shapes, part)
    return jax.jit(found.call)
