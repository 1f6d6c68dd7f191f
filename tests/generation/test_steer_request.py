"""What steers: what is named, and what makes no sense."""

import subprocess
import sys

import pytest

from qvae_jax.audio import controls
from qvae_jax.generation import steer_request
from qvae_jax.generation.requests import LatentRequest
from qvae_jax.generation.steer_request import STEERABLE, SteerRequest
from qvae_jax.system.errors import UserError

PRIOR = {"prior_samples": 2}


def test_the_curves_are_those_of_the_controls():
    assert controls.NAMES == (*STEERABLE, "periodicity")


@pytest.mark.parametrize(
    ("steer", "names"),
    [
        (None, STEERABLE),
        ("none", ()),
        ("pitch", ("pitch",)),
        (" pitch, loudness,pitch", ("loudness", "pitch")),
    ],
)
def test_curves_are_named_in_any_order(steer, names):
    assert steer_request.steered_names(steer) == names
    assert SteerRequest(steer=steer).names(None) == names
    assert SteerRequest(steer=steer).names("prior") == ()


@pytest.mark.parametrize(
    ("text", "duration"),
    [(None, None), ("imitation", "imitation"), ("natural", "natural"), ("2.5", 2.5), ("60", 60.0)],
)
def test_a_duration_is_a_word_or_seconds(text, duration):
    assert steer_request.duration_of(text) == duration


@pytest.mark.parametrize(
    ("asked", "latents", "message"),
    [
        ({"steer": "loud"}, {}, "--steer is 'loud': set it to none, or to any of loudness"),
        ({"steer": ""}, {}, "--steer is ''"),
        ({"steer": "none,pitch"}, {}, "--steer is 'none,pitch'"),
        ({"steer": "periodicity"}, {}, "--steer is 'periodicity'"),
        ({"duration": "0"}, {}, "--duration is '0': set it to imitation, natural, or seconds"),
        ({"duration": "3600"}, {}, "--duration is '3600': .*up to 60"),
        ({"duration": "nan"}, {}, "--duration is 'nan'"),
        ({"duration": "long"}, {}, "--duration is 'long'"),
        ({"duration": "-1"}, {}, "--duration is '-1'"),
        ({"smoothing_ms": -1.0}, {}, "--steer_smoothing_ms is -1"),
        ({"smoothing_ms": float("nan")}, {}, "--steer_smoothing_ms is nan"),
        ({"smoothing_ms": 1e9}, {}, "--steer_smoothing_ms is 1"),
        ({"transpose": 100.0}, {}, "--transpose is 100.0: set it to semitones from -48 to 48"),
        ({"transpose": float("nan")}, {}, "--transpose is nan"),
        ({"steer": "pitch", "curves": "a.csv"}, {}, "--steer and --curves both"),
        ({"steer": "pitch"}, PRIOR, "--steer takes curves from an imitation"),
        ({"steer": "pitch"}, {"interpolate": 3}, "--steer takes curves from an imitation"),
        ({"steer": "pitch"}, {"walk_dimension": 0}, "--steer takes curves from an imitation"),
        ({"sounds_like": "a.wav"}, PRIOR, "--sounds_like takes the gesture from imitations"),
        ({"sounds_like": "a.wav", "steer": "none"}, {}, "--sounds_like takes the gesture"),
        ({"sounds_like": "a.wav", "curves": "a.csv"}, {}, "--sounds_like takes the gesture"),
        ({"duration": "imitation"}, PRIOR, "--duration=imitation is the length"),
        ({"duration": "imitation", "curves": "a.csv"}, {}, "--duration=imitation is the length"),
        ({"smoothing_ms": 50.0, "steer": "none"}, {}, "--steer_smoothing_ms smooths the curves"),
        ({"smoothing_ms": 50.0}, PRIOR, "--steer_smoothing_ms smooths the curves"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_one_line(asked, latents, message):
    with pytest.raises(UserError, match=message) as raised:
        steer_request.check(SteerRequest(**asked), LatentRequest(**latents))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "latents"),
    [
        ({}, {}),
        ({}, PRIOR),
        ({"steer": "none"}, PRIOR),
        ({"steer": "none", "duration": "imitation"}, {}),
        ({"curves": "a.csv", "duration": "2", "smoothing_ms": 0.0, "transpose": -48.0}, PRIOR),
        ({"sounds_like": "a.wav", "steer": "pitch", "duration": "imitation"}, {}),
    ],
    ids=str,
)
def test_what_makes_sense_passes(asked, latents):
    steer_request.check(SteerRequest(**asked), LatentRequest(**latents))


@pytest.mark.parametrize(
    ("asked", "flag"),
    [
        ({"steer": "none"}, "--steer"),
        ({"curves": "a.csv"}, "--curves"),
        ({"sounds_like": "a.wav"}, "--sounds_like"),
        ({"duration": "natural"}, "--duration"),
        ({"smoothing_ms": 0.0}, "--steer_smoothing_ms"),
        ({"transpose": 0.0}, "--transpose"),
    ],
)
def test_a_model_that_is_not_steered_takes_none_of_them(asked, flag):
    request = SteerRequest(**asked)
    steer_request.check_model(request, True, "steered")
    with pytest.raises(
        UserError, match=f"^{flag} is for a model of type 'steered', and this one's"
    ):
        steer_request.check_model(request, False, "original-plus")
    steer_request.check_model(SteerRequest(), False, "original-plus")


def test_they_load_no_jax():
    code = "import sys, qvae_jax.generation.steer_request; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
