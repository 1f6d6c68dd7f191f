"""The peer in PyTorch computes what qvae_jax does, from the same weights."""

import jax
import numpy as np
import pytest

from filled import error, filled_mobilenet, mobilenet_state_dict
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import variables

torch = pytest.importorskip("torch", reason="runs in torch")

from benchmarks import torch_peer

# At once, as the import asks for two: where processes share cores, torch's wait for one another.
torch.set_num_threads(1)

SHORT = FrontEnd(duration_s=1.0)


def test_log_mels_are_ours():
    rng = np.random.default_rng(0)
    waveforms = rng.uniform(-1, 1, (2, SHORT.num_samples)).astype(np.float32)
    theirs = torch_peer.log_mel_of(SHORT)(torch.from_numpy(waveforms)).numpy()
    assert theirs.shape == (2, SHORT.num_mels, SHORT.num_frames)
    assert error(np.asarray(log_mel(waveforms, SHORT)), theirs) < 1e-4


def test_features_are_ours():
    logmel = np.random.default_rng(1).standard_normal((2, 128, 50)).astype(np.float32)
    graphdef, arrays = filled_mobilenet(0.4)

    @jax.jit
    def pooled(arrays, logmel):
        return variables.merge(graphdef, arrays).maps(logmel)[-1].mean((1, 2))

    ours = np.asarray(pooled(arrays, logmel))
    ours = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    state = {key: torch.as_tensor(array) for key, array in mobilenet_state_dict(0.4).items()}
    with torch.inference_mode():
        theirs = torch_peer.features(state, torch.from_numpy(logmel)).numpy()
    np.testing.assert_allclose(np.linalg.norm(theirs, axis=1), 1, rtol=1e-6)
    assert error(ours, theirs) < 1e-4


def test_loss_banks_are_for_the_mel_terms_windows():
    assert {window: bank.shape for window, bank in torch_peer.loss_banks().items()} == {
        1024: (513, 80),
        2048: (1025, 80),
    }
