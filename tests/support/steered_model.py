"""The smallest steered model: weights drawn at random, soon compiled, as a Model and as a folder."""

import dataclasses
import pathlib

from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.generation.model import Model
from qvae_jax.models import sound_encoder, stored
from qvae_jax.models.qvae import QVAEConfig

CONFIG = QVAEConfig(
    encoder_width=0.1,
    feature_space="4",
    latent_dim=4,
    decoder_type="steered",
    decoder_width=0.05,
    front_end=FrontEnd(duration_s=1.0),
)


# Its encoder hears voices, and another one sounds; all else is drawn as without that.
TWO_ENCODERS = dataclasses.replace(CONFIG, sound_encoder=True)


def model(config: QVAEConfig = CONFIG) -> Model:
    """It hears one second; its weights are always the same."""
    return Model(config, stored.initial_variables(config, seed=0))


def of_one_encoder(model: Model, *, sounds: bool) -> Model:
    """The same model with one of its encoders alone."""
    return Model(*sound_encoder.one_alone(model.config, model.variables, sounds=sounds))


def write(folder: pathlib.Path) -> pathlib.Path:
    """The same in a folder, as of a ported model."""
    description = {"kind": "qvae", "model": dataclasses.asdict(CONFIG)}
    stored.save_model(folder, description, stored.initial_variables(CONFIG, seed=0))
    return folder
