"""A module's variables as flat dicts of arrays, keyed by dotted names.

`decoder.stages.3.conv.kernel` names one array everywhere: in checkpoints, in the optimiser's
groups, in error messages and in the table of weight_port. A flat dict is a plain JAX pytree.
"""

from typing import NamedTuple

import jax
from flax import nnx

Arrays = dict[str, jax.Array]


class Variables(NamedTuple):
    """What a module learns, and the running statistics of its BatchNorm layers."""

    params: Arrays
    batch_stats: Arrays


def split(module: nnx.Module) -> tuple[nnx.GraphDef, Variables]:
    """The module's structure, which is static and hashable, and its variables."""
    graphdef, params, batch_stats = nnx.split(module, nnx.Param, nnx.BatchStat)
    return graphdef, Variables(_flatten(params), _flatten(batch_stats))


def named_by_part(variables: Variables) -> Arrays:
    """All arrays in one flat dict, `params/decoder.stages.3.conv.kernel` and so on, as files have."""
    return {
        f"{part}/{name}": array
        for part, arrays in variables._asdict().items()
        for name, array in arrays.items()
    }


def by_part(arrays: Arrays) -> Variables:
    """The inverse of named_by_part."""
    found = {part: {} for part in Variables._fields}
    for name, array in arrays.items():
        part, _, own = name.partition("/")
        found[part][own] = array
    return Variables(**found)


def names_in_order(module: nnx.Module) -> list[str]:
    """The names of what the module learns, in the order in which its layers were given to it.

    That is the order in which a sound passes them, as each layer is given where it is used.
    """
    names, waiting = [], [("", module)]
    while waiting:
        prefix, item = waiting.pop()
        if isinstance(item, nnx.Param):
            names.append(prefix.removesuffix("."))
        elif isinstance(item, nnx.List):
            waiting += reversed([(f"{prefix}{i}.", part) for i, part in enumerate(item)])
        elif isinstance(item, nnx.Module):
            waiting += reversed([(f"{prefix}{name}.", part) for name, part in vars(item).items()])
    return names


def merge(graphdef: nnx.GraphDef, variables: Variables) -> nnx.Module:
    """The module again. Inside jit this costs nothing at run time: it happens while tracing."""
    return nnx.merge(
        graphdef,
        _unflatten(variables.params, nnx.Param),
        _unflatten(variables.batch_stats, nnx.BatchStat),
    )


def batch_stats(module: nnx.Module) -> Arrays:
    """The running statistics of a module, after a call in training mode has moved them."""
    return _flatten(nnx.state(module, nnx.BatchStat))


def _flatten(state: nnx.State) -> Arrays:
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def _unflatten(arrays: Arrays, kind: type[nnx.Variable]) -> nnx.State:
    return nnx.from_flat_state(
        (tuple(int(part) if part.isdigit() else part for part in name.split(".")), kind(array))
        for name, array in arrays.items()
    )
