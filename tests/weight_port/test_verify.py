"""--verify: a port that is right differs by rounding alone, and one that is wrong is told where."""

import dataclasses
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with torch")

from weight_port import port, verify
from weight_port.source import Source
from weight_port.weight_sets import AISFX, EFFICIENTAT, SAMPLECNN


@pytest.fixture
def source(odd, convolutional_arrays) -> Source:
    """A published variant: another head, other strides, another front-end."""
    return Source(pathlib.Path("odd.pt"), "0" * 64, EFFICIENTAT, convolutional_arrays, {}, {})


def test_every_layer_of_a_port_is_that_of_torch(source):
    rows = {row.layer: row for row in verify.compare(source, port.port(source))}
    assert list(rows) == [*(f"features.{layer}" for layer in range(17)), "pooled", "logits"]
    assert rows["features.16"].shape == (1, 5, 50, 96) and rows["logits"].shape == (1, 10)
    assert max(row.relative for row in rows.values()) < 1e-9


LAYERS = {
    "samplecnn": [*(f"stages.{i}" for i in range(11)), "embedding", "logits"],
    "aisfx": [*(f"blocks.{i}" for i in range(4)), "embedding"],
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_of_a_judge_is_that_of_torch(kind, narrow_judges):
    of = {"samplecnn": SAMPLECNN, "aisfx": AISFX}[kind]
    source = Source(pathlib.Path("a.pt"), "0" * 64, of, narrow_judges[kind], {}, {})
    ported = port.port(source)
    assert ported.description["kind"] == kind
    rows = verify.compare(source, ported)
    assert [row.layer for row in rows] == LAYERS[kind]
    assert max(row.relative for row in rows) < 1e-9


def test_a_wrong_array_shows_from_its_layer_on(source):
    ported = port.port(source)
    params = dict(ported.variables.params)
    params["features.9.project.norm.scale"] = 1.001 * params["features.9.project.norm.scale"]
    wrong = dataclasses.replace(ported, variables=ported.variables._replace(params=params))
    rows = verify.compare(source, wrong)
    found = [row.layer for row in rows if not row.relative <= verify.BOUND]
    assert found[0] == "features.9" and found[-1] == "logits"
    assert not {f"features.{layer}" for layer in range(9)} & set(found)


def test_an_array_of_nan_is_no_agreement(source):
    ported = port.port(source)
    params = {name: np.full_like(array, np.nan) for name, array in ported.variables.params.items()}
    broken = dataclasses.replace(ported, variables=ported.variables._replace(params=params))
    assert not any(row.relative <= verify.BOUND for row in verify.compare(source, broken))


def test_the_table_marks_the_worst_layer():
    rows = [
        verify.Row("features.0", (1, 64, 500, 16), 1e-12, 2e-13),
        verify.Row("logits", (1, 527), 3e-9, 1e-10),
    ]
    assert verify.table(rows).splitlines() == [
        "layer                                        shape    absolute    relative",
        "features.0                             1×64×500×16    1.00e-12    2.00e-13",
        "logits                                       1×527    3.00e-09    1.00e-10  largest",
    ]
