"""What is read back: defaults, and one sentence for each thing that cannot be."""

import json
import shutil
import sys

import numpy as np
import pytest

import exported_models
import qvae_jax
from exported_models import RATE_HZ
from qvae_jax.exporting import description, onnx, stablehlo
from qvae_jax.modes import export as mode
from qvae_jax.modes.export import export
from qvae_jax.modes.requests import ExportRequest
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

WRITERS = {"stablehlo": stablehlo.write, "onnx": onnx.write}


@pytest.fixture(scope="module", params=WRITERS)
def folder(request, tmp_path_factory):
    exported_models.skip_without_packages(request.param)
    folder = tmp_path_factory.mktemp("exported") / "out"
    WRITERS[request.param](exported_models.model("frame"), folder)
    return folder


@pytest.fixture(scope="module")
def graph(folder):
    return qvae_jax.load(folder)


@pytest.fixture
def copy(folder, tmp_path):
    """The folder, to be spoilt."""
    return shutil.copytree(folder, tmp_path / "out")


def _describe_anew(copy, change) -> None:
    """Changes what config.json says."""
    path = copy / "config.json"
    found = json.loads(path.read_text("utf-8"))
    change(found)
    path.write_text(json.dumps(found), "utf-8")


def _one_line(raised) -> None:
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


VOICE = exported_models.voices(2, 4_000)
CALLS = {
    "another rate": (lambda g: g(VOICE, 44_100), "rate is 44100 Hz, but the graph hears 32000 Hz"),
    "no samples": (
        lambda g: g(VOICE[:, :0], RATE_HZ),
        r"of shape \[2, 0\]: give \[rows, samples\]",
    ),
    "no rows": (lambda g: g(VOICE[:0], RATE_HZ), r"of shape \[0, 4000\]"),
    "one axis": (lambda g: g(VOICE[0], RATE_HZ), r"of shape \[4000\]"),
    "too long": (
        lambda g: g(np.zeros((1, 32_001)), RATE_HZ),
        r"\[1, 32001\]: give \[rows, 32000\]",
    ),
    "not a number": (lambda g: g(VOICE * np.nan, RATE_HZ), "samples that are not finite"),
    "whole numbers": (
        lambda g: g(np.ones((1, 9), np.int16), RATE_HZ),
        "of type int16: give floats",
    ),
    "beyond any scale": (lambda g: g(VOICE * 1e5, RATE_HZ), "where 1 is full scale"),
    "length 0": (
        lambda g: g(VOICE, RATE_HZ, num_samples=[0, 9]),
        "num_samples has values from 0 to 9: give .* from 1 to 4000",
    ),
    "longer than it is": (
        lambda g: g(VOICE, RATE_HZ, num_samples=[4_001, 9]),
        "num_samples has values from 9 to 4001",
    ),
    "no such input": (
        lambda g: g(VOICE, RATE_HZ, pitch=[1, 2]),
        "no input pitch: it has waveform,",
    ),
    "another shape": (
        lambda g: g(VOICE, RATE_HZ, epsilon=np.zeros((2, 5))),
        r"epsilon cannot be of shape \[2, 5\]: give \[rows, 4\]",
    ),
    "other rows": (
        lambda g: g(VOICE, RATE_HZ, temperature=[1.0]),
        "temperature has 1 row, but there are 2 waveforms",
    ),
    "no numbers": (
        lambda g: g(VOICE, RATE_HZ, temperature=["a", "b"]),
        "temperature cannot be of type <U1",
    ),
    "fractions": (
        lambda g: g(VOICE, RATE_HZ, num_samples=[0.5, 1.0]),
        "num_samples cannot be of type float64: give whole numbers",
    ),
    "an infinite input": (
        lambda g: g(VOICE, RATE_HZ, z_given=np.full((2, 4), np.inf)),
        "z_given holds values that are not finite",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_cannot_be_heard_is_refused_in_a_sentence(graph, name):
    call, message = CALLS[name]
    with pytest.raises(UserError, match=message) as raised:
        call(graph)
    _one_line(raised)


def test_defaults_are_those_of_the_description(graph, folder):
    (described,) = description.read(folder)[1]
    given = {
        field.name: np.repeat(description.default_of(field, folder), 2, axis=0)
        for field in described.inputs
        if field.name not in ("waveform", "num_samples")
    }
    plain, same = graph(VOICE, RATE_HZ), graph(VOICE, RATE_HZ, **given)
    for field in described.outputs:
        assert plain[field.name].shape == (2, *field.shape[1:])
        assert plain[field.name].dtype == field.dtype
        np.testing.assert_array_equal(plain[field.name], same[field.name])


def test_rates_are_those_of_the_model(graph):
    assert (graph.input_sample_rate_hz, graph.sample_rate_hz) == (32_000, 22_050)


def _cut(copy):
    path = next(path for path in copy.iterdir() if path.name.startswith("graph"))
    path.write_bytes(path.read_bytes()[:-100])


def _cut_knowingly(copy):
    """The file is cut, and config.json has the sha256 of what is left."""
    _cut(copy)
    path = next(path for path in copy.iterdir() if path.name.startswith("graph"))
    _describe_anew(copy, lambda it: it["sha256"].update({path.name: files.digest(path)}))


def _remove_noise(copy):
    (copy / "noise.f32").unlink()


def _no_json(copy):
    (copy / "config.json").write_text('{"kind": "graph", ', "utf-8")


SPOILT = {
    "a truncated graph": (_cut, "graph_1s.* is damaged, or another than the one that config.json"),
    "a truncated graph of that sha256": (
        _cut_knowingly,
        "cannot be read as a graph by this version",
    ),
    "no noise": (_remove_noise, "noise.f32 is missing"),
    "a JSON of another shape": (
        lambda copy: _describe_anew(
            copy, lambda it: it["graphs"][0]["inputs"][3].update(shape=["batch", 7])
        ),
        "config.json disagrees with graph_1s.* about the inputs epsilon",
    ),
    "a JSON of other names": (
        lambda copy: _describe_anew(
            copy, lambda it: it["graphs"][0]["outputs"][0].update(name="audio")
        ),
        "config.json disagrees with graph_1s.* about the outputs audio, sound",
    ),
    "a JSON without graphs": (
        lambda copy: _describe_anew(copy, lambda it: it.pop("graphs")),
        "config.json is damaged and describes no graph",
    ),
    "a JSON with numbers for graphs": (
        lambda copy: _describe_anew(copy, lambda it: it.update(graphs=[1])),
        "config.json is damaged and describes no graph",
    ),
    "a JSON that leads elsewhere": (
        lambda copy: _describe_anew(copy, lambda it: it["graphs"][0].update(file="../../secret")),
        "config.json is damaged and describes no graph",
    ),
    "a format of another version": (
        lambda copy: _describe_anew(copy, lambda it: it.update(format="tflite")),
        "graphs of the format 'tflite', which cannot be read back",
    ),
    "no JSON": (_no_json, "config.json is not readable JSON|holds no model"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_cannot_be_read_is_refused_in_a_sentence(copy, name):
    spoil, message = SPOILT[name]
    spoil(copy)
    with pytest.raises(UserError, match=message) as raised:
        qvae_jax.load(copy)
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_there_is_left_as_it_is(folder, copy):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    form = json.loads((copy / "config.json").read_text("utf-8"))["format"]
    with pytest.raises(UserError, match="already exists"):
        WRITERS[form](exported_models.model("frame"), copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


READ_NOTHING = lambda folder: description.Described(folder / "graph", 1.0, (), ())
NEEDS = {
    "onnx": lambda folder: onnx.write(exported_models.model("frame"), folder / "out"),
    "onnxruntime": lambda folder: onnx.opened(READ_NOTHING(folder)),
    "flatbuffers": lambda folder: stablehlo.write(exported_models.model("frame"), folder / "out"),
    "flatbuffers to read": lambda folder: stablehlo.opened(READ_NOTHING(folder)),
}


@pytest.mark.parametrize("name", NEEDS)
def test_without_its_packages_it_says_how_to_install_them(monkeypatch, tmp_path, name):
    package = name.split()[0]
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    said = rf"package {package}, .* not installed: run `python3 -m pip install '\.\[export\]'"
    with pytest.raises(UserError, match=said) as raised:
        NEEDS[name](tmp_path)
    _one_line(raised)
    assert not list(tmp_path.iterdir())


def test_the_mode_says_how_what_it_wrote_is_read_back(tmp_path, monkeypatch, capsys):
    exported_models.skip_without_packages("onnx")
    model = exported_models.model("frame")
    monkeypatch.setattr(mode, "load_model", lambda **which: model)
    folder = str(tmp_path / "out")
    export(ExportRequest(checkpoint="x", format="onnx", output_dir=folder))
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"qvae_jax.load({folder!r}) reads them back"
    assert qvae_jax.load(folder).sample_rate_hz == model.sample_rate_hz


def test_the_mode_refuses_a_format_that_there_is_not(tmp_path):
    request = ExportRequest(checkpoint="x", format="tflite", output_dir=str(tmp_path / "out"))
    with pytest.raises(UserError, match="--format is 'tflite': set it to one of stablehlo, onnx"):
        export(request)
