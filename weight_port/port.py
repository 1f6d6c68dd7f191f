"""A PyTorch checkpoint into a model folder: every tensor used once, every array of ours filled."""

import dataclasses
import pathlib
import re
import tempfile

import numpy as np

from qvae_jax import files
from qvae_jax.errors import UserError
from qvae_jax.models import mobilenet, qvae, variables
from qvae_jax.models.variables import Variables
from qvae_jax.training import checkpoints
from weight_port import names
from weight_port.source import QVAE, QVIM, Source

WIDTHS = (0.1, 0.2, 0.4, 0.5, 1.0, 2.0, 3.0, 4.0)
ENCODERS = ("imitation", "reference")
# Tensors that carry nothing a model learns: BatchNorm's counters, the losses' windows and banks.
LEFTOVERS = re.compile(r"^loss_fn\.|\.num_batches_tracked$")
# The temperature of QVIM's contrastive loss, which no encoder reads.
QVIM_LEFTOVERS = re.compile(rf"{LEFTOVERS.pattern}|^tau$")


@dataclasses.dataclass(frozen=True)
class Port:
    """What to write: a description for config.json, and the arrays.

    `converted` names the other floating-point types that tensors had: {torch type: how many}.
    """

    description: dict
    variables: Variables
    converted: dict[str, int]


def port(source: Source, encoder: str | None = None) -> Port:
    """The model in a checkpoint.

    `encoder` chooses between the two of a QVIM checkpoint, "imitation" (the default) or
    "reference". Raises UserError naming keys that are missing, unknown, of a shape that does not
    fit or not numbers, and where `encoder` is given for another kind of checkpoint.
    """
    if source.kind == QVIM:
        return _port_qvim(source, encoder or ENCODERS[0])
    if encoder is not None:
        raise UserError(
            f"--encoder={encoder} chooses between the encoders of a {QVIM}, and {source.path} is "
            f"a {source.kind}: leave --encoder out."
        )
    return _port_qvae(source) if source.kind == QVAE else _port_efficientat(source)


def write(ported: Port, output_dir: pathlib.Path) -> None:
    """Writes the model folder, whole or not at all; UserError where it cannot be written."""
    with files.explaining_write_errors(output_dir):
        _try_disk(output_dir, ported.variables)
    try:
        checkpoints.save_model(output_dir, ported.description, ported.variables)
    except UserError:
        raise
    except Exception as error:  # TensorStore reports a full disk as ValueError
        reason = (str(error) or type(error).__name__)[:200]
        raise UserError(
            f"{output_dir} cannot be written ({reason}): free some space or name another place."
        ) from error


def _try_disk(output_dir: pathlib.Path, arrays: Variables) -> None:
    """Raises OSError where the disk does not take as much as a checkpoint needs.

    Orbax's threads print tracebacks of their own when the disk fills up under them, even after the
    save has failed, so it is better found out before.
    """
    path = output_dir.absolute()
    folder = next(folder for folder in (*path.parents, path) if folder.exists())
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2**20))  # Orbax's own files
        for array in (arrays.params | arrays.batch_stats).values():
            np.save(file, array)


def _port_efficientat(source: Source) -> Port:
    width = _width(source, "")
    table = names.mobilenet(width)
    _check_keys(source, table, LEFTOVERS)
    return _encoder(source, width, table)


def _port_qvim(source: Source, encoder: str) -> Port:
    prefixes = {name: f"{name}_encoder." for name in ENCODERS}
    widths = {name: _width(source, prefix) for name, prefix in prefixes.items()}
    tables = {
        name: names.with_prefix(names.mobilenet(widths[name]), prefix, "")
        for name, prefix in prefixes.items()
    }
    _check_keys(source, tables["imitation"] | tables["reference"], QVIM_LEFTOVERS)
    ported = _encoder(source, widths[encoder], tables[encoder])
    ported.description["source"]["encoder"] = encoder
    return ported


def _encoder(source: Source, width: float, table: dict[str, str]) -> Port:
    module = mobilenet.MobileNetV3(width, rng=None)
    return _port(source, "encoder", {"encoder_width": width}, table, module)


def _port_qvae(source: Source) -> Port:
    width = _width(source, "encoder.backbone.")
    config = qvae.QVAEConfig(
        encoder_width=width,
        feature_space=_feature_space(source, width),
        latent_dim=_matrix(source, "encoder.mu_head.weight").shape[0],
        decoder_type=_decoder_type(source),
    )
    table = names.qvae(width, config.decoder_type)
    _check_keys(source, table, LEFTOVERS)
    module = qvae.QVAE(config, rng=None)
    return _port(source, "qvae", dataclasses.asdict(config), table, module)


def _port(source: Source, kind: str, model: dict, table: dict[str, str], module) -> Port:
    types = [source.converted[key] for key in table if key in source.converted]
    return Port(
        _description(source, kind, model),
        _fill(source, table, variables.split(module)[1]),
        {name: types.count(name) for name in sorted(set(types))},
    )


def _description(source: Source, kind: str, model: dict) -> dict:
    return {
        "kind": kind,
        "model": model,
        "embedding_size": mobilenet.embedding_size(model["encoder_width"]),
        "source": {"file": source.path.name, "sha256": source.sha256, "format": source.kind},
    }


def _fill(source: Source, table: dict[str, str], expected: Variables) -> Variables:
    """The expected arrays taken from the source by a table of {torch key: our name}."""
    ours = expected.params | expected.batch_stats
    unfilled = set(ours) - set(table.values())
    if unfilled:
        raise AssertionError(f"the table of names leaves {sorted(unfilled)} unfilled")
    filled = {name: names.to_our_axes(source.arrays[key]) for key, name in table.items()}
    _check_shapes(source, table, filled, ours)
    _check_numbers(source, table)
    return Variables(
        {name: filled[name] for name in expected.params},
        {name: filled[name] for name in expected.batch_stats},
    )


def _check_keys(source: Source, wanted: dict[str, str], leftovers: re.Pattern) -> None:
    """Raises UserError unless the source has every wanted key, and beside them only leftovers."""
    missing = [key for key in wanted if key not in source.arrays]
    unknown = [key for key in source.arrays if key not in wanted and not leftovers.search(key)]
    if missing or unknown:
        found = [
            f"{what} {_listed(keys)}"
            for what, keys in {"missing": missing, "unknown": unknown}.items()
            if keys
        ]
        raise UserError(
            f"{source.path} does not fit its kind, {source.kind}: {'; '.join(found)}. It is "
            "damaged, renamed or of another model: fetch it again or give another one."
        )


def _check_shapes(source: Source, table: dict[str, str], filled: dict, ours: dict) -> None:
    wrong = [
        f"{key} has shape {source.arrays[key].shape} and makes {filled[name].shape} where {name} "
        f"wants {ours[name].shape}"
        for key, name in table.items()
        if filled[name].shape != ours[name].shape
    ]
    if wrong:
        raise UserError(
            f"{source.path} does not fit: {_listed(wrong, '; ')}. It is damaged or of another "
            "model: fetch it again or give another one."
        )


def _check_numbers(source: Source, table: dict[str, str]) -> None:
    other = [key for key in table if source.arrays[key].dtype != np.float32]
    if other:
        found = source.arrays[other[0]].dtype
        raise UserError(
            f"{source.path} holds {found} numbers, where floating-point ones belong, in "
            f"{_listed(other)}: it is damaged or of another model."
        )
    broken = [key for key in table if not np.isfinite(source.arrays[key]).all()]
    if broken:
        raise UserError(
            f"{source.path} holds numbers that are NaN, infinite or too large for float32 in "
            f"{_listed(broken)}: it is damaged or its training diverged; use another checkpoint."
        )


def _listed(items: list[str], separator: str = ", ") -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return separator.join(items[:3]) + more


def _width(source: Source, prefix: str) -> float:
    key = f"{prefix}features.{mobilenet.LAST_LAYER}.0.weight"
    channels = _matrix(source, key).shape[0]
    for width in WIDTHS:
        if mobilenet.embedding_size(width) == channels:
            return width
    raise UserError(
        f"{source.path} has {channels} channels in {key}, which is no published width: these "
        f"have {', '.join(str(mobilenet.embedding_size(w)) for w in WIDTHS)}."
    )


def _feature_space(source: Source, width: float) -> str:
    """The layer whose map fits the heads, or "final", checked against the hyper-parameters."""
    key = "encoder.mu_head.weight"
    inputs = _matrix(source, key).shape[1]
    choices = ["final", *map(str, range(mobilenet.LAST_LAYER + 1))]
    fitting = [
        space
        for space in choices
        if qvae.QVAEConfig(encoder_width=width, feature_space=space).feature_dim() == inputs
    ]
    stated = _stated(source, "model", "feature_space")
    if stated is not None and str(stated) in fitting:
        return str(stated)
    if len(fitting) == 1 and stated is None:
        return fitting[0]
    raise UserError(
        f"{source.path} has {inputs} inputs in {key}, which fits feature_space "
        f"{' or '.join(fitting) or 'none'}, and its hyper-parameters say {stated}: it cannot be "
        "told which features the heads read; fetch it again or give another checkpoint."
    )


def _decoder_type(source: Source) -> str:
    """The decoder that the hyper-parameters name.

    The keys cannot tell it: `original-res` has those of `original-plus`, shapes included.
    """
    stated = _stated(source, "decoder", "type")
    if isinstance(stated, str) and stated in names.DECODERS:
        return stated
    raise UserError(
        f"{source.path} has a decoder of type {stated!r} according to its "
        f"hyper_parameters.config.decoder.type, where {' or '.join(names.DECODERS)} can be "
        "ported: give a checkpoint that states one of these."
    )


def _stated(source: Source, section: str, key: str):
    """A value of the original's config, where the checkpoint carries it."""
    config = source.hyper_parameters.get("config", source.hyper_parameters)
    value = config.get(section, {}) if isinstance(config, dict) else {}
    return value.get(key) if isinstance(value, dict) else None


def _matrix(source: Source, key: str) -> np.ndarray:
    """A weight of two or more dimensions, none of them zero; UserError where it is not there."""
    if key not in source.arrays:
        raise UserError(
            f"{source.path} does not fit its kind, {source.kind}: missing {key}. It is damaged or "
            "of another model: fetch it again or give another one."
        )
    array = source.arrays[key]
    if array.ndim < 2 or 0 in array.shape:
        raise UserError(
            f"{source.path} does not fit: {key} has shape {array.shape}, where every "
            f"{source.kind} has a matrix. It is damaged: fetch it again."
        )
    return array
