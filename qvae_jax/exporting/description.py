"""What lies beside a graph: its inputs and outputs, their defaults and units, as JSON and back."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jax import export

from qvae_jax.audio import controls
from qvae_jax.exporting.graph import Graph, graphs_of
from qvae_jax.models import spectral_head
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.stored import CONFIG_FILE
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

KIND = "graph"  # in config.json, by which a folder of graphs is known
NOISE_FILE = "noise.f32"
# Whose noise generate takes for the first sound of its first input, unless it is asked otherwise.
NOISE_SEEDS = np.array([[0, 1]], np.uint32)
BATCH = "batch"


@dataclasses.dataclass(frozen=True)
class Field:
    """An input or an output of a graph.

    Attributes:
        name: of it, in the graph too.
        dtype: "float32" or "int32".
        shape: of which the first is always BATCH, any number of rows.
        meaning: with units.
        default: of an input: a number for all its values, the name of a file of them in
            little-endian float32, the same for each row, or None where it must be given.
    """

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    meaning: str
    default: float | int | str | None = None


def inputs(graph: Graph) -> tuple[Field, ...]:
    """What a graph is given, in the order in which it takes it."""
    rate_hz, latent = graph.config.front_end.sample_rate_hz, graph.config.latent_dim
    fields = [
        Field(
            "waveform",
            "float32",
            (BATCH, graph.num_samples),
            f"the voice at {rate_hz} Hz, where full scale is 1; what is shorter is filled up",
        ),
        Field(
            "num_samples",
            "int32",
            (BATCH,),
            "how many samples of the waveform are the voice; what comes after them is not heard",
            graph.num_samples,
        ),
        Field("temperature", "float32", (BATCH,), "of the latent's noise, 0 or more", 0.0),
        Field("epsilon", "float32", (BATCH, latent), "the latent's noise, standard normal", 0.0),
        Field("z_given", "float32", (BATCH, latent), "a latent in place of the voice's", 0.0),
        Field("use_z", "float32", (BATCH,), "1: z_given is taken, 0: the voice's latent", 0.0),
    ]
    if graph.tells_sounds:
        meaning = (
            "1: the waveform is a sound, of which all counts; 0: a voice, which counts in part"
        )
        fields.append(Field("is_sound", "float32", (BATCH,), meaning, 0.0))
    if graph.uses_noise:
        fields.append(
            Field(
                "noise",
                "float32",
                (BATCH, graph.num_noise_samples),
                "what the decoder filters, standard normal; the default is the noise of seed 0",
                NOISE_FILE,
            )
        )
    if graph.config.is_steered:
        fields += _steering(graph)
    return tuple(fields)


def _steering(graph: Graph) -> list[Field]:
    return [
        Field(
            "curves_given",
            "float32",
            (BATCH, graph.num_frames, len(controls.NAMES)),
            "curves to steer with, as the output curves",
            0.0,
        ),
        Field(
            "curve_source",
            "int32",
            (BATCH, len(controls.NAMES)),
            "for each curve: 0 the voice's, 1 the gesture head's stretched to the length, 2 given, "
            "3 the gesture head's 243 frames as they are",
            0,
        ),
        Field(
            "num_frames_given",
            "int32",
            (BATCH,),
            "frames of the sound; 0: as the voice from where it can be heard, -1: as long as the "
            "gesture head says. Curves of the voice are stretched to it, given ones are not",
            0,
        ),
    ]


def outputs(graph: Graph) -> tuple[Field, ...]:
    """What a graph gives, in its order."""
    latent = (BATCH, graph.config.latent_dim)
    fields = [
        Field(
            "sound",
            "float32",
            (BATCH, graph.num_sound_samples),
            f"in (-1, 1) at {graph.config.sample_rate_hz} Hz, silent after its last sample",
        ),
        Field("num_sound_samples", "int32", (BATCH,), "how many samples are the sound"),
        Field("mean", "float32", latent, "of the posterior"),
        Field("log_variance", "float32", latent, "of the posterior, natural logarithm"),
        Field("z", "float32", latent, "the latent that the sound is made of"),
    ]
    if graph.config.is_steered:
        fields += [
            Field(
                "curves",
                "float32",
                (BATCH, graph.num_frames, len(controls.NAMES)),
                "that the sound was rendered with: loudness in dB, centroid and pitch in semitones "
                "(69 is 440 Hz), periodicity from 0 to 1; held after the last frame",
            ),
            Field("num_frames", "int32", (BATCH,), "how many frames are the sound"),
            Field("duration_s", "float32", (BATCH,), "the gesture head's own, in seconds"),
        ]
    return tuple(fields)


def specs(graph: Graph) -> dict[str, jax.ShapeDtypeStruct]:
    """What a graph is traced with: its inputs by name, for any number of rows."""
    (rows,) = export.symbolic_shape(BATCH)
    return {
        field.name: jax.ShapeDtypeStruct((rows, *field.shape[1:]), field.dtype)
        for field in inputs(graph)
    }


def named_graphs(config: QVAEConfig, form: str) -> list[tuple[str, Graph]]:
    """The graphs that a model is exported as, and the names of their files in a format."""
    return [(f"graph_{graph.duration_s:g}s.{form}", graph) for graph in graphs_of(config)]


def write_noise(folder: pathlib.Path, graphs: Sequence[Graph]) -> None:
    """Writes the default noise, of which each graph takes the beginning; none where none is used."""
    longest = max(graphs, key=lambda graph: graph.num_frames)
    if longest.uses_noise:
        noise = spectral_head.white_noise(NOISE_SEEDS, longest.num_frames, longest.hop_length)
        (folder / NOISE_FILE).write_bytes(np.asarray(noise[0], "<f4").tobytes())


def described(
    folder: pathlib.Path,
    graphs: Sequence[tuple[str, Graph]],
    form: str,
    source: dict,
    others: Sequence[str] = (),
    **facts,
) -> dict:
    """The JSON of a folder in which these graphs lie, by the names of their files, and the noise.

    form is the format's name, source the model's, others the files that the graphs need besides,
    facts what else the format has to say.
    """
    config = graphs[0][1].config
    names = [name for name, _ in graphs] + list(others)
    if (folder / NOISE_FILE).is_file():
        names.append(NOISE_FILE)
    return {
        "kind": KIND,
        "format": form,
        **facts,
        "source": source,
        "model": dataclasses.asdict(config),
        "input_sample_rate_hz": config.front_end.sample_rate_hz,
        "sound_sample_rate_hz": config.sample_rate_hz,
        "frame_s": controls.HOP_LENGTH / controls.SAMPLE_RATE_HZ,
        "graphs": [
            {
                "file": name,
                "duration_s": graph.duration_s,
                "inputs": [dataclasses.asdict(field) for field in inputs(graph)],
                "outputs": [_of_output(field) for field in outputs(graph)],
            }
            for name, graph in graphs
        ],
        "sha256": {name: files.digest(folder / name) for name in names},
    }


def _of_output(field: Field) -> dict:
    found = dataclasses.asdict(field)
    del found["default"]
    return found


@dataclasses.dataclass(frozen=True)
class Described:
    """One graph, as the JSON of its folder describes it."""

    path: pathlib.Path
    duration_s: float
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]


def read(folder: pathlib.Path) -> tuple[dict, list[Described]]:
    """A folder's JSON, and its graphs, the shortest first.

    Every file is there with the bytes that the JSON tells of. Raises UserError where not, and where
    the JSON does not describe graphs.
    """
    path = folder / CONFIG_FILE
    whole = files.read_json(path)
    try:
        found = [_graph_of(folder, one) for one in whole["graphs"]]
        expected = {name: str(value) for name, value in whole["sha256"].items()}
        for rate in ("input_sample_rate_hz", "sound_sample_rate_hz"):
            whole[rate] = int(whole[rate])
        listed = {one.path.name for one in found} | {
            field.default for one in found for field in one.inputs if isinstance(field.default, str)
        }
        if not found or listed - set(expected):
            raise ValueError("a file has no sha256")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged and describes no graph: export the model again."
        ) from error
    for name in sorted(expected):
        _check_file(folder / pathlib.PurePath(name).name, expected[name])
    return whole, sorted(found, key=lambda graph: graph.duration_s)


def _graph_of(folder: pathlib.Path, one: dict) -> Described:
    fields = {
        part: tuple(_field_of(values) for values in one[part]) for part in ("inputs", "outputs")
    }
    if not fields["inputs"] or not fields["outputs"]:
        raise ValueError("no inputs or outputs")
    return Described(
        folder / pathlib.PurePath(one["file"]).name, float(one["duration_s"]), **fields
    )


def _field_of(values: dict) -> Field:
    field = Field(**{**values, "shape": tuple(values["shape"])})
    sizes = all(isinstance(size, int) and size > 0 for size in field.shape[1:])
    if field.shape[:1] != (BATCH,) or not sizes or field.dtype not in ("float32", "int32"):
        raise ValueError(field.name)
    return field


def _check_file(path: pathlib.Path, expected: str) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing: export the model again, or copy its whole folder.")
    if files.digest(path) != expected:
        raise UserError(
            f"{path} is damaged, or another than the one that {CONFIG_FILE} beside it tells of: export "
            "the model again, or copy its whole folder."
        )


def check_agrees(
    graph: Described, names: Sequence[str], shapes: Sequence[Sequence], part: str = "inputs"
) -> None:
    """Raises UserError where a graph's own inputs, or outputs, are not those of its description.

    shapes are its own: of each, all sizes but the first, which is the batch's.
    """
    wanted = {field.name: list(field.shape[1:]) for field in getattr(graph, part)}
    found = {name: list(shape) for name, shape in zip(names, shapes, strict=True)}
    if wanted != found:
        differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise UserError(
            f"{graph.path.parent / CONFIG_FILE} disagrees with {graph.path.name} about the {part} "
            f"{', '.join(differing)}: export the model again."
        )


def default_of(field: Field, folder: pathlib.Path) -> np.ndarray:
    """The default of an input for one row, [1, …]."""
    shape = (1, *field.shape[1:])
    if not isinstance(field.default, str):
        return np.full(shape, field.default, field.dtype)
    values = np.fromfile(folder / field.default, "<f4", count=int(np.prod(shape)))
    if values.size != np.prod(shape):
        raise UserError(f"{folder / field.default} is too short: export the model again.")
    return values.reshape(shape).astype(field.dtype)
