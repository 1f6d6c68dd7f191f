"""The log-mel front-end against the golden one and against a plain NumPy one of every frame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import golden_rules
from filled import error
from qvae_jax.audio import logmel, mel
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.system import platforms

TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def waveforms():
    return golden_rules.signals(2, 320_000, 32_000, 1)


@pytest.fixture(scope="module")
def log_mel():
    return jax.jit(logmel.log_mel)


def _plain_log_mel(waveform: np.ndarray) -> np.ndarray:
    """The same in double precision, its window laid into the middle of the FFT's buffer."""
    x = waveform.astype(np.float64)
    padded = np.pad(x[:, 1:] - 0.97 * x[:, :-1], [(0, 0), (512, 512)], mode="reflect")
    window = np.zeros(1024)
    window[112:912] = np.hanning(800)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024, axis=-1)[:, ::320]
    energies = np.abs(np.fft.rfft(frames * window)) ** 2
    bank = mel.kaldi_mel_bank(128, 1024, 32_000, 0.0, 15_000.0)
    return (np.log(energies @ bank + 1e-5).swapaxes(1, 2) + 4.5) / 5


def test_rule_one_rebuilds_the_golden_input(waveforms):
    golden = golden_rules.load("frontend")
    np.testing.assert_allclose(waveforms[:, :64], golden["waveform_head"], rtol=0, atol=1e-6)


def test_equals_golden(waveforms, log_mel):
    golden = golden_rules.load("frontend")
    ours = log_mel(waveforms)
    assert ours.shape == tuple(golden["mel_shape"]) == (2, 128, 1000)
    np.testing.assert_allclose(ours[:, :, ::8], golden["mel"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(jnp.mean(ours, (1, 2)), golden["mel_mean"], rtol=0, atol=TOLERANCE)


def test_equals_double_precision_in_every_frame(waveforms, log_mel):
    ours = log_mel(waveforms)
    np.testing.assert_allclose(ours, _plain_log_mel(waveforms), rtol=0, atol=TOLERANCE)


def test_of_silence_and_of_a_constant(log_mel):
    silence = log_mel(np.zeros((2, 320_000), np.float32))
    np.testing.assert_allclose(silence, (np.log(1e-5) + 4.5) / 5, rtol=1e-6)
    constant = np.full((2, 320_000), 0.5, np.float32)
    ours = log_mel(constant)
    np.testing.assert_allclose(ours, _plain_log_mel(constant), rtol=0, atol=TOLERANCE)


def test_louder_by_a_factor_is_a_shift(waveforms, log_mel):
    quiet, loud = log_mel(waveforms), log_mel(2 * waveforms)
    shift = np.asarray(loud - quiet)
    # The floor of 1e-5 inside the logarithm only ever lessens the shift.
    assert shift.max() <= np.log(4) / 5 + 1e-5
    np.testing.assert_allclose(np.quantile(shift, 0.9), np.log(4) / 5, rtol=1e-3)


def test_each_example_is_its_own(waveforms, log_mel):
    both, swapped = log_mel(waveforms), log_mel(waveforms[::-1])
    np.testing.assert_allclose(both, swapped[::-1], rtol=0, atol=1e-5)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(duration_s=st.floats(0.05, 12.0), hop_length=st.sampled_from([160, 320, 480, 800]))
def test_num_frames_is_the_number_of_frames(duration_s, hop_length):
    front_end = FrontEnd(duration_s=duration_s, hop_length=hop_length)
    waveform = jax.ShapeDtypeStruct((3, front_end.num_samples), jnp.float32)
    shape = jax.eval_shape(lambda x: logmel.log_mel(x, front_end), waveform).shape
    assert shape == (3, 128, front_end.num_frames)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    duration_s=st.floats(0.04, 0.3),
    hop_length=st.sampled_from([160, 320, 801]),
    num_mels=st.sampled_from([1, 40, 128]),
    seed=st.integers(0, 9),
)
def test_sample_by_sample_equals_the_plain_form(batch, duration_s, hop_length, num_mels, seed):
    front_end = FrontEnd(duration_s=duration_s, hop_length=hop_length, num_mels=num_mels)
    random = np.random.default_rng(seed)
    waveform = random.uniform(-1, 1, (batch, front_end.num_samples))

    @jax.jit
    def with_gradient(waveform):
        loudness = lambda x: jnp.sum(logmel.log_mel(x, front_end))
        return logmel.log_mel(waveform, front_end), jax.grad(loudness)(waveform)

    # In double precision, for float32's rounding depends on the rows that a transform is given.
    with jax.enable_x64(True):
        ours = with_gradient(waveform)
        with platforms.compiling_for("cuda"):
            theirs = with_gradient(waveform)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == np.float64
        assert error(mine, other) < 1e-9


def test_gradient_is_finite_in_silence():
    front_end = FrontEnd(duration_s=0.1)
    silence = jnp.zeros((1, front_end.num_samples))
    gradient = jax.grad(lambda x: jnp.sum(logmel.log_mel(x, front_end)))(silence)
    assert np.isfinite(gradient).all()
