"""Weights and descriptions on disk: model folders, and a run's checkpoints, which training writes.

A model folder holds `config.json`, which says what the model is, and its arrays: `variables/`, which
Orbax wrote, or, to be shared, `model.safetensors`. Both lie behind this one door. Arrays are read as NumPy, so that a checkpoint written on any number of
devices can be placed on any other.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from qvae_jax.models import array_file, sound_encoder, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig, encoder_network
from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, first_line

CONFIG_FILE = "config.json"
VARIABLES_FOLDER = "variables"
DIGEST = "arrays_sha256"  # in the description of a folder to be shared: of its file of arrays
RUN_PARTS = (*Variables._fields, "optimizer", "progress")
AVERAGE = "average"  # of the trained parameters, only where the run keeps one
# Where one array fails, Orbax does not wait for the others; they shall end before the interpreter
# does, or each of them prints a traceback.
SETTLING_S = 0.5
# How fresh weights are drawn, and how much of voices is believed, say nothing about weights.
NOT_OF_WEIGHTS = ("decoder_init", "voice_share")
OTHER_MODEL = "Set config.model to what the checkpoint was made with, or name another checkpoint"


class Best(NamedTuple):
    """By which number of a validation a run's best checkpoint is chosen.

    Attributes:
        metric: the name under which Orbax keeps the number.
        value: its name among what validation measures.
        mode: "min" where the lowest is the best, "max" where the highest is.
        title: what a message calls it.
    """

    metric: str
    value: str
    mode: str
    title: str

    def of(self, metrics: Mapping) -> float:
        """The number in a checkpoint's metrics."""
        return metrics[self.metric]

    @property
    def improved(self) -> str:
        """What the number does where a run becomes better."""
        return "fallen" if self.mode == "min" else "risen"

    def as_loss(self, value: float) -> float:
        """A number that is the lower the better."""
        return value if self.mode == "min" else -value


LOWEST_LOSS = Best("validation_loss", "total", "min", "loss")
HIGHEST_MRR = Best("mrr", "mrr", "max", "MRR")


# --- Model folders


def save_model(directory: pathlib.Path, description: dict, model_variables: Variables) -> None:
    """Writes a model folder, whole or not at all.

    Raises UserError where the folder exists and is not empty, or cannot be written.
    """
    save_models(directory, {".": (description, model_variables)})


def save_models(directory: pathlib.Path, models: Mapping[str, tuple[dict, Variables]]) -> None:
    """Writes several model folders into one, by their names there, all of them or nothing.

    Raises UserError as save_model does.
    """
    with files.new_folder(directory) as temporary:
        for name, (description, model_variables) in models.items():
            folder = temporary / name
            folder.mkdir(exist_ok=True)
            files.write_json(folder / CONFIG_FILE, description)
            with ocp.PyTreeCheckpointer() as checkpointer:
                path = (folder / VARIABLES_FOLDER).resolve()
                checkpointer.save(path, model_variables._asdict())


def save_shared(folder: pathlib.Path, description: dict, model_variables: Variables) -> None:
    """Writes a model into a folder that is there: a file of arrays, and what it is beside it.

    Raises UserError where it cannot be written.
    """
    digest = array_file.write(
        folder / array_file.ARRAY_FILE, variables.named_by_part(model_variables)
    )
    files.write_json(folder / CONFIG_FILE, description | {DIGEST: digest})


def read_description(directory: pathlib.Path) -> dict:
    """The `config.json` of a model folder; UserError where there is none."""
    path = pathlib.Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{directory} holds no {CONFIG_FILE}, so it is not a model folder: name the "
            "OUTPUT_DIR that `python -m weight_port SOURCE OUTPUT_DIR` wrote."
        )
    description = files.read_json(path)
    if not isinstance(description, dict) or "kind" not in description:
        raise UserError(f"{path} does not say what kind of model it describes: port it again.")
    return description


class EncoderFolders(NamedTuple):
    """The folders of the encoder that hears imitations and of the one that hears sounds."""

    imitation: pathlib.Path
    reference: pathlib.Path


def encoder_folders(directory: str | pathlib.Path) -> EncoderFolders:
    """The two encoders of a folder that holds a pair of them; of a plain encoder, itself twice.

    A pair is two encoder folders, `imitation` and `reference`, in one. Raises UserError for any
    other folder, and where one of the two is missing.
    """
    folders = _encoder_folders(directory)
    for folder in dict.fromkeys(folders):
        description_of(folder, "encoder")
    return folders


def _encoder_folders(directory: str | pathlib.Path) -> EncoderFolders:
    """The same, without a look at what they hold."""
    whole = pathlib.Path(directory)
    if not is_pair(whole):
        return EncoderFolders(whole, whole)
    return EncoderFolders(*(whole / name for name in EncoderFolders._fields))


def is_pair(directory: pathlib.Path) -> bool:
    """Whether a folder holds two encoders, of which one may be missing."""
    halves = (directory / name for name in EncoderFolders._fields)
    return not (directory / CONFIG_FILE).is_file() and any(half.is_dir() for half in halves)


def description_of(directory: str | pathlib.Path, kind: str) -> dict:
    """What a folder's config.json says of its model, which must be of this kind.

    kind is "encoder" or "qvae"; of a pair of encoders it is the imitations' that is described.
    Raises UserError for any other folder.
    """
    directory = _folder_of(directory, kind)
    description = read_description(directory)
    if description["kind"] != kind:
        wanted = {"encoder": "an encoder alone", "qvae": "a whole QVAE"}[kind]
        raise UserError(
            f"{directory} holds a model of kind {description['kind']!r}, but {wanted} is needed "
            f"here (kind {kind!r}): port one with `python -m weight_port SOURCE OUTPUT_DIR`."
        )
    model = description.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("encoder_width"), int | float):
        raise UserError(f"{directory}/{CONFIG_FILE} is damaged: port the model again.")
    return model


def _folder_of(directory: str | pathlib.Path, kind: str) -> pathlib.Path:
    """Where a model of this kind lies: of a pair of encoders, the imitations'."""
    return _encoder_folders(directory).imitation if kind == "encoder" else pathlib.Path(directory)


def _described(directory: str | pathlib.Path, kind: str) -> QVAEConfig:
    model = description_of(directory, kind)
    try:
        return QVAEConfig.from_dict(model)
    except UserError as error:
        raise UserError(
            f"{directory}/{CONFIG_FILE} describes no model that there can be: {error}"
        ) from error


def _expected(directory: str | pathlib.Path, network: Callable[[], nnx.Module]) -> Variables:
    """The variables of a described network, which may be of a size that no memory holds."""
    try:
        return variables.split(network())[1]
    except (ArithmeticError, MemoryError, ValueError) as error:
        raise UserError(
            f"{directory}/{CONFIG_FILE} describes no model that there can be: {first_line(error)}."
        ) from error


def hear_alike(encoders: EncoderFolders) -> bool:
    """Whether the two encoders of a pair, of one structure, hear by the same numbers.

    Their AudioSet heads do not count.
    """
    if encoders.imitation == encoders.reference:
        return True
    one, other = (variables.named_by_part(load_encoder(folder)) for folder in encoders)
    heard_by = (name for name in one if name.partition("/")[2].startswith("features."))
    return all(np.array_equal(one[name], other[name]) for name in heard_by)


def load_encoder(directory: str | pathlib.Path) -> Variables:
    """The variables of a stored encoder; of a pair of them, those of the imitations'."""
    model_config = _described(directory, "encoder")
    expected = _expected(directory, lambda: encoder_network(model_config, rng=None))
    return load_arrays(_folder_of(directory, "encoder"), expected)


def load_qvae(directory: str | pathlib.Path) -> tuple[QVAEConfig, Variables]:
    """The configuration and the variables of a ported QVAE."""
    model_config = _described(directory, "qvae")
    expected = _expected(directory, lambda: QVAE(model_config, rng=None))
    return model_config, load_arrays(pathlib.Path(directory), expected)


def initial_variables(
    model_config: QVAEConfig, *, seed: int, checkpoint: str = "", encoder_checkpoint: str = ""
) -> Variables:
    """Fresh weights drawn from the seed, overwritten by those of a folder where one is named.

    checkpoint is the folder of a whole QVAE; else encoder_checkpoint that of an encoder, or of a
    pair, of which the other one hears sounds where the model has a second encoder. Raises UserError
    where a folder's model is another than model_config says.
    """
    if checkpoint:
        loaded_config, loaded = load_qvae(checkpoint)
        _check_same_model(checkpoint, loaded_config, model_config)
        return loaded
    fresh = variables.split(QVAE(model_config, rng=np.random.default_rng(seed)))[1]
    if not encoder_checkpoint:
        return fresh
    named = {sound_encoder.FIRST: encoder_checkpoint}
    if model_config.sound_encoder:
        named[sound_encoder.PREFIX] = encoder_folders(encoder_checkpoint).reference
    for prefix, folder in named.items():
        encoder = load_encoder(folder)
        fresh = Variables(*(a | _below(prefix, b) for a, b in zip(fresh, encoder)))
    return fresh


def load_arrays(directory: pathlib.Path, expected: Variables) -> Variables:
    """The arrays of a model folder, as NumPy, after comparing names and shapes with `expected`.

    Raises UserError naming the arrays that are missing, extra, or of another shape.
    """
    directory = pathlib.Path(directory)
    path = (directory / VARIABLES_FOLDER).resolve()
    if _is_shared(directory):
        if path.exists():
            raise UserError(
                f"{directory} holds both {VARIABLES_FOLDER} and {array_file.ARRAY_FILE}, so it is not "
                "clear which are the model's arrays: remove one of them."
            )
        return _shared_arrays(directory, expected)
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = _read(checkpointer, path, mend="port the model again or name another folder")
    return checked_variables(tree, expected, where=str(directory))


def _is_shared(directory: pathlib.Path) -> bool:
    """Whether a folder holds a file of arrays, or should."""
    described = files.json_or_none(directory / CONFIG_FILE)
    should = isinstance(described, dict) and DIGEST in described
    return should or os.path.lexists(directory / array_file.ARRAY_FILE)


def _shared_arrays(directory: pathlib.Path, expected: Variables) -> Variables:
    """Those in a file beside the description of its model."""
    path = directory / array_file.ARRAY_FILE
    found = array_file.read(path, read_description(directory).get(DIGEST))
    mend = f"{CONFIG_FILE} and the arrays beside it belong to different models: fetch both again"
    compare(found, variables.named_by_part(expected), where=str(path), mend=mend)
    _require_finite(found, where=str(path))
    return variables.by_part(found)


# --- A run's checkpoints


class Checkpoints:
    """The checkpoints of one run, to be read: its best ones and its last, each named by its step.

    A checkpoint is a dict of the flat dicts RUN_PARTS, maybe AVERAGE, of arrays. `best` is the
    run's choice among them.
    """

    def __init__(self, directory: pathlib.Path, best: Best = LOWEST_LOSS):
        self.directory = pathlib.Path(directory).resolve()
        if not self.directory.is_dir():
            raise UserError(f"{self.directory.parent} holds no checkpoints: train there first.")
        self._manager = checkpoint_manager(self.directory, best, read_only=True)

    @property
    def latest_step(self) -> int | None:
        """The step of the last checkpoint, None without any."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step that validation found best; the last one where none was validated."""
        best = self._manager.best_step()
        return self.latest_step if best is None else best

    def restore(self, step: int) -> dict[str, Arrays]:
        """The tree saved at a step, with NumPy leaves; UserError where it is damaged."""
        folder = self.directory / str(step)
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = _read(
                checkpointer,
                folder / "default",
                mend=f"remove {folder}, so that an earlier checkpoint is used",
            )
        _require_parts(tree, RUN_PARTS, where=str(folder))
        return tree

    def close(self) -> None:
        """Ends the manager's threads."""
        self._manager.close()


def checkpoint_manager(
    directory: pathlib.Path, best: Best = LOWEST_LOSS, **options
) -> ocp.CheckpointManager:
    """Orbax's manager of a run's checkpoints, which chooses the best of them so."""
    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(best_fn=best.of, best_mode=best.mode, **options),
    )


def averaged(saved: Mapping, model_variables: Variables) -> Variables:
    """The variables to generate with: the averaged parameters of a checkpoint that has them."""
    average = {n: a for n, a in saved.get(AVERAGE, {}).items() if n in model_variables.params}
    return model_variables._replace(params=model_variables.params | average)


# --- Names and shapes


def checked_variables(tree: Mapping, expected: Variables, *, where: str) -> Variables:
    """The variables in a checkpoint's tree, after comparing names and shapes with `expected`.

    Raises UserError where they differ, and where a number is not finite.
    """
    _require_parts(tree, Variables._fields, where=where)
    for part in Variables._fields:
        compare(tree[part], getattr(expected, part), where=where)
        _require_finite(tree[part], where=where)
    return Variables(tree["params"], tree["batch_stats"])


def compare(found: Mapping, expected: Mapping, *, where: str, mend: str = OTHER_MODEL) -> None:
    """Raises UserError naming every array of `found` that `expected` does not have just so."""
    differences = [f"{name} is missing" for name in expected if name not in found]
    differences += [f"{name} is not part of the model" for name in found if name not in expected]
    differences += [
        f"{name} has shape {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in found and tuple(found[name].shape) != tuple(expected[name].shape)
    ]
    if differences:
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise UserError(
            f"{where} does not fit the configured model: {'; '.join(differences[:5])}{more}. {mend}."
        )


def _require_finite(arrays: Mapping, *, where: str) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"{where} is damaged: {name} holds a number that is not finite. Name another "
                "checkpoint; of a run, remove the folder of its last step, so that an earlier one "
                "is used."
            )


def _check_same_model(directory: str, found: QVAEConfig, wanted: QVAEConfig) -> None:
    found_fields, wanted_fields = dataclasses.asdict(found), dataclasses.asdict(wanted)
    different = [
        f"{name} is {wanted_fields[name]!r} in the config and {value!r} in the checkpoint"
        for name, value in found_fields.items()
        if name not in NOT_OF_WEIGHTS and wanted_fields[name] != value
    ]
    if different:
        raise UserError(f"{directory} does not fit the config: {'; '.join(different)}.")


def _below(prefix: str, arrays: dict) -> dict:
    return {prefix + name: array for name, array in arrays.items()}


def _require_parts(tree, parts: tuple[str, ...], *, where: str) -> None:
    absent = [part for part in parts if not isinstance(tree, dict) or part not in tree]
    if absent:
        raise UserError(
            f"{where} holds a checkpoint of another kind (it has no {', '.join(absent)}): name "
            "another one."
        )


def _read(checkpointer: ocp.PyTreeCheckpointer, path: pathlib.Path, *, mend: str) -> dict:
    """A saved tree with NumPy leaves; UserError saying how to mend it where absent or damaged."""
    if not path.is_dir():
        raise UserError(f"{path} does not exist, so the checkpoint is incomplete: {mend}.")
    try:
        saved = checkpointer.metadata(path).item_metadata
        if saved is None:
            raise ValueError("it has no readable index")
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved.tree)
        return checkpointer.restore(path, restore_args=as_numpy)
    except Exception as error:  # Orbax, TensorStore and JSON each raise their own kinds
        time.sleep(SETTLING_S)
        raise UserError(
            f"{path} cannot be read as a checkpoint ({first_line(error)}), so it is damaged or "
            f"incomplete: {mend}."
        ) from error
