"""What hears imitations and a library for a model: its own encoder, or the pair that it is one of."""

import shutil

import ml_collections
import pytest

import small_encoders
import steered_model
from qvae_jax.generation import neighbours
from qvae_jax.models import stored
from qvae_jax.retrieval import encoders


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return small_encoders.write_pair(tmp_path_factory.mktemp("pair") / "pair")


@pytest.fixture
def model(pair, monkeypatch):
    """A model of a run whose encoder is the imitations' of the pair."""
    config = steered_model.CONFIG
    weights = stored.initial_variables(config, seed=0, encoder_checkpoint=str(pair))
    settings = ml_collections.ConfigDict({"model": {"encoder_checkpoint": str(pair)}})
    run = ml_collections.ConfigDict({"config": settings})
    monkeypatch.setattr(neighbours, "open_run", lambda workdir: run)
    return neighbours.Model(config, weights, {"workdir": "run", "step": 1})


def test_a_run_has_the_pair_that_its_encoder_is_one_of(model, pair, capsys):
    found, folders = neighbours.encoders_of(model)
    assert [e.digest for e in found] == [e.digest for e in encoders.load_encoders(pair)]
    assert [str(folder) for folder in folders] == ["run", str(pair)]
    assert capsys.readouterr().out == ""


def test_a_pair_that_is_gone_is_told(model, pair, tmp_path, capsys):
    moved = shutil.move(pair, tmp_path / "moved")
    try:
        found, _ = neighbours.encoders_of(model)
    finally:
        shutil.move(moved, pair)
    assert found.imitation is found.reference
    assert f"note: {pair}, where the encoder of run came from, is gone" in capsys.readouterr().out


def test_a_model_of_two_encoders_has_both_wherever_they_came_from(model, pair, capsys):
    config = steered_model.TWO_ENCODERS
    weights = stored.initial_variables(config, seed=0, encoder_checkpoint=str(pair))
    known = [each.digest for each in encoders.load_encoders(pair)]
    neighbours.open_run("run").config.model.encoder_checkpoint = "gone"
    for source in (model.source, {"checkpoint": "folder"}):
        found, _ = neighbours.encoders_of(neighbours.Model(config, weights, source))
        assert [each.digest for each in found] == known
    assert capsys.readouterr().out == ""


def test_a_model_without_a_run_has_its_own(model, monkeypatch, tmp_path):
    monkeypatch.setattr(model, "source", {"checkpoint": str(tmp_path)})
    found, folders = neighbours.encoders_of(model)
    assert found.imitation is found.reference and folders == [tmp_path]
