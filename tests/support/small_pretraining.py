"""The smallest encoders for search that the whole of pretraining runs on, on small_run's data set."""

import pathlib

import ml_collections

import small_run
from configs import qvim_baseline
from qvae_jax.modes import pretrain
from qvae_jax.modes.requests import PretrainRequest


def config(data_set: pathlib.Path, **changes: object) -> ml_collections.ConfigDict:
    """Two encoders of width 0.1 that hear a second, of which the last layer learns."""
    base = small_run.config(data_set, "fine_tuned")
    config = qvim_baseline.get_config()
    for name in ("dataset_dir", "cache_dir", "train_sound_ratio", "train_imitation_ratio"):
        config.data[name] = base.data[name]
    config.data.input_duration_s = 1.0
    config.model.encoder_checkpoint = ""
    config.model.encoder_width = 0.1
    config.contrast.same_sound = "left_out"
    config.contrast.learn_temperature = True
    config.contrast.triplet = 0.5
    config.augment.roll_samples = 1000
    config.augment.time_mask_frames = 20
    config.augment.mel_low_hz = config.augment.mel_high_hz = 0
    config.training.encoder = "fine_tuned"
    config.fine_tuning.layers = (16,)  # the more learn, the longer a test compiles
    config.optimizer.decay_epochs = 2
    config.training.batch_size = 3
    config.training.num_epochs = 3
    config.diagnostics.every_epochs = 0
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


def pretrained(data_set: pathlib.Path, workdir: pathlib.Path, **changes: object) -> pathlib.Path:
    """The workdir of a run with this config, trained to its end."""
    pretrain.pretrain(config(data_set, **changes), PretrainRequest(workdir=str(workdir)))
    return workdir
