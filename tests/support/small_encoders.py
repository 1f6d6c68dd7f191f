"""The smallest encoders, drawn at random, soon compiled, in folders as of ported ones."""

import dataclasses
import pathlib

import numpy as np

import steered_model
from qvae_jax.models import stored, variables
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables

CONFIG = steered_model.CONFIG  # hears one second


def drawn(seed: int = 0, **changes) -> tuple[QVAEConfig, Variables]:
    """What an encoder is, and its arrays; changes are of CONFIG."""
    config = dataclasses.replace(CONFIG, **changes)
    network = encoder_network(config, rng=np.random.default_rng(seed))
    return config, variables.split(network)[1]


def write(folder: pathlib.Path, seed: int = 0, **changes) -> pathlib.Path:
    """A plain encoder's folder."""
    config, arrays = drawn(seed, **changes)
    stored.save_model(folder, {"kind": "encoder", "model": dataclasses.asdict(config)}, arrays)
    return folder


def write_pair(folder: pathlib.Path) -> pathlib.Path:
    """A folder of two different ones."""
    write(folder / "imitation", seed=1)
    write(folder / "reference", seed=2)
    return folder
