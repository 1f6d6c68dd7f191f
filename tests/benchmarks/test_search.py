"""Both ways of indexing a library give the same embeddings."""

import os

import numpy as np
import pytest

pytest.importorskip("librosa", reason="the peer reads with it")
pytest.importorskip("torch", reason="the peer computes with it")

import sound_folder
from benchmarks import search
from qvae_jax.retrieval.encoders import Encoder
from qvae_jax.system import caches


def test_the_peers_rows_are_ours(tmp_path, monkeypatch):
    monkeypatch.setenv(caches.VARIABLE, os.environ.get(caches.VARIABLE, ""))  # put back at the end
    library = sound_folder.write(tmp_path / "library", a=0.5, b=1.5, c=0.2)
    config, given = search.drawn(width=0.1)
    theirs = search.straightforward(sorted(library.iterdir()), config, given, num_threads=1)
    ours = search.ours(library, Encoder(config, given), tmp_path / "cache")
    assert ours.shape == theirs.shape == (3, 96)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
