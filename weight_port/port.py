"""A PyTorch checkpoint into a model folder: every tensor used once, every array of ours filled."""

import dataclasses
import pathlib
import re

import numpy as np

from qvae_jax.errors import UserError
from qvae_jax.models import mobilenet, qvae, variables
from qvae_jax.models.variables import Variables
from qvae_jax.training import checkpoints
from weight_port import names
from weight_port.source import EFFICIENTAT, QVAE, QVIM, Source

WIDTHS = (0.1, 0.2, 0.4, 0.5, 1.0, 2.0, 3.0, 4.0)
# Tensors that carry nothing a model learns: BatchNorm's counters, the losses' windows and banks.
LEFTOVERS = re.compile(r"(^loss_fn\.|\.num_batches_tracked$)")


@dataclasses.dataclass(frozen=True)
class Port:
    """What to write: a description for config.json, and the arrays."""

    description: dict
    variables: Variables


def port(source: Source, encoder: str = "imitation") -> Port:
    """The model in a checkpoint. `encoder` chooses between the two of a QVIM checkpoint.

    Raises UserError naming keys that are missing, unknown, or of a shape that does not fit.
    """
    if source.kind == QVAE:
        return _port_qvae(source)
    prefix = {EFFICIENTAT: "", QVIM: f"{encoder}_encoder."}[source.kind]
    return _port_encoder(source, prefix)


def write(ported: Port, output_dir: pathlib.Path) -> None:
    """Writes the model folder, whole or not at all."""
    checkpoints.save_model(output_dir, ported.description, ported.variables)


def _port_encoder(source: Source, prefix: str) -> Port:
    width = _width(source, prefix)
    table = names.with_prefix(names.mobilenet(width), prefix, "")
    # A QVIM checkpoint holds two encoders and a temperature; the rest of it is not asked for.
    unasked = re.compile(r"^(imitation_encoder|reference_encoder)\.|^tau$")
    allowed = [LEFTOVERS] + ([unasked] if source.kind == QVIM else [])
    module = mobilenet.MobileNetV3(width, rng=None)
    description = _description(source, "encoder", {"encoder_width": width})
    if source.kind == QVIM:
        description["source"]["encoder"] = prefix.removesuffix("_encoder.")
    return Port(description, _fill(source, table, variables.split(module)[1], allowed))


def _port_qvae(source: Source) -> Port:
    prefix = "encoder.backbone."
    width = _width(source, prefix)
    config = qvae.QVAEConfig(
        encoder_width=width,
        feature_space=_feature_space(source, width),
        latent_dim=_tensor(source, "encoder.mu_head.weight").shape[0],
        decoder_type=_decoder_type(source),
    )
    table = names.qvae(width, config.decoder_type)
    module = qvae.QVAE(config, rng=None)
    filled = _fill(source, table, variables.split(module)[1], [LEFTOVERS])
    return Port(_description(source, "qvae", dataclasses.asdict(config)), filled)


def _description(source: Source, kind: str, model: dict) -> dict:
    return {
        "kind": kind,
        "model": model,
        "embedding_size": mobilenet.embedding_size(model["encoder_width"]),
        "source": {"file": source.path.name, "sha256": source.sha256, "format": source.kind},
    }


def _fill(
    source: Source, table: dict[str, str], expected: Variables, leftovers: list[re.Pattern]
) -> Variables:
    """The expected arrays taken from the source by a table of {torch key: our name}."""
    unknown = [
        key
        for key in source.arrays
        if key not in table and not any(pattern.search(key) for pattern in leftovers)
    ]
    missing = [key for key in table if key not in source.arrays]
    if missing or unknown:
        raise UserError(
            f"{source.path} does not fit its kind, {source.kind}: "
            + "; ".join(_listed("missing", missing) + _listed("unknown", unknown))
            + ". It is damaged, renamed or of another model."
        )
    ours = {**expected.params, **expected.batch_stats}
    filled = {name: names.to_our_axes(source.arrays[key]) for key, name in table.items()}
    wrong = [
        f"{key} has shape {source.arrays[key].shape} where {name} wants {ours[name].shape}"
        for key, name in table.items()
        if filled[name].shape != ours[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{source.path} does not fit: {'; '.join(wrong[:3])}{more}.")
    _check_finite(source, table)
    unfilled = set(ours) - set(filled)
    if unfilled:
        raise AssertionError(f"the table of names leaves {sorted(unfilled)} unfilled")
    return Variables(
        {name: filled[name] for name in expected.params},
        {name: filled[name] for name in expected.batch_stats},
    )


def _check_finite(source: Source, table: dict[str, str]) -> None:
    broken = [key for key in table if not np.isfinite(source.arrays[key]).all()]
    if broken:
        raise UserError(
            f"{source.path} holds NaN or infinite numbers in {', '.join(broken[:3])}: it is damaged "
            "or its training diverged."
        )


def _listed(what: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return [f"{what} {', '.join(keys[:3])}{more}"]


def _width(source: Source, prefix: str) -> float:
    key = f"{prefix}features.{mobilenet.LAST_LAYER}.0.weight"
    channels = _tensor(source, key).shape[0]
    for width in WIDTHS:
        if mobilenet.embedding_size(width) == channels:
            return width
    raise UserError(
        f"{source.path} has {channels} channels in {key}, which is no published width: "
        f"{', '.join(str(mobilenet.embedding_size(w)) for w in WIDTHS)}."
    )


def _feature_space(source: Source, width: float) -> str:
    """"final", or the layer whose map fits the heads, checked against the hyper-parameters."""
    key = "encoder.mu_head.weight"
    inputs = _tensor(source, key).shape[1]
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
        f"{', '.join(fitting) or 'none'}, and its hyper-parameters say {stated}: it cannot be "
        "told which features the heads read."
    )


def _decoder_type(source: Source) -> str:
    """The decoder whose keys the source has, checked against the hyper-parameters."""
    prefix = "decoder."
    keys = {key.removeprefix(prefix) for key in source.arrays if key.startswith(prefix)}
    keys = {key for key in keys if not LEFTOVERS.search(key)}
    stated = _stated(source, "decoder", "type")
    for decoder_type, table in names.DECODERS.items():
        if keys == set(table()) or stated == decoder_type:
            return decoder_type
    raise UserError(
        f"{source.path} has a decoder that is none of {', '.join(names.DECODERS)}"
        + (f"; its hyper-parameters call it {stated}." if stated else ".")
    )


def _stated(source: Source, section: str, key: str):
    """A value of the original's config, where the checkpoint carries it."""
    config = source.hyper_parameters.get("config", source.hyper_parameters)
    value = config.get(section, {}) if isinstance(config, dict) else {}
    return value.get(key) if isinstance(value, dict) else None


def _tensor(source: Source, key: str) -> np.ndarray:
    if key not in source.arrays or source.arrays[key].ndim < 2:
        raise UserError(
            f"{source.path} has no weight {key}, which every {source.kind} has: it is damaged or "
            "of another model."
        )
    return source.arrays[key]
