"""From channels to spectra: the parts' bounds, their sum, its power, and the limit of samples."""

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
    FilterHead,
    Filters,
    Free,
    FreeHead,
)

HOP = 243
BINS = inverse_stft.num_bins(HOP)
WINDOW = inverse_stft.HOPS_PER_WINDOW * HOP
SEEDS = np.arange(16, dtype=np.uint32).reshape(8, 2)


HEADS = {"free": FreeHead, "filter": FilterHead}


@jax.jit
def of_free(parts, seeds):
    white = spectral_head.white_noise(seeds, parts.noise.shape[-2], HOP)
    return spectral_head.of_free(parts, white, HOP)


@jax.jit
def of_filters(filters, seeds, excited):
    white = spectral_head.white_noise(seeds, filters.noise.shape[-2], HOP)
    excited = spectral_head.complex_frames_of(excited, HOP)
    return spectral_head.of_filters(filters, white, excited, HOP)


@pytest.mark.parametrize("hop", [243, 486])
@pytest.mark.parametrize("kind", HEADS)
def test_every_bin_has_magnitudes(kind, hop):
    head = HEADS[kind](6, hop, rng=np.random.default_rng(0))
    parts = head(normal(2, 3, 6))
    assert all(part.shape == (2, 3, 2 * hop + 1) for part in parts)
    other = parts.magnitude if kind == "free" else parts.excitation
    assert np.all(parts.noise > 0) and np.all(other > 0)
    # At first there is less noise than anything else.
    assert np.median(parts.noise) < 2 * np.exp(NOISE_AT_FIRST) * np.median(other)


@pytest.mark.parametrize("kind", HEADS)
def test_it_is_computed_in_float32_whatever_it_is_given(kind):
    head = HEADS[kind](6, HOP, rng=np.random.default_rng(0))
    x = normal(1, 2, 6).astype(jnp.bfloat16)
    for part, in_float32 in zip(head(x), head(x.astype(np.float32)), strict=True):
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


def _whole(*shape: int, value: float = 1.0) -> np.ndarray:
    return np.full(shape, value, np.float32)


def test_phases_are_linear_in_what_frames_differ_by_and_filters_are_not():
    free = FreeHead(6, HOP, rng=np.random.default_rng(0))
    x = normal(1, 2, 6)
    phases = [np.asarray(free(factor * x).phase, np.float64) for factor in (0, 1, 3)]
    assert error(phases[2] - phases[0], 3 * (phases[1] - phases[0])) < 1e-5
    filters = FilterHead(6, HOP, rng=np.random.default_rng(0))
    assert error(np.asarray(filters(3 * x).excitation), filters(x).excitation) < 1e-4


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


def _silent_below(frames: np.ndarray) -> np.ndarray:
    frames[..., :2] = 0
    return frames


def _complex_error(ours, expected: np.ndarray) -> float:
    return max(error(np.real(ours), expected.real), error(np.imag(ours), expected.imag))


def _white_frames(count: int) -> np.ndarray:
    white = noise.white(SEEDS[:2], count + 2 * inverse_stft.MARGIN, HOP)
    return _plain_frames(np.asarray(white, np.float64))


def test_free_parts_add_up():
    magnitude, phase, of_noise = (normal(2, 4, BINS, seed=seed) for seed in range(3))
    ours = of_free(Free(magnitude, phase, of_noise), SEEDS[:2])
    expected = magnitude * np.exp(1j * phase.astype(np.float64)) + of_noise * _white_frames(4)
    assert _complex_error(ours, _silent_below(expected)) < 1e-5


def test_filtered_parts_add_up():
    of_noise, excitation = (normal(2, 4, BINS, seed=seed) for seed in range(2))
    excited = normal(2, (4 + 2 * inverse_stft.MARGIN) * HOP, seed=9)
    ours, power = of_filters(Filters(of_noise, excitation), SEEDS[:2], excited)
    of_excitation = _plain_frames(excited)
    expected = of_noise * _white_frames(4) + excitation * of_excitation
    assert _complex_error(ours, _silent_below(expected)) < 1e-5
    total = of_noise**2 + excitation**2 * np.abs(of_excitation) ** 2
    assert error(power, _silent_below(total)) < 1e-5


def _noise_alone(batch: int, frames: int) -> tuple[jax.Array, jax.Array]:
    excited = _whole(batch, (frames + 2 * inverse_stft.MARGIN) * HOP)
    flat = Filters(_whole(batch, frames, BINS), _whole(batch, frames, BINS, value=0.0))
    return of_filters(flat, SEEDS[:batch], excited)


def test_flat_noise_is_white_and_as_loud_in_the_first_frame_as_in_any():
    frames, power = _noise_alone(8, 12)
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
    # The same in each frame, so that what a frame has adds up
    phase = np.broadcast_to(normal(BINS), (2, 9, BINS))
    of_noise = _whole(2, 9, BINS, value=0.0)
    frames = of_free(Free(_whole(2, 9, BINS), phase, of_noise), SEEDS[:2])
    sound = np.asarray(inverse_stft.inverse(frames, HOP), np.float64)[0]
    inside = sound[2 * HOP : -2 * HOP]
    assert abs(inside.mean()) < 1e-3 * np.sqrt(np.mean(inside**2))


def test_more_frames_do_not_change_the_first_ones():
    (few, _), (many, _) = _noise_alone(2, 3), _noise_alone(2, 9)
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
