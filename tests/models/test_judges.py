"""Judges in folders: what is one, what is read back, and what is damaged."""

import shutil

import numpy as np
import pytest

from qvae_jax.models import judges, stored, variables
from qvae_jax.models.samplecnn import SampleCNNTagger
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

NUM_TAGS = 3


@pytest.fixture(scope="module")
def given():
    return variables.split(SampleCNNTagger(NUM_TAGS, rng=np.random.default_rng(1)))[1]


@pytest.fixture(scope="module")
def folder(given, tmp_path_factory):
    """A tagger with drawn weights."""
    path = tmp_path_factory.mktemp("judges") / "tagger"
    description = {"kind": "samplecnn", "model": {"num_tags": NUM_TAGS}}
    stored.save_model(path, description, given)
    return path


def test_a_judge_is_read_back(folder, given):
    assert judges.is_judge(folder)
    judge, network, found = judges.load_judge(folder)
    assert judge.title == "SampleCNN" and network.output.kernel.shape == (512, NUM_TAGS)
    for ours, theirs in zip(found, given):
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("description", [None, [], {"kind": "encoder"}, {"kind": ["aisfx"]}, "x"])
def test_other_folders_are_no_judges(tmp_path, description):
    if description is not None:
        files.write_json(tmp_path / "config.json", description)
    assert not judges.is_judge(tmp_path)
    assert not judges.is_judge(tmp_path / "absent")


@pytest.mark.parametrize("model", [None, {}, {"num_tags": -1}, {"num_tags": "many"}, 3])
def test_a_damaged_description_is_one_line(folder, tmp_path, model):
    shutil.copytree(folder, tmp_path / "judge")
    files.write_json(tmp_path / "judge" / "config.json", {"kind": "samplecnn", "model": model})
    with pytest.raises(UserError, match="config.json is damaged: port the model again"):
        judges.load_judge(tmp_path / "judge")


def test_the_arrays_of_another_judge_are_one_line(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "judge")
    files.write_json(tmp_path / "judge" / "config.json", {"kind": "aisfx", "model": {}})
    with pytest.raises(UserError, match="blocks.0.kernel1 is missing"):
        judges.load_judge(tmp_path / "judge")
