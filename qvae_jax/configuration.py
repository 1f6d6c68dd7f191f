"""The config: checks it, turns it into what the rooms take, and keeps it in the run's folder."""

import copy
import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping

import ml_collections

from qvae_jax import losses
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data.catalogue import has_pairs
from qvae_jax.models.mobilenet import LAST_LAYER
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.paths import local_path

CONFIG_FILE = "config.json"
# A reset begins another run with the weights of this one: what learns may change too.
FIXED_IN_A_RESET = (
    "model",
    "training.objective",
    "contrast.shared_encoder",
    "contrast.learn_temperature",
    "data.input_duration_s",
)
# A run goes on only with the model and the data split it began with; all else may be changed.
FIXED_IN_A_RUN = (
    *FIXED_IN_A_RESET,
    "data.split",
    "data.split_seed",
    "data.fold",
    "data.train_sound_ratio",
    "data.train_imitation_ratio",
    "data.train_file_ratio",
    "data.windows_per_file",
    "overfit.num_pairs",
    "training.encoder",
    "fine_tuning.layers",
)
FREE_IN_A_RUN = ("model.voice_share",)  # no weight depends on it
QVAE_OBJECTIVE, CONTRASTIVE = "qvae", "contrastive"  # what a run trains, and by which mode
MODES = {QVAE_OBJECTIVE: "train", CONTRASTIVE: "pretrain"}
FIRST_TERMS = ("spectral", "mel", "waveform")  # of the loss: every run has a weight for these
# Settings that came after the first runs, each with the value that means what was done before it.
# A run's config that lacks one is read with that value.
AS_BEFORE = {
    **{f"loss.{name}": 0.0 for name in losses.WEIGHTED if name not in FIRST_TERMS},
    "data.cache_trunk": False,
    "data.fold": 0,
    "data.folds_dir": "",
    "data.num_processes": 0,
    "data.sounds_dir": "",
    "data.split": "seeded",
    "data.train_file_ratio": 0.9,
    "data.windows_per_file": 8,
    "model.encoder_head": "mlp",
    "model.encoder_strides": (2, 2, 2, 2),
    "model.encoder_classes": 527,
    "model.hop_length": 320,
    "model.num_mels": 128,
    "model.sample_rate_hz": 22_050,
    "model.sound_encoder": False,
    "model.standardise_features": False,
    "model.voice_share": 1.0,
    "model.decoder.dropout": 0.05,
    "fine_tuning.frozen_batch_norm": "frozen",
    "optimizer.constant_epochs": 0,
    "optimizer.decay_epochs": 1,
    "training.objective": QVAE_OBJECTIVE,
    "training.accumulation_steps": 1,
    "training.dtype": "float32",
    "training.feature_noise": 0.0,
    "ema.decay": 0.0,
    "ema.warm_up": False,
    "beta.free_bits": 0.0,
    "steering.longest_filter_frames": 1,
    "steering.curve_dropout": 0.0,
    "steering.all_curves_dropout": 0.0,
    "parallel": "jit",
    "batch_norm": "global",
    "logging.wandb": "",
    "report.at_end": False,
    "diagnostics.every_epochs": 0,
    "diagnostics.num_examples": 256,
    "contrast.temperature": 0.07,
    "contrast.learn_temperature": False,
    "contrast.shared_encoder": False,
    "contrast.same_sound": "left_out",
    "contrast.triplet": 0.0,
    "contrast.triplet_margin": 0.6,
    "augment.at_most_one": False,
    "augment.roll_samples": 0,
    "augment.gain_db": 0.0,
    "augment.noise_snr_db": (),
    "augment.pitch_semitones": 0.0,
    "augment.stretch_factor": 1.0,
    "augment.changed_frames": 0.0,
    "augment.frequency_mask_mels": 0,
    "augment.time_mask_frames": 0,
    "augment.mel_low_hz": 0,
    "augment.mel_high_hz": 0,
    "augment.mixstyle_probability": 0.0,
    "augment.mixstyle_alpha": 0.4,
}
# What the encoder is, and the log-mel it reads; a checkpoint brings its own.
ENCODER_SETTINGS = (
    "encoder_width",
    "encoder_head",
    "encoder_strides",
    "encoder_classes",
    "hop_length",
    "num_mels",
)
PATHS = (
    "data.dataset_dir",
    "data.sounds_dir",
    "data.cache_dir",
    "data.folds_dir",
    "model.encoder_checkpoint",
    "model.checkpoint",
)
LARGEST_SEED = 2**32 - 1  # NumPy's legacy generator takes no larger one
LARGEST = math.inf
# The lowest and the highest value that make sense, both of them allowed.
RANGES = {
    "training.batch_size": (1, LARGEST),
    "training.num_epochs": (1, LARGEST),
    "training.steps_per_epoch": (0, LARGEST),
    "training.temperature": (0, LARGEST),
    "training.feature_noise": (0, LARGEST),
    "training.seed": (0, LARGEST_SEED),
    "training.accumulation_steps": (1, LARGEST),
    "ema.decay": (0, 0.9999999),
    "steering.longest_filter_frames": (1, 243),
    "steering.curve_dropout": (0, 1),
    "steering.all_curves_dropout": (0, 1),
    "data.input_duration_s": (0.1, 60),
    "data.split_seed": (0, LARGEST_SEED),
    "data.train_sound_ratio": (0, 1),
    "data.train_imitation_ratio": (0, 1),
    "data.train_file_ratio": (0, 1),
    "data.windows_per_file": (1, 1000),
    "data.fold": (0, LARGEST),
    "data.num_processes": (0, 64),
    "overfit.num_pairs": (0, LARGEST),
    **{f"loss.{name}": (0, LARGEST) for name in losses.WEIGHTED},
    "beta.free_bits": (0, LARGEST),
    "beta.cycle_steps": (1, LARGEST),
    "beta.proportion": (1e-6, 1),
    "optimizer.learning_rate": (0, LARGEST),
    "optimizer.final_learning_rate": (0, LARGEST),
    "optimizer.warmup_epochs": (0, LARGEST),
    "optimizer.beta1": (0, 0.999999),
    "optimizer.beta2": (0, 0.999999),
    "optimizer.weight_decay": (0, LARGEST),
    "optimizer.clip_norm": (1e-6, LARGEST),
    "optimizer.constant_epochs": (0, LARGEST),
    "optimizer.decay_epochs": (1, LARGEST),
    "fine_tuning.learning_rate": (0, LARGEST),
    "validation.every_epochs": (1, LARGEST),
    "early_stopping.patience_epochs": (0, LARGEST),
    "checkpoints.every_epochs": (1, LARGEST),
    "checkpoints.keep_best": (1, LARGEST),
    "logging.every_steps": (1, LARGEST),
    "logging.samples_every_epochs": (1, LARGEST),
    "logging.num_samples": (0, LARGEST),
    "diagnostics.every_epochs": (0, LARGEST),
    "diagnostics.num_examples": (2, LARGEST),
    "contrast.temperature": (1e-6, LARGEST),
    "contrast.triplet": (0, LARGEST),
    "contrast.triplet_margin": (0, 2),
    "augment.roll_samples": (0, LARGEST),
    "augment.gain_db": (0, 120),
    "augment.pitch_semitones": (0, 24),
    "augment.stretch_factor": (1, 4),
    "augment.changed_frames": (0, 1),
    "augment.frequency_mask_mels": (0, LARGEST),
    "augment.time_mask_frames": (0, LARGEST),
    "augment.mel_low_hz": (0, 1000),
    "augment.mel_high_hz": (0, 2000),
    "augment.mixstyle_probability": (0, 1),
    "augment.mixstyle_alpha": (1e-6, LARGEST),
}
CHOICES = {
    "data.split": ("seeded", "folds", "all"),
    "parallel": ("jit", "pmap"),
    "batch_norm": ("global", "per_device"),
    "training.dtype": ("float32", "bfloat16"),
    "fine_tuning.frozen_batch_norm": ("frozen", "train"),
    "data.on_bad_file": ("stop", "report"),
    "optimizer.schedule": ("cosine", "constant", "rise_and_cosine", "exponential_and_line"),
    "beta.schedule": ("fixed", "linear", "cyclical"),
    "training.objective": (QVAE_OBJECTIVE, CONTRASTIVE),
    "contrast.same_sound": ("left_out", "wrong"),
    "training.encoder": ("frozen", "fine_tuned", "from_scratch"),
}


def check_settings(
    config: ml_collections.ConfigDict, template: ml_collections.ConfigDict, *, where: str
) -> None:
    """Raises UserError naming the settings that only one of config and template has.

    where is the config's file, for the message.
    """
    found, wanted = _names(_plain(config)), _names(_plain(template))
    faults = [f"{name} is missing" for name in wanted if name not in found]
    faults += [f"{name} is not a setting" for name in found if name not in wanted]
    if faults:
        raise UserError(
            f"{where} does not hold the settings of configs/vimsketch.py: {'; '.join(faults)}. "
            "Start a config from vimsketch.get_config() and change its values."
        )


def expand_paths(config: ml_collections.ConfigDict) -> None:
    """Replaces ~ and ~USER in all settings that are paths; UserError names one that is none."""
    for name in PATHS:
        path = value(config, name)
        if not isinstance(path, str):
            raise UserError(f"{name} is {path!r}: set it to a path, in quotes.")
        try:
            config.update_from_flattened_dict({name: local_path(path)})
        except UserError as error:
            raise UserError(f"{name}: {error}") from error


def check(config: ml_collections.ConfigDict) -> None:
    """Raises UserError naming the first setting that makes no sense."""
    _check_loss(config)
    for name, (lowest, highest) in RANGES.items():
        if not lowest <= value(config, name) <= highest:
            bounds = f"from {lowest} to {highest}" if highest < LARGEST else f"of {lowest} or more"
            raise UserError(f"{name} is {value(config, name)}: set it to a value {bounds}.")
    for name, choices in CHOICES.items():
        if value(config, name) not in choices:
            raise UserError(
                f"{name} is {value(config, name)!r}: set it to one of {', '.join(choices)}."
            )
    if config.data.split == "folds" and not config.data.folds_dir:
        raise UserError(
            "data.split is 'folds', but data.folds_dir is empty: set it to the folder that holds "
            "fold0, fold1 and so on."
        )
    if config.model.checkpoint and config.model.encoder_checkpoint:
        raise UserError(
            "model.checkpoint and model.encoder_checkpoint are both set: a whole QVAE brings its "
            "own encoder, so leave one of them empty."
        )
    _check_standardising(config)
    if config.model.voice_share < 1 and has_pairs(config):
        raise UserError(
            f"model.voice_share is {config.model.voice_share}, but the heads learn from imitations how "
            "much of a voice counts: set it to 1, or learn from data.sounds_dir alone, with "
            "data.dataset_dir empty and data.synthesize False."
        )
    if config.training.objective == CONTRASTIVE:
        _check_contrastive(config)


def check_objective(config: ml_collections.ConfigDict, wanted: str) -> None:
    """Raises UserError where a config is for another mode than that of this objective."""
    found = config.training.objective
    if found != wanted:
        raise UserError(
            f"training.objective is {found!r}, which --mode={MODES[found]} trains: use that mode, or "
            f"a config whose objective is {wanted!r}."
        )


def _check_contrastive(config: ml_collections.ConfigDict) -> None:
    """Raises UserError for settings that encoders for search cannot be trained with."""
    refused = {
        "training.encoder": (config.training.encoder == "frozen", "no encoder would learn"),
        "data.sounds_dir": (bool(config.data.sounds_dir), "a sound without imitations has no pair"),
        "data.cache_trunk": (config.data.cache_trunk, "the inputs are varied as waveforms"),
        "model.checkpoint": (
            bool(config.model.checkpoint),
            "encoders begin from model.encoder_checkpoint",
        ),
        "model.feature_space": (
            str(config.model.feature_space) != "final",
            "encoders are compared by their pooled output, 'final'",
        ),
        "model.standardise_features": (
            config.model.standardise_features,
            "there is no latent that features go into",
        ),
        "model.sound_encoder": (
            bool(config.model.sound_encoder),
            "contrast.shared_encoder says whether there are two",
        ),
    }
    for name, (is_refused, reason) in refused.items():
        if is_refused:
            raise UserError(
                f"{name} is {value(config, name)!r} with training.objective 'contrastive', but "
                f"{reason}: change it."
            )
    snr_db = tuple(config.augment.noise_snr_db)
    if snr_db and (len(snr_db) != 2 or snr_db[0] > snr_db[1]):
        raise UserError(
            f"augment.noise_snr_db is {snr_db}: set it to the lowest and the highest ratio in dB, or "
            "to () for no noise."
        )


def _check_standardising(config: ml_collections.ConfigDict) -> None:
    """Raises UserError where features would move far from the statistics they are standardised by.

    Of random weights, whose BatchNorm has seen nothing, the features of layers that learn lie 18
    spreads away after three steps; of a released encoder's, one.
    """
    if config.training.feature_noise and not config.model.standardise_features:
        raise UserError(
            f"training.feature_noise is {config.training.feature_noise}, a share of the features' "
            "spread, which only model.standardise_features=True keeps: set that, or no noise."
        )
    if not config.model.standardise_features:
        return
    moving = "the features' mean and spread are taken before the first step, and they move away"
    if config.training.encoder == "from_scratch":
        raise UserError(
            f"model.standardise_features is True and training.encoder 'from_scratch': {moving}, so "
            "set model.standardise_features to False."
        )
    ported = config.model.encoder_checkpoint or config.model.checkpoint
    if config.training.encoder == "fine_tuned" and not ported:
        raise UserError(
            "model.standardise_features is True and training.encoder 'fine_tuned' without "
            f"model.encoder_checkpoint: {moving} where random weights learn, so name a ported encoder "
            "in model.encoder_checkpoint, set training.encoder to 'frozen', or "
            "model.standardise_features to False."
        )


def _check_loss(config: ml_collections.ConfigDict) -> None:
    """Raises UserError where config.loss does not hold exactly the settings of LossWeights."""
    wanted = [field.name for field in dataclasses.fields(losses.LossWeights)]
    faults = [f"loss.{name} is missing" for name in wanted if name not in config.loss]
    faults += [f"loss.{name} weights no term" for name in config.loss if name not in wanted]
    if faults:
        raise UserError(f"{'; '.join(faults)}: config.loss holds {', '.join(wanted)} and no more.")


def value(config: ml_collections.ConfigDict | dict, dotted_name: str):
    """The setting under a dotted name."""
    for part in dotted_name.split("."):
        config = config[part]
    return config


def model_config(config: ml_collections.ConfigDict) -> QVAEConfig:
    """The model's configuration; what the config leaves unset of the encoder is mn10's."""
    given = {
        name: config.model[name] for name in ENCODER_SETTINGS if config.model.get(name) is not None
    }
    front_end = {name: given.pop(name) for name in ("hop_length", "num_mels") if name in given}
    if "encoder_strides" in given:
        given["encoder_strides"] = tuple(given["encoder_strides"])
    return QVAEConfig(
        **given,
        feature_space=str(config.model.feature_space),
        standardise_features=config.model.standardise_features,
        voice_share=config.model.voice_share,
        latent_dim=config.model.latent_dim,
        decoder_type=config.model.decoder.type,
        decoder_init=config.model.decoder.init,
        decoder_dropout=config.model.decoder.dropout,
        decoder_width=config.model.decoder.width,
        sample_rate_hz=config.model.sample_rate_hz,
        sound_encoder=bool(config.model.sound_encoder),
        front_end=FrontEnd(duration_s=config.data.input_duration_s, **front_end),
    )


def resolve_encoder(config: ml_collections.ConfigDict, run: pathlib.Path | None) -> None:
    """Sets what config leaves unset of the encoder: the run's, the checkpoint's, or mn10's.

    And whether a second one hears sounds: of a new run with a frozen pair, unless config says no.
    run is the folder of a run that goes on, None for a new one.
    Raises UserError where a setting is another than the encoder checkpoint has, and for a second
    encoder where there can be none.
    """
    # Imported here because Orbax takes a second, which modes that load no weights need not wait.
    from qvae_jax.models import stored

    settings = config.model
    if run is not None:
        found = read_run(run).model.to_dict()
    elif settings.encoder_checkpoint:
        found = encoder_settings(stored.description_of(settings.encoder_checkpoint, "encoder"))
        for name, value in found.items():
            if settings[name] not in (None, value):
                raise UserError(
                    f"model.{name} is {settings[name]}, but that of the encoder in "
                    f"{settings.encoder_checkpoint} is {value}: leave the setting out or name "
                    "another checkpoint."
                )
    elif settings.checkpoint:
        found = encoder_settings(stored.description_of(settings.checkpoint, "qvae"))
    else:
        found = encoder_settings(dataclasses.asdict(QVAEConfig()))
    for name in ENCODER_SETTINGS:
        if settings[name] is None:
            settings[name] = found[name]
    _resolve_sound_encoder(config, run)


def _resolve_sound_encoder(config: ml_collections.ConfigDict, run: pathlib.Path | None) -> None:
    """Sets whether a second encoder hears sounds, where config leaves it open, or checks it."""
    settings = config.model
    asked_for = settings.sound_encoder
    if asked_for is None:
        settings.sound_encoder = _has_sound_encoder(config, run)
    if not settings.sound_encoder:
        return
    if config.training.encoder != "frozen":
        raise UserError(
            "model.sound_encoder is True, which needs both encoders frozen, but training.encoder is "
            f"{config.training.encoder!r}: set it to 'frozen', or begin a run from "
            "model.encoder_checkpoint with model.sound_encoder False."
        )
    begins = run is None and not settings.checkpoint
    if asked_for and begins and not _hears_apart(settings.encoder_checkpoint):
        raise UserError(
            "model.sound_encoder is True, but model.encoder_checkpoint names no pair of encoders that "
            "hear differently: name one, or leave the setting out."
        )


def _has_sound_encoder(config: ml_collections.ConfigDict, run: pathlib.Path | None) -> bool:
    """Whether the run's, the checkpoint's or the new model has a second encoder.

    Says so where a pair learns, of which only the first one hears.
    """
    from qvae_jax.models import stored

    pretrained = config.model.encoder_checkpoint
    if run is not None:
        return read_run(run).model.sound_encoder
    if config.model.checkpoint:
        described = stored.description_of(config.model.checkpoint, "qvae")
        return QVAEConfig.from_dict(described).sound_encoder
    if config.training.objective == CONTRASTIVE or not pretrained:
        return False
    if config.training.encoder == "frozen":
        return _hears_apart(pretrained)
    if stored.is_pair(pathlib.Path(pretrained)):
        print(
            f"note: training.encoder is {config.training.encoder!r}, so of the pair in {pretrained} the "
            "encoder of imitations hears sounds too; the other one does only where both are frozen"
        )
    return False


def _hears_apart(checkpoint: str) -> bool:
    """Whether a folder holds a pair of encoders that hear differently.

    Raises UserError where they are not of one structure.
    """
    from qvae_jax.models import stored

    if not checkpoint or not stored.is_pair(pathlib.Path(checkpoint)):
        return False
    folders = stored.encoder_folders(checkpoint)
    of_voices, of_sounds = (
        encoder_settings(stored.description_of(folder, "encoder")) for folder in folders
    )
    different = [
        f"{name} is {setting} and {of_sounds[name]}"
        for name, setting in of_voices.items()
        if setting != of_sounds[name]
    ]
    if different:
        raise UserError(
            f"The two encoders in {checkpoint} are not of one structure ({'; '.join(different)}), and "
            "a QVAE hears by two only if they are: set model.sound_encoder to False, so that that of "
            "imitations hears sounds too."
        )
    return not stored.hear_alike(folders)


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


def initial_variables(config: ml_collections.ConfigDict, model_config: QVAEConfig) -> Variables:
    """The weights a run begins with: drawn from training.seed, or those of a named checkpoint."""
    from qvae_jax.models import stored

    return stored.initial_variables(
        model_config,
        seed=config.training.seed,
        checkpoint=config.model.checkpoint,
        encoder_checkpoint=config.model.encoder_checkpoint,
    )


def trained_layers(config: ml_collections.ConfigDict, model_config: QVAEConfig) -> frozenset[int]:
    """Encoder layers that learn.

    Raises UserError for a layer that does not exist or feeds no feature.
    """
    mode, last_layer = config.training.encoder, model_config.last_layer
    fine_tuned = tuple(config.fine_tuning.layers)
    if mode == "frozen":
        return frozenset()
    if mode == "from_scratch":
        return frozenset(range(last_layer + 1))
    outside = sorted(set(fine_tuned) - set(range(last_layer + 1)))
    if outside or not fine_tuned:
        raise UserError(
            f"fine_tuning.layers is {fine_tuned}: list layers from 0 to {last_layer}"
            + (" (later ones feed no feature)." if last_layer < LAST_LAYER else ".")
        )
    return frozenset(fine_tuned)


def loss_weights(config: ml_collections.ConfigDict) -> losses.LossWeights:
    """Weights of the loss terms."""
    return losses.LossWeights(**config.loss.to_dict())


def check_run(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    may_not_change: tuple[str, ...] = FIXED_IN_A_RUN,
) -> dict[str, dict]:
    """Checks that the run in a folder may go on with this config, and says what changes in it.

    Gives what changes, as {name: {"was": …, "is": …}}.
    Raises UserError naming the settings that differ and may not.
    """
    recorded = _plain(read_run(workdir))
    differences = _differences(recorded, _plain(config))
    fixed = [
        f"{name} is {new!r} but was {old!r}"
        for name, old, new in differences
        if any(f"{name}.".startswith(f"{part}.") for part in may_not_change)
        and name not in FREE_IN_A_RUN
    ]
    if fixed:
        raise UserError(
            f"{workdir} holds a run with another configuration: {'; '.join(fixed)}. Give these "
            "the recorded values, or name another workdir."
        )
    for name, old, new in differences:
        print(f"{name} was {old!r} and is {new!r} from here on.")
    return {name: {"was": old, "is": new} for name, old, new in differences}


def record(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Writes the config into the run's folder, from where the other modes read it."""
    files.write_json(workdir / CONFIG_FILE, _plain(config))


def read_run(workdir: pathlib.Path) -> ml_collections.ConfigDict:
    """The config of a run's folder, with the settings that have been added since (AS_BEFORE).

    Raises UserError where there is none, or another kind of file.
    """
    path = pathlib.Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{workdir} is not a run's folder: it holds no {CONFIG_FILE}. Name the --workdir of a "
            "training run."
        )
    settings = files.read_json(path)
    try:
        if {"data", "model", "training"} <= settings.keys():
            return ml_collections.ConfigDict(with_settings_as_before(settings, AS_BEFORE))
    except AttributeError:  # what should be a dict of settings is something else
        pass
    raise UserError(f"{path} is not the configuration of a training run: name another --workdir.")


def with_settings_as_before(settings: dict, as_before: Mapping[str, object]) -> dict:
    """The settings (nested dicts) with those of {dotted name: value} added that they lack."""
    whole = copy.deepcopy(settings)
    for name, item in as_before.items():
        *parts, last = name.split(".")
        place = functools.reduce(lambda place, part: place.setdefault(part, {}), parts, whole)
        place.setdefault(last, item)
    return whole


def _plain(config: ml_collections.ConfigDict) -> dict:
    """The config as JSON gives it back: tuples as lists, unset placeholders as None."""

    def plain(item):
        if isinstance(item, dict):
            return {key: plain(item[key]) for key in item}
        return list(item) if isinstance(item, tuple) else item

    return plain(config.to_dict())


def _names(settings: dict, prefix: str = "") -> list[str]:
    """The dotted names of all settings, in order."""
    names = []
    for key, item in settings.items():
        names += _names(item, f"{prefix}{key}.") if isinstance(item, dict) else [prefix + key]
    return names


def _differences(old: dict, new: dict, prefix: str = "") -> list[tuple[str, object, object]]:
    """(dotted name, old value, new value) of each setting that differs."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append((prefix + key, before, after))
    return found
