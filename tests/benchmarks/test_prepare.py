"""Both ways of preparing log-mels give the same rows."""

import numpy as np
import pytest

pytest.importorskip("librosa", reason="the peer reads with it")
torch = pytest.importorskip("torch", reason="the peer computes with it")

from benchmarks import prepare
from qvae_jax.data.loading import LOGMEL_DTYPE

# At once, as the import asks for two: where processes share cores, torch's wait for one another.
torch.set_num_threads(1)


def test_the_peers_rows_are_ours(data_set, tmp_path):
    paths = sorted((data_set / "vocal_imitations").iterdir())[:3]
    theirs = prepare.straightforward(paths, num_threads=1)
    ours = np.array(prepare.ours(paths, tmp_path, num_processes=1))
    assert ours.shape == theirs.shape == (3, 128, 1000)
    assert ours.dtype == theirs.dtype == LOGMEL_DTYPE
    np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), atol=4e-3)
