"""The configs: the original's numbers, and that each file is whole and makes sense."""

import importlib.util
import json
import pathlib

import pytest

from configs import overfit, quickstart, qvim, qvim_baseline, qvim_folds, vimsketch
from qvae_jax import configuration, losses
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import decoders
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.training import setup

REPOSITORY = pathlib.Path(__file__).parents[1]
FILES = sorted((REPOSITORY / "configs").glob("[!_]*.py"))
ORIGINAL = json.loads((REPOSITORY / "tests/golden/qvae_checkpoint_layout.json").read_text())

# Our setting, and where the original's config has the same number.
SAME = {
    "data.input_duration_s": "data.input_duration",
    "data.split_seed": "data.split_random_seed",
    "data.train_sound_ratio": "data.train_sound_ratio",
    "data.train_imitation_ratio": "data.train_imitation_ratio",
    "model.feature_space": "model.feature_space",
    "model.decoder.type": "decoder.type",
    "model.decoder.dropout": "decoder.dropout",
    "loss.spectral": "loss.alpha_spectral",
    "loss.mel": "loss.alpha_mel",
    "loss.waveform": "loss.alpha_waveform",
    "loss.mask_silence": "loss.use_silence_masking",
    "loss.silence_threshold": "loss.silence_threshold",
    "beta.schedule": "training.beta_kl_schedule.type",
    "beta.fixed": "loss.beta_kl",
    "beta.initial": "training.beta_kl_schedule.initial",
    "beta.target": "training.beta_kl_schedule.target",
    "beta.rampup_fraction": "training.beta_kl_schedule.rampup_fraction",
    "beta.minimum": "training.beta_kl_schedule.min",
    "beta.maximum": "training.beta_kl_schedule.max",
    "beta.cycle_steps": "training.beta_kl_schedule.cycle_length",
    "beta.proportion": "training.beta_kl_schedule.proportion",
    "optimizer.learning_rate": "training.learning_rate",
    "optimizer.final_learning_rate": "training.scheduler.eta_min",
    "optimizer.schedule": "training.scheduler.type",
    "optimizer.warmup_epochs": "training.scheduler.warmup_epochs",
    "optimizer.beta1": "training.adam_beta1",
    "optimizer.beta2": "training.adam_beta2",
    "optimizer.clip_norm": "training.grad_clip_threshold",
    "fine_tuning.layers": "model.encoder_fine_tuning.unfreeze_layers",
    "fine_tuning.learning_rate": "model.encoder_fine_tuning.learning_rate",
    "training.seed": "training.random_seed",
    "training.batch_size": "training.batch_size",
    "training.num_epochs": "training.num_epochs",
    "early_stopping.patience_epochs": "training.early_stopping.patience",
    "early_stopping.min_delta": "training.early_stopping.min_delta",
    "logging.every_steps": "logging.log_frequency",
    "logging.num_samples": "logging.audio_samples_per_val",
    "logging.samples_every_epochs": "logging.audio_generation_frequency",
}


def original(name: str):
    return configuration.value(ORIGINAL["config"], name)


def config_of(path: pathlib.Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.mark.parametrize("name", SAME)
def test_vimsketch_has_the_originals_number(name):
    ours = configuration.value(vimsketch.get_config(), name)
    assert (list(ours) if isinstance(ours, tuple) else ours) == original(SAME[name])


def test_vimsketch_has_the_originals_model():
    config = vimsketch.get_config()
    # The golden checkpoint was made with a latent of 16 to be small; the original's is 64.
    assert config.model.latent_dim == QVAEConfig().latent_dim == 64
    assert original("model.encoder_name") == "mn10_as" and QVAEConfig().encoder_width == 1.0
    assert config.model.encoder_width is None  # the checkpoint's
    assert original("decoder.use_he_uniform_init") and config.model.decoder.init == "he_uniform"
    assert config.model.decoder.width == 1.0
    assert original("model.encoder_fine_tuning.enabled") and not original("model.from_scratch")
    assert config.training.encoder == "fine_tuned"
    assert config.optimizer.weight_decay == 1e-4


def test_what_is_fixed_in_code_is_the_originals():
    stft = original("target_spectrograms.stft")
    assert list(losses.STFT_WINDOWS) == stft["window_sizes"] == stft["win_lengths"]
    assert [window // 4 for window in losses.STFT_WINDOWS] == stft["hop_lengths"]
    mel = original("target_spectrograms.mel")
    assert list(losses.MEL_WINDOWS) == mel["n_fft"] and losses.NUM_MELS == mel["n_mels"]
    assert decoders.NUM_SAMPLES == original("data.target_audio_length")
    assert decoders.SAMPLE_RATE_HZ == original("data.target_sample_rate")
    assert FrontEnd().sample_rate_hz == original("data.input_sample_rate")
    assert FrontEnd().num_samples == original("data.input_audio_length")
    assert setup.MONITORED[0] in original("training.early_stopping.monitor")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_makes_sense(path):
    config = config_of(path)
    configuration.check(config)
    configuration.check_settings(config, vimsketch.get_config(), where=str(path))
    configuration.model_config(config)
    configuration.loss_weights(config)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_is_made_anew_each_time(path):
    first = config_of(path)
    first.training.batch_size += 1
    assert config_of(path).training.batch_size != first.training.batch_size


def test_overfit_is_the_originals_overfit_test():
    config = overfit.get_config()
    assert 3 <= config.overfit.num_pairs <= 10
    assert config.training.batch_size == config.overfit.num_pairs
    assert config.training.encoder == "frozen"
    assert (config.training.steps_per_epoch, config.training.num_epochs) == (500, 100)
    assert config.early_stopping.patience_epochs == 20
    assert (config.beta.schedule, config.beta.fixed) == ("fixed", 0.0)
    assert config.logging.num_samples == config.overfit.num_pairs


def test_quickstart_needs_nothing_but_a_workdir():
    config = quickstart.get_config()
    assert config.data.synthesize and not config.data.dataset_dir and not config.data.cache_dir
    assert not config.model.encoder_checkpoint and not config.model.checkpoint


# --- Encoders for search: the numbers of published recipes

BASELINE = {
    "contrast.temperature": 0.07,
    "contrast.learn_temperature": False,
    "contrast.shared_encoder": False,
    "contrast.same_sound": "wrong",
    "contrast.triplet": 0.0,
    "training.batch_size": 16,
    "training.num_epochs": 15,
    "optimizer.learning_rate": 3e-4,
    "optimizer.final_learning_rate": 1e-4,
    "optimizer.warmup_epochs": 1,
    "optimizer.decay_epochs": 7,
    "optimizer.weight_decay": 0.0,
    "augment.frequency_mask_mels": 2,
    "augment.time_mask_frames": 200,
}
GREIF = {
    "contrast.temperature": 0.07,
    "contrast.shared_encoder": False,
    "contrast.same_sound": "left_out",
    "training.accumulation_steps": 2,
    "training.num_epochs": 15,
    "optimizer.learning_rate": 5e-4,
    "optimizer.weight_decay": 0.0,
    "augment.roll_samples": 4000,
    "augment.frequency_mask_mels": 2,
    "augment.time_mask_frames": 400,
    "augment.mixstyle_probability": 0.3,
    "augment.mixstyle_alpha": 0.4,
    "data.split": "folds",
}


@pytest.mark.parametrize(("recipe", "numbers"), [(qvim_baseline, BASELINE), (qvim_folds, GREIF)])
def test_recipes_of_encoders_have_the_published_numbers(recipe, numbers):
    config = recipe.get_config()
    assert {name: configuration.value(config, name) for name in numbers} == numbers
    parts = config.training.batch_size / config.training.accumulation_steps
    assert parts == 16  # pairs that are told apart
    assert config.training.objective == "contrastive" and config.training.encoder == "from_scratch"


def test_our_recipe_shares_an_encoder_and_varies_a_clip_once():
    config = qvim.get_config()
    assert config.contrast.shared_encoder and config.contrast.triplet > 0
    assert config.augment.at_most_one and config.contrast.triplet_margin == 0.6
