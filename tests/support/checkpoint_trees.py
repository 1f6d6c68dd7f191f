"""Trees of arrays that were saved, compared with those that were read."""

import pathlib

import numpy as np
import pytest

# Orbax leaves the other arrays alone where one fails; main.py silences their complaints too.
COMPLAINTS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def assert_same_trees(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for part in expected:
        assert found[part].keys() == expected[part].keys()
        for name, array in expected[part].items():
            assert np.asarray(found[part][name]).dtype == np.asarray(array).dtype
            np.testing.assert_array_equal(found[part][name], array)


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
