"""Which curves a sound is rendered with, and which sounds are rendered together."""

import numpy as np
import pytest

from qvae_jax.audio.controls import CENTROID, LOUDNESS, PERIODICITY, PITCH
from qvae_jax.generation import gestures
from qvae_jax.generation.gestures import Steering, steering_of
from qvae_jax.generation.requests import LatentRequest
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.generation.steering import BUCKETS
from qvae_jax.models.steered import HIGHEST, LOWEST

VOICE = np.linspace([-50, 70, 50, 0], [-10, 90, 70, 1], 100).astype(np.float32)
GIVEN = np.broadcast_to(np.array([-30, 80, 60, 0.5], np.float32), (40, 4))
# The gesture head says -20 dB for a second, and then rests.
NATURAL_FRAMES = gestures.frames_of(1.0)
GESTURE = np.broadcast_to(np.array([-20, 75, 55, 0.75], np.float32), (243, 4)).copy()
GESTURE[NATURAL_FRAMES:, LOUDNESS] = -80


def head():
    return GESTURE[None], np.array([1.0], np.float32)


def curves(voice=VOICE, **asked) -> np.ndarray:
    [found] = Steering(**asked).curves([voice], head)
    return found


def test_a_voice_steers_as_it_is():
    np.testing.assert_array_equal(curves(), VOICE)


def test_the_head_is_not_asked_where_the_voice_says_all():
    [found] = Steering(duration=0.5).curves([VOICE], head=None)
    assert len(found) == gestures.frames_of(0.5)


@pytest.mark.parametrize(
    ("names", "of_voice"),
    [
        (("loudness",), [LOUDNESS]),
        (("centroid",), [CENTROID]),
        (("pitch",), [PITCH, PERIODICITY]),
        (("loudness", "pitch"), [LOUDNESS, PITCH, PERIODICITY]),
    ],
)
def test_what_does_not_steer_is_the_heads_natural_gesture_stretched(names, of_voice):
    found = curves(names=names)
    of_head = [number for number in range(4) if number not in of_voice]
    np.testing.assert_array_equal(found[:, of_voice], VOICE[:, of_voice])
    # Its rest after a second is no part of it.
    expected = np.broadcast_to(GESTURE[0, of_head], (len(VOICE), len(of_head)))
    np.testing.assert_array_equal(found[:, of_head], expected)


def test_without_a_voice_the_head_steers_as_it_does_in_decode():
    np.testing.assert_array_equal(curves(names=()), GESTURE)
    np.testing.assert_array_equal(curves(None, names=()), GESTURE)


@pytest.mark.parametrize(
    ("asked", "num_frames"),
    [
        ({"duration": "imitation"}, 100),
        ({"duration": "natural"}, NATURAL_FRAMES),
        ({"duration": 2.0}, 181),
        ({"duration": 60.0}, 5444),
        ({"duration": 1e-3}, 1),
        ({"names": (), "duration": "imitation"}, 100),
        ({"names": (), "duration": "natural"}, NATURAL_FRAMES),
        ({"names": (), "duration": 2.0}, 181),
        ({"names": (), "given": GIVEN}, 40),
        ({"names": (), "given": GIVEN, "duration": "natural"}, NATURAL_FRAMES),
        ({"names": (), "given": GIVEN, "duration": 2.0}, 181),
    ],
)
def test_curves_are_stretched_to_the_duration(asked, num_frames):
    found = curves(**asked)
    assert found.shape == (num_frames, 4)
    if asked.get("given") is not None:
        np.testing.assert_array_equal(found, np.broadcast_to(GIVEN[0], found.shape))
    elif asked.get("names") == ():
        np.testing.assert_array_equal(found[:, LOUDNESS], -20)
    else:
        np.testing.assert_allclose(found.mean(axis=0), VOICE.mean(axis=0), atol=0.2)


def test_transposed_curves_stay_in_range():
    found = curves(transpose=12.0)
    np.testing.assert_allclose(found[:, PITCH], VOICE[:, PITCH] + 12)
    np.testing.assert_array_equal(curves(transpose=48.0)[-1, [CENTROID, PITCH]], HIGHEST[[1, 2]])
    assert (curves(transpose=-48.0) >= LOWEST).all()
    np.testing.assert_allclose(curves(names=(), transpose=-2.0)[:, PITCH], 53)


def test_the_voice_is_smoothed_and_the_head_is_not():
    spoilt = VOICE.copy()
    spoilt[50] += [20, 20, 20, 0]
    found = curves(spoilt, smoothing_frames=5)
    assert np.abs(found - VOICE).max() < 1.5
    spoilt_gesture = GESTURE.copy()
    spoilt_gesture[50] += 5
    [found] = Steering(names=(), smoothing_frames=5).curves(
        [None], lambda: (spoilt_gesture[None], np.ones(1))
    )
    np.testing.assert_array_equal(found[50, LOUDNESS], -15)


@pytest.mark.parametrize(
    ("asked", "latents", "expected"),
    [
        ({}, {}, Steering()),
        ({}, {"prior_samples": 1}, Steering(names=())),
        ({"steer": "pitch", "duration": "3"}, {}, Steering(names=("pitch",), duration=3.0)),
        ({"smoothing_ms": 100.0}, {}, Steering(smoothing_frames=9)),
        ({"smoothing_ms": 0.0, "transpose": 7.0}, {}, Steering(transpose=7.0)),
    ],
    ids=str,
)
def test_a_request_says_what_steers(asked, latents, expected):
    assert steering_of(SteerRequest(**asked), LatentRequest(**latents).kind) == expected


def test_sounds_of_one_bucket_go_together_and_long_ones_in_smaller_batches():
    found = [np.zeros((n, 4)) for n in (243, 244, 1, 486, 5444, 2000)]
    assert gestures.by_bucket(found, 8) == [([0, 2], 8), ([1, 3], 4), ([4], 1), ([5], 1)]
    assert BUCKETS[-1] == 5444 and all(size > 0 for _, size in gestures.by_bucket(found, 1))
