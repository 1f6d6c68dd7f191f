"""The STFT against NumPy's in double precision and against torch's, and its gradients."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from filled import error
from qvae_jax.audio import stft
from qvae_jax.system import platforms

# samples, window, hop: the losses' own, the shortest that can be reflected, odd lengths, no overlap
SIZES = [
    (59049, 512, 128),
    (59049, 4096, 1024),
    (2049, 4096, 1024),
    (257, 512, 128),
    (1000, 64, 17),
    (130, 64, 64),
    (200, 64, 100),
]

FRAME = jax.jit(stft.frame, static_argnums=(1, 2))


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _plain_frames(samples: np.ndarray, length: int, hop: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(samples, length, axis=-1)[..., ::hop, :]


def _plain_stft(samples: np.ndarray, window_length: int, hop: int) -> np.ndarray:
    half = window_length // 2
    padded = np.pad(samples.astype(np.float64), [(0, 0), (half, half)], mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_length) / window_length)
    return np.fft.rfft(_plain_frames(padded, window_length, hop) * window)


def _complex_error(ours, theirs) -> float:
    return max(error(part(ours), part(theirs)) for part in (np.real, np.imag))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 40),
    hop=st.integers(1, 50),
    surplus=st.integers(0, 60),
    rows=st.booleans(),
)
def test_frame_cuts_what_a_sliding_window_cuts(length, hop, surplus, rows):
    samples = _noise(*((2, 3) if rows else ()), length + surplus)
    np.testing.assert_array_equal(FRAME(samples, length, hop), _plain_frames(samples, length, hop))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 40),
    hop=st.integers(1, 50),
    surplus=st.integers(0, 60),
    num_zeros=st.integers(0, 9),
)
def test_frame_multiplies_by_the_window_and_appends_its_zeros(length, hop, surplus, num_zeros):
    samples, window = _noise(2, length + surplus), _noise(length, seed=1)
    plain = _plain_frames(samples, length, hop) * window
    ours = FRAME(samples, length, hop, np.pad(window, (0, num_zeros)))
    np.testing.assert_array_equal(ours, np.pad(plain, [(0, 0), (0, 0), (0, num_zeros)]))


@pytest.mark.parametrize(("num_samples", "length", "hop"), [(50, 16, 4), (50, 16, 5), (50, 7, 9)])
def test_gradient_of_frame_counts_the_frames_over_each_sample(num_samples, length, hop):
    covered = np.zeros(num_samples)
    for start in range(0, num_samples - length + 1, hop):
        covered[start : start + length] += 1
    gradient = jax.grad(lambda x: jnp.sum(stft.frame(x, length, hop)))(jnp.ones(num_samples))
    np.testing.assert_array_equal(gradient, covered)


def test_frame_refuses_samples_shorter_than_one_frame():
    with pytest.raises(ValueError, match="15 samples are shorter than one frame of 16"):
        stft.frame(jnp.zeros((2, 15)), 16, 4)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("length", [2, 3, 800, 801, 4096])
def test_hann_window(length, periodic):
    window = stft.hann_window(length, periodic=periodic)
    assert window.dtype == np.float32
    expected = scipy.signal.get_window("hann", length, fftbins=periodic)
    np.testing.assert_allclose(window, expected, atol=1e-7)


@pytest.mark.parametrize(("num_samples", "window_length", "hop"), SIZES)
def test_stft_equals_numpy_in_double_precision(num_samples, window_length, hop):
    samples = _noise(2, num_samples)
    spectrum = stft.stft(samples, window_length, hop)
    assert spectrum.shape == (2, 1 + num_samples // hop, window_length // 2 + 1)
    assert spectrum.dtype == jnp.complex64
    assert _complex_error(spectrum, _plain_stft(samples, window_length, hop)) < 1e-6


@pytest.mark.parametrize(("num_samples", "window_length", "hop"), SIZES)
def test_stft_equals_torch(num_samples, window_length, hop):
    pytest.importorskip("torch", reason="compares with torch.stft")
    torch, reference = importlib.import_module("torch"), importlib.import_module("torch_reference")
    samples = _noise(2, num_samples, seed=1)
    theirs = reference.stft(torch.from_numpy(samples), window_length, hop).numpy()
    assert _complex_error(stft.stft(samples, window_length, hop), theirs) < 1e-6


@pytest.mark.parametrize(("num_samples", "window_length", "hop"), [*SIZES, (90, 63, 20), (3, 2, 1)])
def test_gradient_of_stft_equals_that_of_the_plain_form(num_samples, window_length, hop):
    samples = _noise(2, num_samples)
    spectrum = jax.eval_shape(lambda x: stft.stft(x, window_length, hop), samples)
    weights = _noise(2, *spectrum.shape, seed=1)

    @jax.jit
    @jax.grad
    def gradient(samples):
        spectrum = stft.stft(samples, window_length, hop)
        return jnp.sum(spectrum.real * weights[0] + spectrum.imag * weights[1])

    assert platforms.samples_apart()
    ours = gradient(samples)
    with platforms.compiling_for("cuda"):
        assert error(ours, gradient(samples)) < 1e-6


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    hop=st.sampled_from([1, 2, 16, 25]),
    blocks=st.sampled_from([1, 2, 4]),
    surplus=st.integers(1, 300),
    seed=st.integers(0, 9),
)
def test_energy_is_the_sum_of_the_stft_s_power(hop, blocks, surplus, seed):
    window_length = hop * blocks * (1 if hop * blocks % 2 == 0 else 2)
    samples = _noise(3, window_length // 2 + surplus, seed=seed)

    def plain(samples):
        return jnp.sum(stft.power(stft.stft(samples, window_length, hop)), axis=(-2, -1))

    def ours(samples):
        return stft.energy(samples, window_length, hop)

    def with_gradient(energy):
        total = lambda x: (jnp.sum(energy(x)), energy(x))
        (_, found), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(samples)
        return found, gradient

    (found, gradient), (expected, expected_gradient) = map(with_gradient, (ours, plain))
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    assert error(gradient, expected_gradient) < 2e-6


def test_stft_refuses_too_few_samples_to_reflect():
    with pytest.raises(ValueError, match="256 samples are too few to reflect 256"):
        stft.stft(jnp.zeros((1, 256)), 512, 128)


def test_power_and_magnitude():
    spectrum = jnp.asarray([3 + 4j, -5j, 0, 1e-15 + 0j], jnp.complex64)
    np.testing.assert_allclose(stft.power(spectrum), [25, 25, 0, 1e-30], rtol=1e-6)
    np.testing.assert_allclose(stft.magnitude(spectrum), [5, 5, 0, 1e-15], rtol=1e-6)


def test_gradient_of_safe_sqrt():
    gradient = jax.vmap(jax.grad(stft.safe_sqrt))(jnp.asarray([4.0, 1e-20, 0.0]))
    np.testing.assert_allclose(gradient, [0.25, 0.5e10, 0.0], rtol=1e-6)


def test_gradient_of_magnitude_is_zero_in_digital_silence_as_in_torch():
    loudness = lambda x: jnp.sum(stft.magnitude(stft.stft(x, 64, 16)))
    half_silent = jnp.concatenate([jnp.zeros((1, 200)), _noise(1, 200)], axis=1)
    gradient = jax.grad(loudness)(half_silent)
    np.testing.assert_array_equal(gradient[:, :128], 0.0)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[:, 250:]).min() > 0
