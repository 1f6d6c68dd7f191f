"""aiSFX: shapes of every block, and what its own package makes of two sounds."""

import jax
import numpy as np
import pytest
from flax import nnx

import golden_rules
from filled import error, fill
from qvae_jax.models import variables
from qvae_jax.models.aisfx import AiSFX
from qvae_jax.system import caches
from weight_port import names

PACKAGE = "aisfx-0.1.2-py2.py3-none-any.whl"
OF_THE_PACKAGE = 118_098  # samples that it was given


def test_embeddings_are_those_of_the_package():
    """Computed once by aisfx 0.1.2 in PyTorch, from spectrograms by Essentia."""
    path = caches.user_cache_folder() / PACKAGE
    if not path.is_file():
        pytest.skip(f"needs {path}: pip download --no-deps aisfx==0.1.2, and put it there")
    pytest.importorskip("torch", reason="reads a PyTorch checkpoint")
    from weight_port.source import read_source

    arrays = read_source(path).arrays
    known = {key: array for key, array in arrays.items() if not key.startswith("fc.")}
    graphdef, given = fill(AiSFX(rng=None), names.aisfx(), known)
    signals = golden_rules.signals(2, OF_THE_PACKAGE, AiSFX.sample_rate_hz, 9)
    embed = jax.jit(lambda given, x: variables.merge(graphdef, given).embed(x))
    ours = embed(given, signals[:, : AiSFX.num_samples])
    assert error(ours, golden_rules.load("aisfx_released")["embedding"]) < 1e-4


def test_blocks_halve_places_downwards_and_the_embedding_has_512():
    graphdef, given = variables.split(nnx.eval_shape(lambda: AiSFX(rng=None)))
    waveforms = jax.ShapeDtypeStruct((3, AiSFX.num_samples), np.float32)
    embed = lambda given, x: variables.merge(graphdef, given).embed(x)
    assert jax.eval_shape(embed, given, waveforms).shape == (3, AiSFX.embedding_size)
    logmel = jax.ShapeDtypeStruct((3, 100, 96), np.float32)
    trace = lambda given, x: dict(variables.merge(graphdef, given).trace(x))
    shapes = {name: x.shape for name, x in jax.eval_shape(trace, given, logmel).items()}
    assert shapes == {
        "blocks.0": (3, 50, 48, 64),
        "blocks.1": (3, 25, 24, 128),
        "blocks.2": (3, 12, 12, 256),
        "blocks.3": (3, 12, 12, 512),
        "embedding": (3, 512),
    }
    assert sum(int(np.prod(array.shape)) for array in given.params.values()) == 4_686_144
