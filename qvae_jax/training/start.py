"""The model a run starts from."""

import dataclasses
import pathlib

import jax
import ml_collections
import numpy as np

from qvae_jax import configuration
from qvae_jax.models import variables
from qvae_jax.models.qvae import QVAE, QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError
from qvae_jax.training import checkpoints


def resolve_encoder(config: ml_collections.ConfigDict, run: pathlib.Path | None) -> None:
    """Sets what config leaves unset of the encoder: the run's, the checkpoint's, or mn10's.

    run is the folder of a run that goes on, None for a new one.
    Raises UserError where a setting is another than the encoder checkpoint has.
    """
    settings = config.model
    if run is not None:
        found = configuration.read_run(run).model.to_dict()
    elif settings.encoder_checkpoint:
        found = encoder_settings(_description(settings.encoder_checkpoint, "encoder"))
        for name, value in found.items():
            if settings[name] not in (None, value):
                raise UserError(
                    f"model.{name} is {settings[name]}, but that of the encoder in "
                    f"{settings.encoder_checkpoint} is {value}: leave the setting out or name "
                    "another checkpoint."
                )
    elif settings.checkpoint:
        found = encoder_settings(_description(settings.checkpoint, "qvae"))
    else:
        found = encoder_settings(dataclasses.asdict(QVAEConfig()))
    for name in configuration.ENCODER_SETTINGS:
        if settings[name] is None:
            settings[name] = found[name]


def encoder_settings(description: dict) -> dict:
    """The settings of config.model that a model's description decides."""
    model = QVAEConfig.from_dict(description)
    return {
        "encoder_width": float(model.encoder_width),
        "encoder_head": model.encoder_head,
        "encoder_strides": model.encoder_strides,
        "encoder_classes": model.encoder_classes,
        "hop_length": model.front_end.hop_length,
        "num_mels": model.front_end.num_mels,
    }


def check_devices(config: ml_collections.ConfigDict) -> None:
    """Raises UserError for settings that make no sense on the devices that there are."""
    platform = jax.devices()[0].platform
    if config.training.dtype == "bfloat16" and platform == "cpu":
        raise UserError(
            "training.dtype is bfloat16, but the devices are CPUs, which only get slower by it: "
            "set it to float32."
        )
    if config.parallel == "pmap" and jax.process_count() > 1:
        raise UserError(
            f"parallel is pmap, which runs on one host, but there are {jax.process_count()} "
            "processes: set it to jit."
        )


def initial_variables(config: ml_collections.ConfigDict, model_config: QVAEConfig) -> Variables:
    """Fresh weights drawn from training.seed, overwritten by what the config names.

    Precedence: model.checkpoint, a whole QVAE; else model.encoder_checkpoint for the encoder.
    """
    if config.model.checkpoint:
        loaded_config, loaded = load_qvae(config.model.checkpoint)
        _check_same_model(config.model.checkpoint, loaded_config, model_config)
        return loaded
    rng = np.random.default_rng(config.training.seed)
    fresh = variables.split(QVAE(model_config, rng=rng))[1]
    if not config.model.encoder_checkpoint:
        return fresh
    encoder = load_encoder(config.model.encoder_checkpoint)
    return Variables(
        {**fresh.params, **_below("encoder.", encoder.params)},
        {**fresh.batch_stats, **_below("encoder.", encoder.batch_stats)},
    )


def load_encoder(directory: str) -> Variables:
    """The variables of a ported encoder."""
    model_config = QVAEConfig.from_dict(_description(directory, "encoder"))
    expected = variables.split(encoder_network(model_config, rng=None))[1]
    return checkpoints.load_model(pathlib.Path(directory), expected)


def load_qvae(directory: str | pathlib.Path) -> tuple[QVAEConfig, Variables]:
    """The configuration and the variables of a ported QVAE."""
    model_config = QVAEConfig.from_dict(_description(directory, "qvae"))
    expected = variables.split(QVAE(model_config, rng=None))[1]
    return model_config, checkpoints.load_model(pathlib.Path(directory), expected)


def _description(directory: str | pathlib.Path, kind: str) -> dict:
    """The model part of a folder's config.json, which must be of this kind."""
    description = checkpoints.read_description(pathlib.Path(directory))
    if description["kind"] != kind:
        wanted = {"encoder": "an encoder alone", "qvae": "a whole QVAE"}[kind]
        raise UserError(
            f"{directory} holds a model of kind {description['kind']!r}, but {wanted} is needed "
            f"here (kind {kind!r}): port one with `python -m weight_port SOURCE OUTPUT_DIR`."
        )
    model = description.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("encoder_width"), int | float):
        raise UserError(f"{directory}/{checkpoints.CONFIG_FILE} is damaged: port the model again.")
    return model


def _check_same_model(directory: str, found: QVAEConfig, wanted: QVAEConfig) -> None:
    found_fields, wanted_fields = dataclasses.asdict(found), dataclasses.asdict(wanted)
    # How fresh weights would be drawn says nothing about weights that are there.
    different = [
        f"{name} is {wanted_fields[name]!r} in the config and {value!r} in the checkpoint"
        for name, value in found_fields.items()
        if name != "decoder_init" and wanted_fields[name] != value
    ]
    if different:
        raise UserError(f"{directory} does not fit the config: {'; '.join(different)}.")


def _below(prefix: str, arrays: dict) -> dict:
    return {prefix + name: array for name, array in arrays.items()}
