"""A PyTorch checkpoint to a model folder: each tensor is used once, each of our arrays filled."""

import dataclasses
import pathlib
import tempfile

import numpy as np

from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import mobilenet, qvae, stored, variables
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, first_line
from weight_port import names, published, unstated
from weight_port.filling import LEFTOVERS, QVIM_LEFTOVERS, check_keys, fill, matrix
from weight_port.source import Source
from weight_port.weight_sets import EFFICIENTAT, QVAE, QVIM

WIDTHS = (0.1, 0.2, 0.4, 0.5, 1.0, 2.0, 3.0, 4.0)
ENCODERS = ("imitation", "reference")
# Which kind of checkpoint each choice of the user is for.
CHOICES = {"encoder": QVIM, "decoder": QVAE, "feature_space": QVAE, "published_as": EFFICIENTAT}


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
    """The model in a checkpoint.

    Args:
        source: the checkpoint.
        choices: of CHOICES, each None where it is not made:
            encoder: which encoder of a QVIM checkpoint, "imitation" (the default) or "reference".
            decoder: the type of a QVAE's decoder, for checkpoints that do not state it.
            feature_space: what its heads read, where they fit several layers and none is stated.
            published_as: the published model in an EfficientAT file whose name is another.

    Raises:
        UserError: keys are missing, unknown, of the wrong shape or not finite numbers, which the
            message names; or a choice is wanting, or given for another kind of checkpoint.
    """
    for name, value in choices.items():
        if value is not None and source.kind != CHOICES[name]:
            article = "an" if CHOICES[name] == EFFICIENTAT else "a"
            raise UserError(
                f"--{name}={value} is for {article} {CHOICES[name]}, and {source.path} is a "
                f"{source.kind}: leave --{name} out."
            )
    ported = PORTS[source.kind](
        source, **{name: choices.get(name) for name, kind in CHOICES.items() if kind == source.kind}
    )
    return dataclasses.replace(ported, notes=(*source.notes, *ported.notes))


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
    model, notes = _encoder(source, ""), ()
    fitting = _published_like(model)
    name = published_as or published.name_of(source.path.name, source.sha256)
    if name is not None and fitting:
        model = _as_published(source, model, name)
    else:
        name = name or _only_front_end(source, model, fitting)
        model = _with_front_end(model, name)
        notes = (_note_on_front_end(model, name, fitting),)
    table = _encoder_table(model)
    check_keys(source, table, LEFTOVERS)
    return dataclasses.replace(_port_encoder(source, model, table), notes=notes)


def _published_like(model: QVAEConfig) -> list[str]:
    """The names of the published models of this width and head."""
    wanted = (model.encoder_width, model.encoder_head)
    return [n for n, entry in published.PUBLISHED.items() if (entry.width, entry.head) == wanted]


def _only_front_end(source: Source, model: QVAEConfig, fitting: list[str]) -> str:
    """One of the published names, where all of them hear alike; UserError where they do not."""
    heard = {_with_front_end(model, name) for name in fitting}
    if len(heard) == 1:
        return fitting[0]
    which = (
        f"it may be {', '.join(fitting)}"
        if fitting
        else f"no published model has width {model.encoder_width} and a {model.encoder_head} head"
    )
    raise UserError(
        f"{source.path} does not tell its hop, its mel bands and its strides, for no tensor does "
        f"and its name is no published file's ({which}): give --published_as with the name of the "
        "model that has the same."
    )


def _note_on_front_end(model: QVAEConfig, name: str, fitting: list[str]) -> str:
    of_whom = (
        f"those of every published model of width {model.encoder_width}"
        if fitting
        else f"those of {name}, though no published model has its width and head"
    )
    return f"no tensor tells the hop, the mel bands and the strides: taken to be {of_whom}"


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
    return _with_front_end(model, name)


def _with_front_end(model: QVAEConfig, name: str) -> QVAEConfig:
    entry = published.PUBLISHED[name]
    front_end = FrontEnd(hop_length=entry.hop_length, num_mels=entry.num_mels)
    return dataclasses.replace(model, encoder_strides=entry.strides, front_end=front_end)


def _port_qvim(source: Source, encoder: str | None) -> Port:
    encoder = encoder or ENCODERS[0]
    prefixes = {name: f"{name}_encoder." for name in ENCODERS}
    models = {name: _encoder(source, prefix) for name, prefix in prefixes.items()}
    tables = {
        name: names.with_prefix(_encoder_table(models[name]), prefix, "")
        for name, prefix in prefixes.items()
    }
    check_keys(source, tables["imitation"] | tables["reference"], QVIM_LEFTOVERS)
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
    transposed = names.transposed_keys(decoder_type)
    ported = _port(source, "qvae", dataclasses.asdict(config), table, module, transposed)
    return dataclasses.replace(ported, notes=(*notes, *unstated.notes_on_sounds(source)))


PORTS = {EFFICIENTAT: _port_efficientat, QVIM: _port_qvim, QVAE: _port_qvae}


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
    module,
    transposed: dict[str, bool] | None = None,
) -> Port:
    types = [source.converted[key] for key in table if key in source.converted]
    return Port(
        _description(source, kind, model),
        fill(source, table, variables.split(module)[1], transposed or {}),
        {name: types.count(name) for name in sorted(set(types))},
    )


def _description(source: Source, kind: str, model: dict) -> dict:
    return {
        "kind": kind,
        "model": model,
        "embedding_size": mobilenet.embedding_size(model["encoder_width"]),
        "source": {
            "file": source.path.name,
            "sha256": source.sha256,
            "format": source.kind,
            "weights": source.weights,
        },
    }


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
