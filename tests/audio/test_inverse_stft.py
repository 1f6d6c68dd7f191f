"""Frames in the middle of hops, and the sound of frames, beside SciPy's and a plain sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from forms import noise
from qvae_jax.audio import inverse_stft
from qvae_jax.audio.inverse_stft import HOPS_PER_WINDOW, MARGIN, framed, num_bins

HOPS = (243, 486)  # at 22,050 and 44,100 Hz
inverse = jax.jit(inverse_stft.inverse, static_argnums=1)


def _spectra(num_frames: int, hop: int, batch: int = 2, seed: int = 0):
    """A sound [batch, frames·hop] without anything beyond its ends, and its frames' spectra."""
    samples = noise(batch, num_frames * hop, seed=seed)
    beyond = np.pad(samples, [(0, 0), (MARGIN * hop, MARGIN * hop)])
    return samples, np.fft.rfft(framed(beyond, hop)).astype(np.complex64)


def _other_frames(num_frames: int, hop: int, batch: int = 2) -> np.ndarray:
    """Complex frames that are those of no sound."""
    shape = (batch, num_frames, num_bins(hop))
    return (noise(*shape) + 1j * noise(*shape, seed=1)).astype(np.complex64)


def _slow_inverse(spectrum: np.ndarray, hop: int) -> np.ndarray:
    """The same in float64, frame after frame, of [frames, bins]."""
    length = HOPS_PER_WINDOW * hop
    window = scipy.signal.get_window("hann", length)  # periodic
    begin = [n * hop - (length - hop) // 2 for n in range(len(spectrum))]
    total, covered = np.zeros((2, len(spectrum) * hop + 2 * length))
    for first, frame in zip(begin, np.fft.irfft(spectrum, length), strict=True):
        place = slice(first + length, first + 2 * length)
        total[place] += frame * window
        covered[place] += window**2
    inside = slice(length, length + len(spectrum) * hop)
    return total[inside] / covered[inside]


@pytest.mark.parametrize("hop", HOPS)
def test_frames_are_windowed_and_lie_in_the_middle_of_their_hops(hop):
    samples = noise(1, (3 + 2 * MARGIN) * hop)
    frames = framed(samples, hop)
    assert frames.shape == (1, 3, HOPS_PER_WINDOW * hop)
    window = scipy.signal.get_window("hann", HOPS_PER_WINDOW * hop)
    for number, frame in enumerate(frames[0]):
        # As far before its hop's first sample as behind its last, to a sample.
        first = (MARGIN + number) * hop - (3 * hop) // 2
        expected = samples[0, first : first + len(window)] * window
        np.testing.assert_allclose(frame, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("num_frames", "hop"), [(1, 243), (2, 243), (4, 243), (27, 243), (1, 486), (5, 486)]
)
def test_the_frames_of_a_sound_give_the_sound(num_frames, hop):
    samples, spectrum = _spectra(num_frames, hop)
    assert spectrum.shape == (2, num_frames, num_bins(hop))
    np.testing.assert_allclose(inverse(spectrum, hop), samples, atol=1e-6 * np.abs(samples).max())
    every = np.ones((2, num_frames), bool)
    np.testing.assert_allclose(
        inverse(spectrum, hop, every), samples, atol=1e-6 * np.abs(samples).max()
    )


@pytest.mark.parametrize("hop", HOPS)
def test_frames_of_no_sound_are_windowed_again_and_weighted(hop):
    spectrum = _other_frames(7, hop)
    expected = np.stack([_slow_inverse(of_one, hop) for of_one in spectrum])
    largest = np.abs(expected).max()
    np.testing.assert_allclose(inverse(spectrum, hop), expected, atol=1e-6 * largest)


@pytest.mark.parametrize("hop", HOPS)
def test_between_the_middles_of_its_frames_it_is_that_of_scipy(hop):
    spectrum, length = _other_frames(9, hop, batch=1)[0], HOPS_PER_WINDOW * hop
    _, theirs = scipy.signal.istft(spectrum.T, window="hann", nperseg=length, noverlap=length - hop)
    # SciPy divides by the window's sum, and its sound begins in the middle of the first frame.
    theirs = theirs / (length / 2)
    middle = length // 2 - (length - hop) // 2
    ours = np.asarray(inverse(spectrum, hop))[middle:][: len(theirs)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("hop", HOPS)
def test_frames_after_the_last_are_silent_and_change_nothing_before(hop):
    spectrum, counts = _other_frames(9, hop, batch=3), np.array([4, 7, 9])
    valid = np.arange(9) < counts[:, None]
    poisoned = np.where(valid[..., None], spectrum, np.complex64(np.nan))
    padded = np.asarray(inverse(poisoned, hop, valid))
    for of_one, count, sound in zip(spectrum, counts, padded, strict=True):
        alone = inverse(of_one[:count], hop)
        np.testing.assert_allclose(sound[: count * hop], alone, atol=1e-6)
        assert not sound[count * hop :].any()


def test_without_a_valid_frame_it_is_silent():
    assert not np.any(inverse(_other_frames(3, 8), 8, np.zeros((2, 3), bool)))


def test_the_outer_bins_count_as_real():
    spectrum = _other_frames(5, 243)
    turned = spectrum.copy()
    turned[..., [0, -1]] += 5j
    np.testing.assert_array_equal(inverse(spectrum, 243), inverse(turned, 243))


def test_axes_before_the_frames_are_kept():
    spectrum = _other_frames(5, 8, batch=6)
    together = inverse(spectrum.reshape(2, 3, 5, -1), 8)
    np.testing.assert_array_equal(together.reshape(6, -1), inverse(spectrum, 8))


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_finite_and_none_goes_to_frames_after_the_last(masked):
    valid = np.arange(6) < np.array([[6], [3]]) if masked else None

    def energy(real, imaginary):
        return jnp.sum(jnp.square(inverse(jax.lax.complex(real, imaginary), 8, valid)))

    spectrum = _other_frames(6, 8)
    for gradient in jax.jit(jax.grad(energy, (0, 1)))(spectrum.real, spectrum.imag):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient[:, :3]).max(axis=(1, 2)).min() > 0
        assert np.any(gradient[1, 3:]) == (not masked)


def test_the_margin_is_enough_for_every_frame():
    assert inverse_stft._reach(243) <= MARGIN * 243
