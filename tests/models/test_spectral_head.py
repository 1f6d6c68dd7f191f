"""From channels to spectra: the parts' bounds, their sum, its power, and the limit of samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from filled import error
from forms import noise as normal
from qvae_jax.audio import inverse_stft
from qvae_jax.models import noise, spectral_head
from qvae_jax.models.spectral_head import (
    LIMIT,
    LINEAR_UP_TO,
    LOUDEST,
    NOISE_AT_FIRST,
    Parts,
    SpectralHead,
)

HOP = 243
BINS = inverse_stft.num_bins(HOP)
WINDOW = inverse_stft.HOPS_PER_WINDOW * HOP
SEEDS = np.arange(16, dtype=np.uint32).reshape(8, 2)


@functools.partial(jax.jit, static_argnums=2)
def spectrum(parts, seeds, hop_length, excited=None):
    white = spectral_head.white_noise(seeds, parts.free.shape[-2], hop_length)
    return spectral_head.spectrum(parts, white, hop_length, excited)


@pytest.mark.parametrize(("hop", "excited"), [(243, True), (243, False), (486, False)])
def test_every_bin_has_magnitudes_and_a_phase(hop, excited):
    head = SpectralHead(6, hop, excited=excited, rng=np.random.default_rng(0))
    parts = head(normal(2, 3, 6))
    shape = (2, 3, 2 * hop + 1)
    assert parts.free.shape == parts.phase.shape == parts.noise.shape == shape
    for magnitudes in (parts.free, parts.noise):
        assert np.all(magnitudes > 0)
    # At first there is less noise than anything else.
    assert np.median(parts.noise) < 2 * np.exp(NOISE_AT_FIRST) * np.median(parts.free)
    assert (parts.excitation is not None) == excited
    assert not excited or parts.excitation.shape == shape


def test_it_is_computed_in_float32_whatever_it_is_given():
    head = SpectralHead(6, HOP, excited=True, rng=np.random.default_rng(0))
    x = normal(1, 2, 6).astype(jnp.bfloat16)
    ours, wide = head(x), head(x.astype(np.float32))
    for part, in_float32 in zip(jax.tree.leaves(ours), jax.tree.leaves(wide), strict=True):
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, in_float32)


def test_magnitudes_are_bounded_smoothly():
    logarithms = np.linspace(-30, 60, 901, dtype=np.float32)
    magnitudes, slopes = jax.vmap(jax.value_and_grad(spectral_head.magnitude))(logarithms)
    quiet = logarithms < LOUDEST - 8
    np.testing.assert_allclose(magnitudes[quiet], np.exp(logarithms[quiet]), rtol=1e-3)
    assert np.all(magnitudes <= np.float32(np.exp(LOUDEST)) * (1 + 1e-6))
    assert np.all(np.diff(magnitudes) >= 0)
    assert np.isfinite(slopes).all() and np.all(slopes >= 0)
    assert slopes.max() < np.exp(LOUDEST)
    extremes = spectral_head.magnitude(np.float32([-1e30, 1e30]))
    np.testing.assert_allclose(extremes, [0, np.exp(LOUDEST)], rtol=1e-6)


def _parts(batch: int, frames: int, **changes) -> Parts:
    """Parts that are silent but for these."""
    zeros = np.zeros((batch, frames, BINS), np.float32)
    silent = {"free": zeros, "phase": zeros, "noise": zeros}
    given = {name: np.broadcast_to(array, zeros.shape) for name, array in changes.items()}
    rest = {name: None for name in Parts._fields if name not in silent}
    return Parts(**(rest | silent | given))


def test_without_its_norm_it_is_linear_in_what_frames_differ_by():
    head = SpectralHead(6, HOP, normalised=False, rng=np.random.default_rng(0))
    x = normal(1, 2, 6)
    phases = [np.asarray(head(factor * x).phase, np.float64) for factor in (0, 1, 3)]
    assert error(phases[2] - phases[0], 3 * (phases[1] - phases[0])) < 1e-5
    normed = SpectralHead(6, HOP, rng=np.random.default_rng(0))
    assert error(np.asarray(normed(3 * x).phase), normed(x).phase) < 1e-4


def _plain_frames(samples: np.ndarray) -> np.ndarray:
    """The frames in which white noise of unit variance has unit power, in double precision."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    count = samples.shape[-1] // HOP - 2 * inverse_stft.MARGIN
    first = inverse_stft.MARGIN * HOP - (WINDOW - HOP) // 2
    starts = first + HOP * np.arange(count)
    frames = np.stack([samples[:, start : start + WINDOW] for start in starts], axis=1)
    found = np.fft.rfft(frames * window) / np.sqrt(np.sum(window**2))
    found[..., :2] = 0
    return found


def test_the_parts_add_up():
    free, phase, of_noise, excitation = (normal(2, 4, BINS, seed=seed) for seed in range(4))
    excited = normal(2, (4 + 2 * inverse_stft.MARGIN) * HOP, seed=9)
    parts = _parts(2, 4, free=free, phase=phase, noise=of_noise, excitation=excitation)
    frames_of = jax.jit(spectral_head.complex_frames_of, static_argnums=1)
    ours, power = spectrum(parts, SEEDS[:2], HOP, frames_of(excited, HOP))
    white = np.asarray(noise.white(SEEDS[:2], 4 + 2 * inverse_stft.MARGIN, HOP), np.float64)
    of_excitation = _plain_frames(excited)
    expected = (
        free * np.exp(1j * phase.astype(np.float64))
        + of_noise * _plain_frames(white)
        + excitation * of_excitation
    )
    expected[..., :2] = 0
    assert error(np.real(ours), expected.real) < 1e-5
    assert error(np.imag(ours), expected.imag) < 1e-5
    total = free**2 + of_noise**2 + excitation**2 * np.abs(of_excitation) ** 2
    total[..., :2] = 0
    assert error(power, total) < 1e-5


def test_flat_noise_is_white_and_as_loud_in_the_first_frame_as_in_any():
    frames, power = spectrum(_parts(8, 12, noise=1.0), SEEDS, HOP)
    of_frames = np.mean(np.abs(frames[..., 2:]) ** 2, axis=(0, 2))
    # Of 8 rows and 485 bins, of which neighbours are alike.
    np.testing.assert_allclose(of_frames, 1.0, atol=0.1)
    np.testing.assert_array_equal(power[..., 2:], 1.0)
    sound = np.asarray(inverse_stft.inverse(frames, HOP)).reshape(8, 12, HOP)
    white = np.asarray(noise.white(SEEDS, 12 + 2 * inverse_stft.MARGIN, HOP)).reshape(8, -1, HOP)
    inside = white[:, inverse_stft.MARGIN : -inverse_stft.MARGIN] / np.sqrt(WINDOW * 3 / 8)
    # All of it but what lies around 0 Hz.
    assert np.mean((sound - inside) ** 2) < 0.01 * np.mean(inside**2)


def test_a_frame_has_no_offset_whatever_its_phases():
    """A bin's cosine, windowed, has neighbours: the lowest bins would make an offset together."""
    phase = normal(BINS)  # the same in each frame, so that what a frame has adds up
    frames, _ = spectrum(_parts(2, 9, free=1.0, phase=phase), SEEDS[:2], HOP)
    sound = np.asarray(inverse_stft.inverse(frames, HOP), np.float64)[0]
    inside = sound[2 * HOP : -2 * HOP]
    assert abs(inside.mean()) < 1e-3 * np.sqrt(np.mean(inside**2))


def test_more_frames_do_not_change_the_first_ones():
    few, _ = spectrum(_parts(2, 3, noise=1.0), SEEDS[:2], HOP)
    many, _ = spectrum(_parts(2, 9, noise=1.0), SEEDS[:2], HOP)
    np.testing.assert_allclose(few, many[:, :3], atol=1e-6)


def test_what_is_quiet_is_left_as_it_is_and_what_is_loud_stays_below_full_scale():
    samples = np.float32([-100, -1.5, -0.95, -LINEAR_UP_TO, -0.3, 0, 1e-9, 0.9, 0.95, 1.2, 100])
    ours = np.asarray(spectral_head.limited(samples))
    quiet = np.abs(samples) <= LINEAR_UP_TO
    np.testing.assert_array_equal(ours[quiet], samples[quiet])
    np.testing.assert_array_equal(ours, -np.asarray(spectral_head.limited(-samples)))
    rest = LIMIT - LINEAR_UP_TO
    beyond = np.abs(samples[~quiet]) - LINEAR_UP_TO
    expected = np.sign(samples[~quiet]) * (LINEAR_UP_TO + rest * np.tanh(beyond / rest))
    np.testing.assert_allclose(ours[~quiet], expected, rtol=1e-6)
    assert np.abs(ours).max() == pytest.approx(LIMIT, rel=1e-6) and np.abs(ours).max() < 1


def test_the_limit_has_no_corner():
    samples = np.linspace(-2, 2, 4001, dtype=np.float32)
    slopes = jax.vmap(jax.grad(spectral_head.limited))(samples)
    assert np.isfinite(slopes).all() and slopes.min() >= 0 and slopes.max() <= 1
    assert np.abs(np.diff(slopes)).max() < 0.02  # in steps of 0.001
