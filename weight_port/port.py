"""A PyTorch checkpoint to a model folder: each tensor is used once, each of our arrays filled."""

import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Mapping

import numpy as np

from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import mobilenet, qvae, stored, variables
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, counted, first_line
from weight_port import names, published
from weight_port.source import EFFICIENTAT, QVAE, QVIM, Source

WIDTHS = (0.1, 0.2, 0.4, 0.5, 1.0, 2.0, 3.0, 4.0)
ENCODERS = ("imitation", "reference")
# Tensors that hold nothing learnt: BatchNorm's counters, the losses' windows and mel banks.
LEFTOVERS = re.compile(r"^loss_fn\.|\.num_batches_tracked$")
# And the temperature of QVIM's contrastive loss, which no encoder reads.
QVIM_LEFTOVERS = re.compile(rf"{LEFTOVERS.pattern}|^tau$")


@dataclasses.dataclass(frozen=True)
class Port:
    """What to write into a model folder.

    Attributes:
        description: the content of config.json.
        variables: the arrays.
        converted: how many tensors had another floating-point type than float32, by torch type.
        notes: sentences on what the checkpoint did not say.
    """

    description: dict
    variables: Variables
    converted: dict[str, int]
    notes: tuple[str, ...] = ()


def port(
    source: Source,
    encoder: str | None = None,
    decoder: str | None = None,
    published_as: str | None = None,
) -> Port:
    """The model in a checkpoint.

    Args:
        source: the checkpoint.
        encoder: which encoder of a QVIM checkpoint, "imitation" (the default) or "reference".
        decoder: the type of a QVAE's decoder, for checkpoints that do not state it.
        published_as: the published model in an EfficientAT file whose name is another.

    Raises:
        UserError: keys are missing, unknown, of the wrong shape or not finite numbers, which the
            message names; or a choice is given for another kind of checkpoint.
    """
    if published_as is not None and source.kind != EFFICIENTAT:
        raise UserError(
            f"--published_as={published_as} is for an {EFFICIENTAT}, and {source.path} is a "
            f"{source.kind}: leave --published_as out."
        )
    if decoder is not None and source.kind != QVAE:
        raise UserError(
            f"--decoder={decoder} is for a {QVAE}, and {source.path} is a {source.kind}: leave "
            "--decoder out."
        )
    if source.kind == QVIM:
        return _port_qvim(source, encoder or ENCODERS[0])
    if encoder is not None:
        raise UserError(
            f"--encoder={encoder} chooses between the encoders of a {QVIM}, and {source.path} is "
            f"a {source.kind}: leave --encoder out."
        )
    if source.kind == QVAE:
        return _port_qvae(source, decoder)
    return _port_efficientat(source, published_as)


def write(ported: Port, output_dir: pathlib.Path) -> None:
    """Writes the model folder, whole or not at all; UserError where it cannot be written."""
    with files.explaining_write_errors(output_dir):
        _try_disk(output_dir, ported.variables)
    try:
        stored.save_model(output_dir, ported.description, ported.variables)
    except UserError:
        raise
    except Exception as error:  # TensorStore reports a full disk as ValueError
        raise UserError(
            f"{output_dir} cannot be written ({first_line(error)}): free some space or name "
            "another place."
        ) from error


def _try_disk(output_dir: pathlib.Path, arrays: Variables) -> None:
    """Raises OSError where the disk has no room for the checkpoint.

    Found out beforehand, because Orbax's threads print tracebacks of their own when the disk fills
    up, even after the save has failed.
    """
    path = output_dir.absolute()
    folder = next(folder for folder in (*path.parents, path) if folder.exists())
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2**20))  # for Orbax's own files
        for array in (arrays.params | arrays.batch_stats).values():
            np.save(file, array)


def _port_efficientat(source: Source, published_as: str | None) -> Port:
    model = _encoder(source, "")
    name = published_as or published.name_of(source.path.name, source.sha256)
    if name is None:
        notes = (
            f"no tensor tells the hop, the mel bands and the strides, and {source.path.name} is "
            "not a published file's name: taken to be those of mn10_as; if they are not, give "
            "--published_as=NAME",
        )
    else:
        notes = ()
        model = _as_published(source, model, name)
    table = _encoder_table(model)
    _check_keys(source, table, LEFTOVERS)
    return dataclasses.replace(_port_encoder(source, model, table), notes=notes)


def _as_published(source: Source, model: QVAEConfig, name: str) -> QVAEConfig:
    """The model with what only its published name tells; UserError where they contradict."""
    entry = published.PUBLISHED[name]
    told = {"width": model.encoder_width, "head": model.encoder_head}
    for what, value in told.items():
        if getattr(entry, what) != value:
            raise UserError(
                f"{source.path} cannot be {name}, whose {what} is {getattr(entry, what)}: its "
                f"tensors have {what} {value}; give another file or another --published_as."
            )
    front_end = FrontEnd(hop_length=entry.hop_length, num_mels=entry.num_mels)
    return dataclasses.replace(model, encoder_strides=entry.strides, front_end=front_end)


def _port_qvim(source: Source, encoder: str) -> Port:
    prefixes = {name: f"{name}_encoder." for name in ENCODERS}
    models = {name: _encoder(source, prefix) for name, prefix in prefixes.items()}
    tables = {
        name: names.with_prefix(_encoder_table(models[name]), prefix, "")
        for name, prefix in prefixes.items()
    }
    _check_keys(source, tables["imitation"] | tables["reference"], QVIM_LEFTOVERS)
    ported = _port_encoder(source, models[encoder], tables[encoder])
    ported.description["source"]["encoder"] = encoder
    return ported


def _encoder(source: Source, prefix: str) -> QVAEConfig:
    """The encoder whose tensors have this prefix; what they do not tell is as for mn10_as."""
    width = _width(source, prefix)
    convolutional = f"{prefix}classifier.0.weight" in source.arrays
    head = "fully_convolutional" if convolutional else "mlp"
    last = source.arrays.get(f"{prefix}classifier.{0 if convolutional else 5}.weight")
    # If it is missing or not a matrix, the comparison of keys and shapes will say so.
    known = last is not None and last.ndim > 1 and last.shape[0] > 0
    num_classes = last.shape[0] if known else mobilenet.NUM_CLASSES
    return QVAEConfig(encoder_width=width, encoder_head=head, encoder_classes=num_classes)


def _encoder_table(model: QVAEConfig) -> dict[str, str]:
    return names.mobilenet(model.encoder_width, model.encoder_head)


def _port_encoder(source: Source, model: QVAEConfig, table: dict[str, str]) -> Port:
    description = {
        name: value
        for name, value in dataclasses.asdict(model).items()
        if name.startswith("encoder_") or name == "front_end"
    }
    module = qvae.encoder_network(model, rng=None)
    return _port(source, "encoder", description, table, module)


def _port_qvae(source: Source, decoder: str | None) -> Port:
    source = _with_two_heads(source)
    encoder = _encoder(source, "encoder.backbone.")
    decoder_type, notes = _decoder_type(source, decoder)
    config = dataclasses.replace(
        encoder,
        feature_space=_feature_space(source, encoder),
        latent_dim=_matrix(source, "encoder.mu_head.weight").shape[0],
        decoder_type=decoder_type,
    )
    table = names.qvae(config.encoder_width, config.decoder_type, config.encoder_head)
    _check_keys(source, table, LEFTOVERS)
    module = qvae.QVAE(config, rng=None)
    transposed = names.transposed_keys(decoder_type)
    ported = _port(source, "qvae", dataclasses.asdict(config), table, module, transposed)
    return dataclasses.replace(ported, notes=notes)


def _with_two_heads(source: Source) -> Source:
    """The source with the older form's single head cut into one of μ and one of log σ²."""
    arrays, converted = dict(source.arrays), dict(source.converted)
    for leaf in ("weight", "bias"):
        old = f"encoder.vae_head.{leaf}"
        if old not in arrays or f"encoder.mu_head.{leaf}" in arrays:
            continue
        whole = arrays.pop(old)
        if whole.ndim == 0 or whole.shape[0] % 2:
            raise UserError(
                f"{source.path} does not fit: {old} has shape {whole.shape}, which cannot be "
                "halved into μ and log σ². It is damaged: fetch it again."
            )
        type_before = converted.pop(old, None)
        half = whole.shape[0] // 2
        for head, part in (("mu_head", whole[:half]), ("logvar_head", whole[half:])):
            arrays[f"encoder.{head}.{leaf}"] = part
            if type_before is not None:
                converted[f"encoder.{head}.{leaf}"] = type_before
    return dataclasses.replace(source, arrays=arrays, converted=converted)


def _port(
    source: Source,
    kind: str,
    model: dict,
    table: dict[str, str],
    module,
    transposed: dict[str, bool] | None = None,
) -> Port:
    types = [source.converted[key] for key in table if key in source.converted]
    return Port(
        _description(source, kind, model),
        _fill(source, table, variables.split(module)[1], transposed or {}),
        {name: types.count(name) for name in sorted(set(types))},
    )


def _description(source: Source, kind: str, model: dict) -> dict:
    return {
        "kind": kind,
        "model": model,
        "embedding_size": mobilenet.embedding_size(model["encoder_width"]),
        "source": {"file": source.path.name, "sha256": source.sha256, "format": source.kind},
    }


def _fill(
    source: Source, table: dict[str, str], expected: Variables, transposed: dict[str, bool]
) -> Variables:
    """The expected arrays, taken from the source by a table of {torch key: our name}."""
    ours = expected.params | expected.batch_stats
    unfilled = set(ours) - set(table.values())
    if unfilled:
        raise AssertionError(f"the table of names leaves {sorted(unfilled)} unfilled")
    filled = {
        name: names.to_our_axes(
            source.arrays[key], transposed=key in transposed, reverse=transposed.get(key, False)
        )
        for key, name in table.items()
    }
    _check_shapes(source, table, filled, ours)
    _check_numbers(source, table)
    return Variables(
        {name: filled[name] for name in expected.params},
        {name: filled[name] for name in expected.batch_stats},
    )


def _check_keys(source: Source, wanted: dict[str, str], leftovers: re.Pattern) -> None:
    """Raises UserError unless the source has every wanted key, and no others but leftovers."""
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
        f"{key} has shape {source.arrays[key].shape}, which becomes {filled[name].shape}, but "
        f"{name} is {ours[name].shape}"
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
            f"{source.path} holds {found} numbers instead of floating-point ones in "
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
        f"{source.path} has {channels} channels in {key}, which no published width has: give a "
        f"checkpoint with {', '.join(str(mobilenet.embedding_size(w)) for w in WIDTHS)}."
    )


def _feature_space(source: Source, encoder: QVAEConfig) -> str:
    """The layer whose map fits the heads, or "final", checked against the hyper-parameters."""
    key = "encoder.mu_head.weight"
    inputs = _matrix(source, key).shape[1]
    choices = ["final", *map(str, range(mobilenet.LAST_LAYER + 1))]
    fitting = [
        space
        for space in choices
        if dataclasses.replace(encoder, feature_space=space).feature_dim() == inputs
    ]
    stated = _stated(source, "model", "feature_space")
    if stated is not None and str(stated) in fitting:
        return str(stated)
    if len(fitting) == 1 and stated is None:
        return fitting[0]
    raise UserError(
        f"{source.path} has {counted(inputs, 'input')} in {key}, which fits feature_space "
        f"{' or '.join(fitting) or 'none'}, and its hyper-parameters say {stated}, so the features "
        "that the heads read are unknown; fetch it again or give another checkpoint."
    )


def _decoder_type(source: Source, chosen: str | None) -> tuple[str, tuple[str, ...]]:
    """The decoder's type, and a note where the checkpoint leaves it open.

    Hyper-parameters count first, then the user's choice, then the keys. Keys cannot tell
    `original-plus` from `original-res`, which differ only in their residual connections.
    """
    stated = _stated(source, "decoder", "type")
    if stated is not None:
        known = isinstance(stated, str) and stated in names.DECODERS
        if not known or chosen not in (None, stated):
            raise UserError(
                f"{source.path} has a decoder of type {stated!r} according to its "
                "hyper_parameters.config.decoder.type, where "
                f"{chosen or ' or '.join(names.DECODERS)} was expected: give another checkpoint"
                + (", or leave --decoder out." if chosen else ".")
            )
        return stated, ()
    if chosen is not None:
        return chosen, ()
    keys = {
        key.removeprefix("decoder.")
        for key in source.arrays
        if key.startswith("decoder.") and not LEFTOVERS.search(key)
    }
    fitting = [name for name, table in names.DECODERS.items() if keys == set(table())]
    if not fitting:
        # With the default, the comparison of keys will say what is missing or unknown.
        return "original-plus", ()
    if len(fitting) == 1:
        return fitting[0], ()
    note = (
        f"the checkpoint does not state its decoder, and its tensors fit {' and '.join(fitting)}: "
        f"taken to be {fitting[0]}; if it is the other, give --decoder={fitting[1]}"
    )
    return fitting[0], (note,)


def _stated(source: Source, section: str, key: str):
    """A value of the original's config; None where the checkpoint does not have it."""
    config = source.hyper_parameters.get("config", source.hyper_parameters)
    value = config.get(section, {}) if isinstance(config, Mapping) else {}
    return value.get(key) if isinstance(value, Mapping) else None


def _matrix(source: Source, key: str) -> np.ndarray:
    """A weight of two or more dimensions, none of them zero; UserError where there is none."""
    if key not in source.arrays:
        raise UserError(
            f"{source.path} does not fit its kind, {source.kind}: missing {key}. It is damaged or "
            "of another model: fetch it again or give another one."
        )
    array = source.arrays[key]
    if array.ndim < 2 or 0 in array.shape:
        raise UserError(
            f"{source.path} does not fit: {key} has shape {array.shape}, but is a matrix in every "
            f"{source.kind}. It is damaged: fetch it again."
        )
    return array
