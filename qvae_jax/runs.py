"""A run's folder as one object: its config, its data set, its recorded split, its files' names."""

import functools
import json
import pathlib

import ml_collections

from qvae_jax import configuration
from qvae_jax.data import layouts, split_record
from qvae_jax.data.catalogue import Catalogue, dataset_folder, has_pairs
from qvae_jax.data.index import Index, Pair
from qvae_jax.data.library import read_library
from qvae_jax.data.parts import pairs_by_part
from qvae_jax.data.split_record import SplitRecord
from qvae_jax.system.errors import UserError

# What lies in a run's folder. Training writes the first group, other modes the second; a data set
# and its prepared arrays lie there only where the config names no folder for them.
CONFIG_FILE = configuration.CONFIG_FILE
SPLIT_FILE = split_record.SPLIT_FILE
METRICS_FILE = "metrics.jsonl"
ENVIRONMENT_FILE = "environment.json"
HISTORY_FILE = "history.json"
WANDB_FILE = "wandb_run.json"
LOCK_FILE = ".lock"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
SAMPLES = "samples"
DIAGNOSTICS = "diagnostics"
START = "start"  # the weights that a reset left to begin with
ENCODER = "encoder"  # of encoders for search, those of the best checkpoint: one folder, or a pair
RESET_PENDING = "reset_pending"

EVALUATION = "evaluation"
VISUALISE = "visualise"

LARGEST_COUNT = 2**53  # whole numbers beyond it are not those of any run


class RunFolder:
    """What a run's folder says of it.

    Attributes:
        folder: where it lies.
        config: its settings, as recorded.
    """

    def __init__(self, folder: pathlib.Path, config: ml_collections.ConfigDict):
        self.folder = folder
        self.config = config

    @property
    def dataset_dir(self) -> pathlib.Path:
        """The data set that the run learnt from, whether it still lies there or not."""
        return dataset_folder(self.config, self.folder)

    @functools.cached_property
    def index(self) -> Index:
        """What that data set holds; UserError where it cannot be read."""
        return layouts.read_index(self.dataset_dir)

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """What the run learnt from: that data set, a sound library, or both."""
        sounds_dir = self.config.data.sounds_dir
        library = read_library(sounds_dir, outside=self.folder) if sounds_dir else None
        return Catalogue(self.index if has_pairs(self.config) else None, library)

    @functools.cached_property
    def split(self) -> SplitRecord:
        """The split that the run began with; worked out, and said so, where none is recorded."""
        recorded = split_record.recorded_split(self.folder)
        if recorded is not None:
            return recorded
        if self.config.data.sounds_dir:
            raise UserError(
                f"{self.folder} learnt from a sound library, and only {SPLIT_FILE} says from which "
                "files: restore it."
            )
        pairs = pairs_by_part(self.config, self.index)
        return split_record.unrecorded_split(self.folder, pairs)

    @property
    def parts(self) -> list[str]:
        """The parts of the split that hold any pair, or window of a library."""
        return self.split.names

    def pairs(self, part: str) -> tuple[Pair, ...]:
        """The pairs, and windows of a library, of one part of the split, in its order.

        Raises UserError where the split has no such part, and where a file of it is gone.
        """
        if part not in self.parts:
            raise UserError(
                f"The split of {self.folder} has no part {part!r}: it has {', '.join(self.parts)}."
            )
        return self.split.rows(part, self.catalogue)


def open_run(workdir: str | pathlib.Path) -> RunFolder:
    """The run of a QVAE in a folder; UserError where it holds none, or one of encoders alone."""
    config = configuration.read_run(pathlib.Path(workdir))
    if config.training.objective == configuration.CONTRASTIVE:
        raise UserError(
            f"{workdir} holds a run of encoders for search, which make no sound: name that of a QVAE."
        )
    return RunFolder(pathlib.Path(workdir), config)


def read_metrics(workdir: str | pathlib.Path, *, leave_out_damaged: bool = False) -> list[dict]:
    """All entries of a run's metrics.jsonl, each with an int step, a str part, and numbers.

    A last line that a kill cut short is left out. Raises UserError where there is no such file, and
    for other lines that training does not write, unless these are to be left out too.
    """
    path = pathlib.Path(workdir) / METRICS_FILE
    try:
        lines = path.read_bytes().rstrip().splitlines()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error}): name the workdir of a run that has trained."
        ) from error
    entries = []
    for number, line in enumerate(lines, start=1):
        entry, is_whole = _parsed(line)
        if _is_entry(entry):
            entries.append(entry)
        elif not leave_out_damaged and (is_whole or number < len(lines)):
            raise UserError(
                f"{path} is damaged: line {number} is not a line of metrics; remove it."
            )
    return entries


def _parsed(line: bytes) -> tuple[object, bool]:
    """A line's JSON value, and whether the line is whole: one that a kill has cut short is text."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return None, True
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return None, False


def _is_entry(entry) -> bool:
    if not isinstance(entry, dict) or not {"step", "part"} <= entry.keys():
        return False
    if not isinstance(entry["part"], str) or not _is_count(entry["step"]):
        return False
    numbers = (value for name, value in entry.items() if name != "part")
    return _is_count(entry.get("epoch", 0)) and all(
        type(n) is float or (type(n) is int and abs(n) <= LARGEST_COUNT) for n in numbers
    )


def _is_count(value) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_COUNT
