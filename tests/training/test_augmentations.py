"""What is done to sounds in training: each function of (key, batch) by what it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.logmel import log_mel
from qvae_jax.training import augmentations

KEY = jax.random.key(0)
WAVEFORMS = np.random.default_rng(0).standard_normal((6, 400)).astype(np.float32)
LOGMELS = np.random.default_rng(1).standard_normal((6, 12, 50)).astype(np.float32)
EACH = [
    (augmentations.roll, WAVEFORMS, (50,)),
    (augmentations.gain, WAVEFORMS, (10.0,)),
    (augmentations.noise, WAVEFORMS, (0.0, 20.0)),
    (augmentations.mask_frequencies, LOGMELS, (8,)),
    (augmentations.mask_times, LOGMELS, (30,)),
    (augmentations.drop_or_double_frames, LOGMELS, (0.3,)),
    (augmentations.mixstyle, LOGMELS, (1.0, 0.4)),
]


@pytest.mark.parametrize(("vary", "batch", "settings"), EACH)
def test_draws_depend_on_the_key_alone_and_differ_by_row(vary, batch, settings):
    same = np.stack([batch[0]] * len(batch))
    given = batch if vary is augmentations.mixstyle else same
    first, again = vary(KEY, given, *settings), vary(KEY, given, *settings)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, vary(jax.random.key(1), given, *settings))
    assert not np.array_equal(first[0], first[1]) and first.shape == batch.shape


@pytest.mark.parametrize(("vary", "batch", "settings"), EACH[:-1])
def test_a_row_does_not_depend_on_the_others(vary, batch, settings):
    alone = vary(KEY, batch[:2], *settings)
    np.testing.assert_array_equal(vary(KEY, batch, *settings)[:2], alone)


def test_a_roll_keeps_every_sample():
    rolled = np.asarray(augmentations.roll(KEY, WAVEFORMS, 20))
    shifts = [
        [s for s in range(-20, 21) if np.array_equal(np.roll(row, s), found)]
        for row, found in zip(WAVEFORMS, rolled)
    ]
    assert all(len(found) == 1 for found in shifts) and len({s for (s,) in shifts}) > 1


def test_gain_stays_within_its_range():
    ratios = 20 * np.log10(np.asarray(augmentations.gain(KEY, WAVEFORMS, 10.0)) / WAVEFORMS)
    assert np.ptp(ratios, axis=1).max() < 1e-3
    assert np.abs(ratios).max() <= 10 and np.ptp(ratios) > 3


def test_noise_has_its_ratio_to_what_is_heard():
    padded = np.pad(np.ones((4, 3000), np.float32), [(0, 0), (0, 9000)])
    added = np.asarray(augmentations.noise(KEY, padded, 20.0, 20.0)) - padded
    np.testing.assert_allclose(added.std(axis=1), 0.1, rtol=0.05)


def test_masks_are_one_stretch_that_is_shorter_than_the_longest():
    same = np.zeros((200, 12, 50), np.float32)
    for mask, axis, longest in (
        (augmentations.mask_frequencies, 1, 8),
        (augmentations.mask_times, 2, 30),
    ):
        masked = np.asarray(mask(KEY, same, longest)) == np.float32(augmentations.MASKED)
        places = masked.all(axis=3 - axis)
        assert (places == masked.any(axis=3 - axis)).all()
        starts = (np.diff(places.astype(int), axis=1, prepend=0) == 1).sum(axis=1)
        lengths = places.sum(axis=1)
        assert starts.max() == 1 and lengths.max() == longest - 1 and lengths.min() == 0
        assert lengths.mean() == pytest.approx((longest - 1) / 2, rel=0.15)


def test_frames_are_dropped_or_doubled_in_order():
    counting = np.broadcast_to(np.arange(50, dtype=np.float32), (100, 3, 50))
    found = np.asarray(augmentations.drop_or_double_frames(KEY, counting, 0.2))[:, 0]
    steps = np.diff(found, axis=1)
    assert (steps >= 0).all() and {0, 1, 2} <= set(steps.ravel())
    inner = steps[:, :30]  # the end may be filled up
    assert (inner == 1).mean() == pytest.approx(0.8, abs=0.06)
    np.testing.assert_array_equal(augmentations.drop_or_double_frames(KEY, counting, 0.0), counting)


def test_mixstyle_mixes_the_statistics_of_bands():
    rows = np.arange(6, dtype=np.float32)[:, None, None]
    shifted = LOGMELS * (1 + rows) + 3 * rows
    found = np.asarray(augmentations.mixstyle(KEY, shifted, 1.0, 0.4))
    for of in (np.mean, np.std):
        before, after = of(shifted, axis=2), of(found, axis=2)
        assert (after > before.min(axis=0) - 1e-3).all() and (
            after < before.max(axis=0) + 1e-3
        ).all()
        assert np.abs(after - before).max() > 0.5
    normal = lambda x: (x - x.mean(axis=2, keepdims=True)) / x.std(axis=2, keepdims=True)
    np.testing.assert_allclose(normal(found), normal(shifted), atol=1e-3)
    unmixed = augmentations.mixstyle(KEY, shifted, 0.0, 0.4)
    np.testing.assert_array_equal(unmixed, shifted)


def test_no_gradient_passes_through_mixed_statistics():
    total = lambda x: jnp.sum(augmentations.mixstyle(KEY, x, 1.0, 0.4))
    gradient = np.asarray(jax.grad(total)(LOGMELS))
    assert np.ptp(gradient, axis=2).max() < 1e-4  # each band is scaled, by one number


@pytest.mark.parametrize("edges_hz", [(0.0, 15_000.0), (9.0, 14_001.0), (0.0, 16_000.0)])
def test_the_traced_mel_bank_is_kaldis(edges_hz):
    front_end = FrontEnd(low_hz=edges_hz[0], high_hz=edges_hz[1])
    bank = jax.jit(lambda low, high: augmentations.mel_bank(FrontEnd(), low, high))(*edges_hz)
    np.testing.assert_allclose(bank, front_end.mel_bank(), rtol=0, atol=2e-4)


def test_jitter_moves_the_edges_within_their_ranges():
    front_end = FrontEnd(duration_s=0.1, num_mels=16)
    jittered = jax.jit(lambda key: augmentations.jittered_mel_bank(key, front_end, 10, 2000))
    banks = [np.asarray(jittered(jax.random.key(n))) for n in range(20)]
    hz = np.arange(513) * 32_000 / 1024
    upper = [hz[np.flatnonzero(bank[:, -1])[-1]] for bank in banks]
    assert min(upper) >= 13_900 and max(upper) <= 16_000 and np.ptp(upper) > 500
    still = augmentations.jittered_mel_bank(KEY, front_end, 0, 0)
    np.testing.assert_allclose(still, front_end.mel_bank(), rtol=0, atol=2e-4)
    waveform = WAVEFORMS[:1].repeat(8, axis=1)[:, : front_end.num_samples]
    heard = log_mel(waveform, front_end, still)
    np.testing.assert_allclose(heard, log_mel(waveform, front_end), atol=1e-4)
