"""The config: checked, turned into what the rooms take, and kept in the run's folder."""

import pathlib

import ml_collections

from qvae_jax import files, losses
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.errors import UserError
from qvae_jax.models.qvae import QVAEConfig

CONFIG_FILE = "config.json"
# A run goes on only with the model and the data split it began with; all else may be changed.
FIXED_IN_A_RUN = (
    "model",
    "data.input_duration_s",
    "data.split_seed",
    "data.train_sound_ratio",
    "data.train_imitation_ratio",
    "overfit.num_pairs",
    "training.encoder",
    "fine_tuning.layers",
)
AT_LEAST_ONE = (
    "training.batch_size",
    "training.num_epochs",
    "validation.every_epochs",
    "checkpoints.every_epochs",
    "checkpoints.keep_best",
    "logging.every_steps",
    "logging.samples_every_epochs",
)
CHOICES = {
    "data.on_bad_file": ("stop", "report"),
    "optimizer.schedule": ("cosine", "constant"),
    "beta.schedule": ("fixed", "linear", "cyclical"),
    "training.encoder": ("frozen", "fine_tuned", "from_scratch"),
}


def check(config: ml_collections.ConfigDict) -> None:
    """Raises UserError naming the first setting that makes no sense."""
    for name in AT_LEAST_ONE:
        if value(config, name) < 1:
            raise UserError(f"{name} is {value(config, name)}: set it to at least 1.")
    for name, choices in CHOICES.items():
        if value(config, name) not in choices:
            raise UserError(
                f"{name} is {value(config, name)!r}: set it to one of {', '.join(choices)}."
            )
    if config.model.checkpoint and config.model.encoder_checkpoint:
        raise UserError(
            "model.checkpoint and model.encoder_checkpoint are both set: a whole QVAE brings its "
            "own encoder, so leave one of them empty."
        )


def value(config: ml_collections.ConfigDict | dict, dotted_name: str):
    """The setting under a dotted name."""
    for part in dotted_name.split("."):
        config = config[part]
    return config


def model_config(config: ml_collections.ConfigDict, encoder_width: float) -> QVAEConfig:
    """The model's configuration; encoder_width is the resolved one."""
    return QVAEConfig(
        encoder_width=encoder_width,
        feature_space=str(config.model.feature_space),
        latent_dim=config.model.latent_dim,
        decoder_type=config.model.decoder.type,
        decoder_init=config.model.decoder.init,
        decoder_width=config.model.decoder.width,
        front_end=FrontEnd(duration_s=config.data.input_duration_s),
    )


def loss_weights(config: ml_collections.ConfigDict) -> losses.LossWeights:
    """Weights of the loss terms."""
    return losses.LossWeights(**config.loss.to_dict())


def check_run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Checks that the run in a folder may go on with this config, and says what changes in it.

    Raises UserError naming the settings that differ and may not.
    """
    recorded = _plain(read_run(workdir))
    differences = _differences(recorded, _plain(config))
    fixed = [
        f"{name} is {new!r} but was {old!r}"
        for name, old, new in differences
        if any(f"{name}.".startswith(f"{part}.") for part in FIXED_IN_A_RUN)
    ]
    if fixed:
        raise UserError(
            f"{workdir} holds a run with another configuration: {'; '.join(fixed)}. Give these "
            "the recorded values, or name another workdir."
        )
    for name, old, new in differences:
        print(f"{name} was {old!r} and is {new!r} from here on.")


def record(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Writes the config into the run's folder, from where the other modes read it."""
    files.write_json(workdir / CONFIG_FILE, _plain(config))


def read_run(workdir: pathlib.Path) -> ml_collections.ConfigDict:
    """The config of a run's folder; UserError where there is none."""
    path = pathlib.Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"{workdir} is not a run's folder: it holds no {CONFIG_FILE}.")
    return ml_collections.ConfigDict(files.read_json(path))


def _plain(config: ml_collections.ConfigDict) -> dict:
    """The config as JSON gives it back: tuples as lists, unset placeholders as None."""

    def plain(item):
        if isinstance(item, dict):
            return {key: plain(item[key]) for key in item}
        return list(item) if isinstance(item, tuple) else item

    return plain(config.to_dict())


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
