"""SampleCNN's tagger: golden values of every layer, and keys of the original."""

import jax
import numpy as np
import pytest

import golden_rules
from filled import error, fill, golden_layout
from qvae_jax.models import variables
from qvae_jax.models.samplecnn import WIDTHS, SampleCNNTagger
from weight_port import names

TOLERANCE = 1e-4  # relative to the largest of each array


@pytest.fixture(scope="module")
def trace() -> dict[str, np.ndarray]:
    """What every layer makes of the golden signals, with filled weights."""
    shapes = golden_layout("samplecnn_state_dict_shapes")["shapes"]
    state_dict = golden_rules.filled_state_dict(shapes)
    graphdef, given = fill(SampleCNNTagger(rng=None), names.samplecnn_tagger(), state_dict)
    run = jax.jit(lambda given, x: dict(variables.merge(graphdef, given).trace(x)))
    return run(given, golden_rules.signals(2, SampleCNNTagger.num_samples, 22_050, 8))


def test_every_layer_equals_golden(trace):
    golden = golden_rules.load("samplecnn_filled")
    for i, width in enumerate(WIDTHS):
        layer = trace[f"stages.{i}"]
        assert layer.shape == (2, 3 ** max(9 - i, 0), width)
        assert error(layer.mean(axis=1), golden[f"mean_{i + 1}"]) < TOLERANCE, i
    for name in ("embedding", "logits"):
        assert error(trace[name], golden[name]) < TOLERANCE, name
