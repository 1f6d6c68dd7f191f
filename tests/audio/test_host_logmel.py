"""The log-mel front-end of reading processes: log_mel's, whether sounds are short or long."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import golden_rules
from qvae_jax.audio import host_logmel, mel
from qvae_jax.audio.files import fit_length
from qvae_jax.audio.host_logmel import host_log_mel
from qvae_jax.audio.logmel import FrontEnd, log_mel

SHORT = FrontEnd(duration_s=1.0)
LENGTHS = [1, 2, 399, 400, 5055, 5056, 5057, 6400, 11_455, 11_456, 11_457, 30_655, 31_999, 32_000]
# Of values to 2. Where a band is faint beside others, float32's rounding of these shows in it: ours
# is up to 5e-5 off double precision and log_mel's, by XLA's transforms, 1.2e-4 (JAX 0.12) or 5e-5
# (JAX 0.10). A cached row is rounded to 1e-3.
TOLERANCE = 7e-5
TOLERANCE_OF_LOG_MEL = 2e-4  # as in its own tests


@pytest.fixture(scope="module")
def plain():
    return jax.jit(lambda waveform: log_mel(waveform[None], SHORT)[0])


def _in_double_precision(waveform: np.ndarray) -> np.ndarray:
    x = waveform.astype(np.float64)
    padded = np.pad(x[1:] - 0.97 * x[:-1], 512, mode="reflect")
    window = np.zeros(1024)
    window[112:912] = np.hanning(800)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::320]
    energies = np.abs(np.fft.rfft(frames * window)) ** 2
    bank = mel.kaldi_mel_bank(128, 1024, 32_000, 0.0, 15_000.0)
    return (np.log(energies @ bank + 1e-5).T + 4.5) / 5


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_equals_log_mel_of_the_padded_sound(plain, num_samples):
    sound = np.random.default_rng(num_samples).uniform(-1, 1, num_samples).astype(np.float32)
    ours = host_log_mel(sound, SHORT)
    assert ours.dtype == np.float32
    padded = fit_length(sound, SHORT.num_samples)
    np.testing.assert_allclose(ours, _in_double_precision(padded), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ours, plain(padded), rtol=0, atol=TOLERANCE_OF_LOG_MEL)


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_silence_that_is_not_framed_changes_nothing(num_samples):
    sound = np.random.default_rng(num_samples).uniform(-1, 1, num_samples).astype(np.float32)
    padded = host_log_mel(fit_length(sound, SHORT.num_samples), SHORT)
    # Blocks of another size may be summed in another order.
    np.testing.assert_allclose(host_log_mel(sound, SHORT), padded, rtol=0, atol=5e-7)


def test_equals_golden():
    golden = golden_rules.load("frontend")
    sounds = golden_rules.signals(2, 320_000, 32_000, 1)
    ours = np.stack([host_log_mel(sound) for sound in sounds])
    np.testing.assert_allclose(ours[:, :, ::8], golden["mel"], rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    "front_end",
    [
        FrontEnd(duration_s=0.137, hop_length=160),
        FrontEnd(duration_s=0.5, num_mels=40),
        FrontEnd(duration_s=0.5, num_mels=1, low_hz=300.0, high_hz=8_000.0),
        FrontEnd(duration_s=0.5, n_fft=512, window_length=512, sample_rate_hz=16_000, high_hz=7e3),
        FrontEnd(duration_s=0.3, hop_length=801),
    ],
    ids=str,
)
def test_equals_log_mel_for_other_front_ends(front_end):
    num_samples = front_end.num_samples // 2
    sound = np.random.default_rng(0).uniform(-1, 1, num_samples).astype(np.float32)
    expected = log_mel(fit_length(sound, front_end.num_samples)[None], front_end)[0]
    ours = host_log_mel(sound, front_end)
    assert ours.shape == (front_end.num_mels, front_end.num_frames)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE_OF_LOG_MEL)


def test_the_last_frame_of_a_short_sound_lies_in_silence():
    for num_samples in range(1, SHORT.num_samples + 1, 7):
        framed = host_logmel.num_framed(num_samples, SHORT)
        assert framed == SHORT.num_samples or framed >= num_samples + SHORT.n_fft


def test_the_number_of_threads_changes_no_bit():
    program = (
        "import numpy as np, hashlib; from qvae_jax.audio.host_logmel import host_log_mel; "
        "sound = np.random.default_rng(0).uniform(-1, 1, 320_000).astype(np.float32); "
        "print(hashlib.sha256(host_log_mel(sound).tobytes()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            env={"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1
