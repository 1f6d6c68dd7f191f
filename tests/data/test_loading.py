"""A log-mel as a reading process makes it: of the right size, and without JAX."""

import subprocess
import sys

import numpy as np
import pytest

from qvae_jax.audio.files import fit_length, write_wav
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.host_logmel import host_log_mel
from qvae_jax.data.loading import LOGMEL_DTYPE, load_logmel
from qvae_jax.system.errors import UserError

SHORT = FrontEnd(duration_s=1.0)


@pytest.mark.parametrize("num_samples", [1, 9_000, 32_000, 40_000])
def test_it_is_the_log_mel_of_the_beginning_padded_with_silence(tmp_path, num_samples):
    sound = np.random.default_rng(0).uniform(-1, 1, num_samples).astype(np.float32)
    write_wav(tmp_path / "sound.wav", sound, SHORT.sample_rate_hz)
    found = load_logmel(tmp_path / "sound.wav", SHORT)
    assert found.shape == (SHORT.num_mels, SHORT.num_frames) and found.dtype == LOGMEL_DTYPE
    padded = host_log_mel(fit_length(sound, SHORT.num_samples), SHORT)
    np.testing.assert_allclose(found, padded, rtol=0, atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"not audio"])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, content):
    (tmp_path / "bad.wav").write_bytes(content)
    with pytest.raises(UserError, match="bad.wav"):
        load_logmel(tmp_path / "bad.wav", SHORT)


def test_reading_processes_need_not_import_jax():
    code = "import sys; import qvae_jax.data.loading; print('jax' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.stdout == "False\n", finished.stderr
