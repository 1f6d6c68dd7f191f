"""A graph cut in two, run one part after the other, gives what the whole graph gives."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra `export`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `export`")

import exported_models
from qvae_jax.exporting import description, onnx, onnx_parts
from qvae_jax.exporting.graph import graphs_of


def session(proto):
    found = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in found.get_outputs()]
    taken = [one.name for one in found.get_inputs()]

    def run(given):
        return dict(zip(names, found.run(names, {name: given[name] for name in taken})))

    return taken, run


@pytest.mark.parametrize("decoder_type", ["steered", "frame", "original-plus"])
def test_the_parts_give_what_the_whole_gives(decoder_type):
    model = exported_models.model(decoder_type)
    [graph] = graphs_of(model.config)
    whole = onnx.exported(graph, model.variables)
    hear, render = onnx_parts.cut(whole)
    rng = np.random.default_rng(0)
    given = {
        field.name: rng.random((2, *field.shape[1:])).astype(field.dtype)
        for field in description.inputs(graph)
    }
    given["waveform"] = exported_models.voices(2, graph.num_samples)
    given["num_samples"] = np.array([graph.num_samples, graph.num_samples // 2], np.int32)
    _, run_whole = session(whole)
    expected = run_whole(given)
    taken, run_hear = session(hear)
    heard = run_hear(given)
    assert "noise" not in taken
    for name, values in heard.items():
        np.testing.assert_array_equal(values, expected[name])
    taken, run_render = session(render)
    assert not {"waveform", "num_samples", "temperature"} & set(taken)
    sound = run_render(given | heard)["sound"]
    np.testing.assert_allclose(sound, expected["sound"], rtol=0, atol=1e-6)
