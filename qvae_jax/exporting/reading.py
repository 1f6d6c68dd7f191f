"""A folder of exported graphs, read back: waveforms in, sounds out, without the model."""

import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from qvae_jax.audio.levels import LOUDEST_PEAK, is_beyond_scale
from qvae_jax.exporting import description, onnx, stablehlo
from qvae_jax.exporting.description import Described, Field
from qvae_jax.models.stored import CONFIG_FILE
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, counted

# A graph as a function of all its inputs by name, for any number of rows.
Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
OPENERS: Mapping[str, Callable[[Described], Run]] = {
    stablehlo.FORMAT: stablehlo.opened,
    onnx.FORMAT: onnx.opened,
}


def is_exported(path: str | os.PathLike) -> bool:
    """Whether a folder's config.json says that it holds graphs."""
    found = files.json_or_none(pathlib.Path(path) / CONFIG_FILE)
    return isinstance(found, dict) and found.get("kind") == description.KIND


def load(path: str | os.PathLike) -> "ExportedModel":
    """The graphs of a folder; UserError where they cannot be read."""
    return ExportedModel(pathlib.Path(path))


class ExportedModel:
    """A model's graphs as one function; see __call__.

    Attributes:
        description: what config.json says.
        input_sample_rate_hz: of the waveforms that it takes.
        sample_rate_hz: of the sounds that it gives.
    """

    def __init__(self, folder: pathlib.Path):
        self.description, self._graphs = description.read(folder)
        form = self.description.get("format")
        if form not in OPENERS:
            raise UserError(
                f"{folder} holds graphs of the format {form!r}, which cannot be read back: name a "
                f"folder of {' or '.join(OPENERS)}."
            )
        self.input_sample_rate_hz = self.description["input_sample_rate_hz"]
        self.sample_rate_hz = self.description["sound_sample_rate_hz"]
        self._runs = [OPENERS[form](graph) for graph in self._graphs]
        self._folder = folder

    def __call__(
        self, waveform: npt.ArrayLike, sample_rate_hz: float, **given: npt.ArrayLike
    ) -> dict[str, np.ndarray]:
        """The outputs by name, each [rows, …], of voices [rows, samples] where full scale is 1.

        sample_rate_hz must be input_sample_rate_hz: nothing is resampled here. given are the graph's
        other inputs by name, for all rows; config.json says what each means, and what it is where
        it is not given. Of those that last, less than the whole length will do: voices and noise end
        in silence, and curves are held. The shortest graph in which all of it fits is taken.

        Raises UserError for another rate, another shape, no samples, values that are not finite or
        beyond any scale, and names that are no inputs.
        """
        if sample_rate_hz != self.input_sample_rate_hz:
            raise UserError(
                f"The waveform's rate is {sample_rate_hz!r} Hz, but the graph hears "
                f"{self.input_sample_rate_hz} Hz: resample it first."
            )
        waveform = _checked_waveform(waveform)
        given = {"num_samples": np.full(len(waveform), waveform.shape[1]), **given}
        given = {"waveform": waveform} | {name: np.asarray(value) for name, value in given.items()}
        graph, run = self._fitting(given)
        rows = len(waveform)
        filled = {
            field.name: _filled(field, given[field.name], rows)
            if field.name in given
            else np.repeat(description.default_of(field, self._folder), rows, axis=0)
            for field in graph.inputs
        }
        counts = filled["num_samples"]
        if counts.min() < 1 or counts.max() > waveform.shape[1]:
            raise UserError(
                f"num_samples has values from {counts.min()} to {counts.max()}: give how many "
                f"samples of each waveform are its voice, from 1 to {waveform.shape[1]}."
            )
        return {name: np.asarray(value) for name, value in run(filled).items()}

    def _fitting(self, given: Mapping[str, np.ndarray]) -> tuple[Described, Run]:
        """The shortest graph that takes these inputs."""
        for graph, run in zip(self._graphs, self._runs):
            if all(
                _fits(field, given[field.name]) for field in graph.inputs if field.name in given
            ):
                break
        fields = {field.name: field for field in graph.inputs}
        for name, value in given.items():
            if name not in fields:
                raise UserError(f"The graph has no input {name}: it has {', '.join(fields)}.")
            if not _fits(fields[name], value):
                sizes = ", ".join(map(str, ("rows", *fields[name].shape[1:])))
                raise UserError(
                    f"{name} cannot be of shape {list(value.shape)}: give [{sizes}]"
                    f"{', or less' if _may_be_shorter(fields[name]) else ''}."
                )
        return graph, run


def _may_be_shorter(field: Field) -> bool:
    return field.name in ("waveform", "noise", "curves_given")


def _fits(field: Field, value: np.ndarray) -> bool:
    if value.ndim != len(field.shape) or 0 in value.shape:
        return False
    if _may_be_shorter(field):
        return value.shape[1] <= field.shape[1] and value.shape[2:] == field.shape[2:]
    return value.shape[1:] == field.shape[1:]


def _filled(field: Field, value: np.ndarray, rows: int) -> np.ndarray:
    """A value of the field's own type and shape; UserError where it is none."""
    if len(value) != rows:
        raise UserError(
            f"{field.name} has {counted(len(value), 'row')}, but there are "
            f"{counted(rows, 'waveform')}: give each its own."
        )
    if value.dtype.kind not in ("iu" if field.dtype == "int32" else "fiu"):
        kind = "whole numbers" if field.dtype == "int32" else "real numbers"
        raise UserError(f"{field.name} cannot be of type {value.dtype}: give {kind}.")
    with np.errstate(over="ignore"):
        value = value.astype(field.dtype)
    if not np.isfinite(value).all():
        raise UserError(f"{field.name} holds values that are not finite: make it again.")
    if not _may_be_shorter(field):
        return value
    missing = [(0, 0), (0, field.shape[1] - value.shape[1])] + [(0, 0)] * (value.ndim - 2)
    return np.pad(value, missing, mode="edge" if field.name == "curves_given" else "constant")


def _checked_waveform(waveform: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(waveform)
    if array.ndim != 2 or 0 in array.shape:
        raise UserError(
            f"The waveform cannot be of shape {list(array.shape)}: give [rows, samples], with at "
            "least one of each."
        )
    if array.dtype.kind != "f":
        raise UserError(
            f"The waveform cannot be of type {array.dtype}: give floats, where full scale is 1."
        )
    if not np.isfinite(array).all():
        raise UserError("The waveform holds samples that are not finite: make it again.")
    if is_beyond_scale(float(np.abs(array).max())):
        raise UserError(
            f"The waveform goes beyond {LOUDEST_PEAK:g}, where 1 is full scale: divide it by the "
            "largest of its scale, such as 32768."
        )
    return array
