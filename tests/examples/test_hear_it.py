"""The notebook: valid, without outputs, and of code that compiles. `.ci/run` runs it."""

import ast
import json
import pathlib

import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / "examples" / "hear_it.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text("utf-8"))
CODE = [cell for cell in CONTENT["cells"] if cell["cell_type"] == "code"]
OF_CELLS = {
    "code": {"cell_type", "id", "metadata", "source", "execution_count", "outputs"},
    "markdown": {"cell_type", "id", "metadata", "source"},
}


def test_it_is_a_notebook():
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    assert CONTENT["metadata"]["kernelspec"]["name"] == "python3"
    for cell in CONTENT["cells"]:
        assert cell.keys() == OF_CELLS[cell["cell_type"]]
        assert all(isinstance(line, str) for line in cell["source"])
        # A line of a JSON string for each of the text.
        assert "".join(cell["source"]).splitlines(keepends=True) == cell["source"]
    ids = [cell["id"] for cell in CONTENT["cells"]]
    assert len(set(ids)) == len(ids)


def test_it_holds_no_results():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)
    assert CONTENT["metadata"].keys() == {"kernelspec", "language_info"}
    assert CONTENT["metadata"]["language_info"] == {"name": "python"}


@pytest.mark.parametrize("cell", CODE, ids=[cell["id"] for cell in CODE])
def test_a_cell_compiles(cell):
    text = "".join(cell["source"])
    ast.parse(text)
    assert max(map(len, text.splitlines())) <= 100


def test_its_parameters_stand_in_the_first_cell_of_code():
    assert CODE[0]["metadata"] == {"tags": ["parameters"]}
    assigned = [node for node in ast.parse("".join(CODE[0]["source"])).body]
    names = [node.targets[0].id for node in assigned if isinstance(node, ast.Assign)]
    assert names == ["MODEL", "ENCODER", "PACKAGE", "HUM", "RECORD_S"]
