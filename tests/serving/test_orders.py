"""What may be asked for: the flags of --mode=generate as parameters, and one line for what may not."""

import pytest

from qvae_jax.serving.orders import MOST_VARIATIONS, order_of
from qvae_jax.system.errors import UserError

SENT = {"imitation": b"RIFF"}


def test_parameters_fill_the_requests_of_generate():
    given = {
        "variations": "3",
        "temperature": "0.5",
        "seed": "7",
        "steer": "pitch",
        "duration": "natural",
        "steer_smoothing_ms": "100",
        "transpose": "-12",
        "sample_rate": "44100",
    }
    order = order_of(given.items(), SENT | {"sounds_like": b"fLaC"})
    latents, steering = order.latents, order.steering
    assert (latents.variations, latents.temperature, latents.seed) == (3, 0.5, 7)
    assert (steering.steer, steering.duration, steering.transpose) == ("pitch", "natural", -12.0)
    assert (steering.smoothing_ms, order.finish.sample_rate_hz) == (100.0, 44_100)
    assert (order.imitation, order.sounds_like, order.curves) == (b"RIFF", b"fLaC", None)
    assert order.finish.subtype == "FLOAT"


@pytest.mark.parametrize(
    ("given", "sent", "said"),
    [
        ([], {}, "holds no imitation"),
        ([], {"imitation": b""}, "holds no imitation"),
        ([("colour", "red")], SENT, "'colour' is no parameter"),
        ([("prior_samples", "3")], SENT, "'prior_samples' is no parameter"),
        ([("curves", "/etc/passwd")], SENT, "'curves' is no parameter"),
        ([("seed", "1"), ("seed", "2")], SENT, "seed is given more than once"),
        ([("seed", "many")], SENT, "seed is 'many': set it to a whole number"),
        ([("seed", "9" * 5_000)], SENT, "seed is '999"),
        ([("temperature", "hot")], SENT, "temperature is 'hot': set it to a number"),
        ([("temperature", "nan")], SENT, "temperature is nan"),
        ([("temperature", "-1")], SENT, "temperature is -1.0"),
        ([("variations", "2")], SENT, "set temperature, for example"),
        (
            [("variations", "99"), ("temperature", "1")],
            SENT,
            f"set it to {MOST_VARIATIONS} or less",
        ),
        ([("duration", "61")], SENT, "duration is '61'"),
        ([("steer", "colour")], SENT, "steer is 'colour'"),
        ([("transpose", "inf")], SENT, "transpose is inf"),
        ([("sample_rate", "8000")], SENT, "sample_rate is 8000"),
        ([("format", "mp3")], SENT, "format is 'mp3'"),
        ([("nearest", "0")], SENT, "nearest is 0: set it from 1 to 10"),
        ([("nearest", "1")], SENT | {"sounds_like": b"x"}, "nearest and sounds_like both lend"),
        ([("steer", "none")], SENT | {"sounds_like": b"x"}, "sounds_like takes the gesture"),
        ([("steer", "pitch")], SENT | {"curves": b"x"}, "steer and curves both say"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line_by_the_parameters_names(given, sent, said):
    with pytest.raises(UserError) as told:
        order_of(given, sent)
    assert said in str(told.value)
    assert "--" not in str(told.value) and "\n" not in str(told.value)
    assert len(str(told.value)) < 500
