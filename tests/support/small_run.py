"""The smallest data set and model that the whole of training runs on, seconds for each run."""

import pathlib
import shutil

import ml_collections
import numpy as np

from configs import vimsketch
from qvae_jax.audio.files import fit_length, read_audio, write_wav
from qvae_jax.modes import train
from qvae_jax.modes.requests import TrainRequest
from qvae_jax.runs import read_metrics

NUM_SOUNDS, NUM_IMITATIONS = 4, 3
SAMPLE_RATE_HZ = 16_000


def write_data_set(folder: pathlib.Path) -> pathlib.Path:
    """A folder in VimSketch's layout, without lists: decaying tones and noisy imitations."""
    rng = np.random.default_rng(0)
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    for part in ("references", "vocal_imitations"):
        (folder / part).mkdir(parents=True)
    for sound in range(NUM_SOUNDS):
        key = f"sound {sound}, a_tone.wav"
        tone = 0.5 * np.sin(2 * np.pi * (200 + 150 * sound) * time_s) * np.exp(-3 * time_s)
        write_wav(folder / "references" / f"{sound:03d}_{key}", tone, SAMPLE_RATE_HZ)
        for imitation in range(NUM_IMITATIONS):
            noise = 0.05 * rng.standard_normal(len(tone))
            name = f"{sound * NUM_IMITATIONS + imitation:05d}_{key}"
            write_wav(folder / "vocal_imitations" / name, 0.5 * tone + noise, SAMPLE_RATE_HZ)
    return folder


def grow(data_set: pathlib.Path) -> list[str]:
    """Adds a sound with four imitations, first in every list; gives the imitations' names."""
    key = "a new sound.wav"
    references, imitations = data_set / "references", data_set / "vocal_imitations"
    shutil.copy(next(references.glob("001*")), references / f"000_{key}")
    names = [f"0000{number}_{key}" for number in range(4)]
    for name in names:
        shutil.copy(next(imitations.glob("00003*")), imitations / name)
    return names


def config(
    data_set: pathlib.Path, encoder: str = "frozen", **changes: object
) -> ml_collections.ConfigDict:
    """The original's config with a tiny model; changes are settings by dotted name.

    The split has six pairs to train on, three for interpolation and three for extrapolation. Rate
    and β are constant, so that runs which differ only in their length share compiled programs.
    """
    config = vimsketch.get_config()
    config.data.dataset_dir = str(data_set)
    config.data.cache_dir = str(data_set.parent / "cache")
    config.data.input_duration_s = 1.0
    config.data.train_sound_ratio = 0.76
    config.data.train_imitation_ratio = 0.67
    config.model.encoder_width = 0.1
    config.model.latent_dim = 4
    config.model.decoder.width = 0.05
    config.optimizer.schedule = "constant"
    config.beta.schedule = "fixed"
    config.training.encoder = encoder
    config.training.batch_size = 2
    config.training.num_epochs = 2
    config.logging.num_samples = 0
    config.diagnostics.every_epochs = 0
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


def waveform(data_set: pathlib.Path, imitation: str) -> np.ndarray:
    """An imitation as a model of `config` hears it: one second at 32 kHz."""
    return fit_length(read_audio(data_set / "vocal_imitations" / imitation, 32_000), 32_000)


def trained(data_set: pathlib.Path, workdir: pathlib.Path, **changes: object) -> pathlib.Path:
    """The workdir of a run with this config, trained to its end."""
    train.train(config(data_set, **changes), TrainRequest(workdir=str(workdir)))
    return workdir


def measured(workdir) -> list[dict]:
    """All metrics of a run but those of speed, which are never twice the same."""
    return [entry for entry in read_metrics(workdir) if entry["part"] != "speed"]
