"""A PyTorch checkpoint to model folders: each tensor is used once, each of our arrays filled."""

import dataclasses
import re

from flax import nnx

from qvae_jax.models import judges, mobilenet, qvae, variables
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.stored import EncoderFolders
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError, counted
from weight_port import names, unstated
from weight_port.filling import (
    AISFX_LEFTOVERS,
    LEFTOVERS,
    QVIM_LEFTOVERS,
    check_keys,
    fill,
    matrix,
)
from weight_port.front_ends import with_front_end
from weight_port.source import Source
from weight_port.weight_sets import AISFX, EFFICIENTAT, QBV, QVAE, QVIM, SAMPLECNN

WIDTHS = (0.1, 0.2, 0.4, 0.5, 1.0, 2.0, 3.0, 4.0)
ENCODERS = EncoderFolders._fields
# How the keys of each encoder begin, in checkpoints of two. QBV's code has called the second "ref"
# and "rec".
PAIRS = {
    QVIM: {name: (f"{name}_encoder.",) for name in ENCODERS},
    QBV: {"imitation": ("im.",), "reference": ("ref.", "rec.")},
}
# Which kinds of checkpoint each choice of the user is for.
CHOICES = {
    "encoder": tuple(PAIRS),
    "decoder": (QVAE,),
    "feature_space": (QVAE,),
    "published_as": (EFFICIENTAT,),
}


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


def port(source: Source, **choices: str | None) -> Port:
    """The model in a checkpoint; of two encoders, the one that is chosen.

    Args:
        source: the checkpoint.
        choices: of CHOICES, each None where it is not made:
            encoder: which encoder of a checkpoint of two, "imitation" (the default) or "reference".
            decoder: the type of a QVAE's decoder, for checkpoints that do not state it.
            feature_space: what its heads read, where they fit several layers and none is stated.
            published_as: the published model in an EfficientAT file whose name is another.

    Raises:
        UserError: keys are missing, unknown, of the wrong shape or not finite numbers, which the
            message names; or a choice is wanting, or given for another kind of checkpoint.
    """
    for name, value in choices.items():
        if value is not None and source.kind not in CHOICES[name]:
            kinds = " or ".join(map(_with_article, CHOICES[name]))
            raise UserError(
                f"--{name}={value} is for {kinds}, and {source.path} is {_with_article(source.kind)}: "
                f"leave --{name} out."
            )
    ported = PORTS[source.kind](
        source,
        **{name: choices.get(name) for name, kinds in CHOICES.items() if source.kind in kinds},
    )
    return dataclasses.replace(ported, notes=(*source.notes, *ported.notes))


def port_all(source: Source, **choices: str | None) -> dict[str, Port]:
    """All models in a checkpoint, by the folder of each below the output: "." where it is one.

    A checkpoint of two encoders gives both unless one is chosen. Arguments and errors as for port.
    """
    if source.kind in PAIRS and choices.get("encoder") is None:
        return {name: port(source, **choices | {"encoder": name}) for name in ENCODERS}
    return {".": port(source, **choices)}


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aE' else 'a'} {kind}"


def _port_efficientat(source: Source, published_as: str | None) -> Port:
    model, notes = with_front_end(source, _encoder(source, ""), published_as)
    table = _encoder_table(model)
    check_keys(source, table, LEFTOVERS)
    return dataclasses.replace(_port_encoder(source, model, table), notes=notes)


def _port_of_pair(source: Source, encoder: str | None) -> Port:
    encoder = encoder or ENCODERS[0]
    prefixes = {name: prefix_of(source, name) for name in ENCODERS}
    models = {name: _encoder(source, prefix) for name, prefix in prefixes.items()}
    tables = {
        name: names.with_prefix(_encoder_table(models[name]), prefix, "")
        for name, prefix in prefixes.items()
    }
    leftovers = QVIM_LEFTOVERS if source.kind == QVIM else LEFTOVERS
    check_keys(source, tables["imitation"] | tables["reference"], leftovers)
    ported = _port_encoder(source, models[encoder], tables[encoder])
    ported.description["source"]["encoder"] = encoder
    return ported


def prefix_of(source: Source, encoder: str | None) -> str:
    """What stands before the keys of an encoder in a checkpoint of two; nothing in any other."""
    if encoder is None:
        return ""
    prefixes = PAIRS[source.kind][encoder]
    return next((p for p in prefixes if any(k.startswith(p) for k in source.arrays)), prefixes[0])


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
    size = mobilenet.embedding_size(model.encoder_width)
    return _port(source, "encoder", description, table, module, embedding_size=size)


def _port_qvae(source: Source, decoder: str | None, feature_space: str | None) -> Port:
    source = _with_two_heads(source)
    encoder = _encoder(source, "encoder.backbone.")
    decoder_type, notes = unstated.decoder_type(source, decoder)
    config = dataclasses.replace(
        encoder,
        feature_space=unstated.feature_space(source, encoder, feature_space),
        latent_dim=matrix(source, "encoder.mu_head.weight").shape[0],
        decoder_type=decoder_type,
    )
    unstated.check_latent_size(source, config.latent_dim)
    table = names.qvae(config.encoder_width, config.decoder_type, config.encoder_head)
    check_keys(source, table, LEFTOVERS)
    module = qvae.QVAE(config, rng=None)
    ported = _port(
        source,
        "qvae",
        dataclasses.asdict(config),
        table,
        module,
        embedding_size=mobilenet.embedding_size(config.encoder_width),
        transposed=names.transposed_keys(decoder_type),
    )
    return dataclasses.replace(ported, notes=(*notes, *unstated.notes_on_sounds(source)))


def _port_samplecnn(source: Source) -> Port:
    model = {"num_tags": matrix(source, "fc.weight").shape[0]}
    return _port_judge(source, "samplecnn", model, names.samplecnn_tagger(), LEFTOVERS)


def _port_aisfx(source: Source) -> Port:
    left_out = sorted({".".join(key.split(".")[:2]) for key in source.arrays if key[:3] == "fc."})
    ported = _port_judge(source, "aisfx", {}, names.aisfx(), AISFX_LEFTOVERS)
    note = f"left out: {counted(len(left_out), 'classifier')}, which no embedding goes through"
    return dataclasses.replace(ported, notes=(note,) if left_out else ())


def _port_judge(
    source: Source, kind: str, model: dict, table: dict[str, str], leftovers: re.Pattern
) -> Port:
    check_keys(source, table, leftovers)
    network = judges.JUDGES[kind].network(model)
    return _port(source, kind, model, table, network, embedding_size=network.embedding_size)


PORTS = {
    EFFICIENTAT: _port_efficientat,
    QVIM: _port_of_pair,
    QBV: _port_of_pair,
    QVAE: _port_qvae,
    SAMPLECNN: _port_samplecnn,
    AISFX: _port_aisfx,
}


def _with_two_heads(source: Source) -> Source:
    """The source with the older form's single head cut into one of μ and one of log σ²."""
    arrays, converted, written = map(dict, (source.arrays, source.converted, source.written))
    for leaf in ("weight", "bias"):
        old = f"encoder.vae_head.{leaf}"
        if old not in arrays or f"encoder.mu_head.{leaf}" in arrays:
            continue
        whole = arrays.pop(old)
        if whole.ndim == 0 or whole.shape[0] % 2:
            raise UserError(
                f"{source.path} does not fit: {source.in_file(old)} has shape {whole.shape}, which "
                "cannot be halved into μ and log σ². It is damaged: fetch it again."
            )
        type_before = converted.pop(old, None)
        half = whole.shape[0] // 2
        for head, part in (("mu_head", whole[:half]), ("logvar_head", whole[half:])):
            arrays[f"encoder.{head}.{leaf}"] = part
            written[f"encoder.{head}.{leaf}"] = source.in_file(old)
            if type_before is not None:
                converted[f"encoder.{head}.{leaf}"] = type_before
    return dataclasses.replace(source, arrays=arrays, converted=converted, written=written)


def _port(
    source: Source,
    kind: str,
    model: dict,
    table: dict[str, str],
    module: nnx.Module,
    *,
    embedding_size: int,
    transposed: dict[str, bool] | None = None,
) -> Port:
    types = [source.converted[key] for key in table if key in source.converted]
    description = {
        "kind": kind,
        "model": model,
        "embedding_size": embedding_size,
        "source": {
            "file": source.path.name,
            "sha256": source.sha256,
            "format": source.kind,
            "weights": source.weights,
        },
    }
    return Port(
        description,
        fill(source, table, variables.split(module)[1], transposed or {}),
        {name: types.count(name) for name in sorted(set(types))},
    )


def _width(source: Source, prefix: str) -> float:
    key = f"{prefix}features.{mobilenet.LAST_LAYER}.0.weight"
    channels = matrix(source, key).shape[0]
    for width in WIDTHS:
        if mobilenet.embedding_size(width) == channels:
            return width
    raise UserError(
        f"{source.path} has {channels} channels in {source.in_file(key)}, which no published width has: give a "
        f"checkpoint with {', '.join(str(mobilenet.embedding_size(w)) for w in WIDTHS)}."
    )
