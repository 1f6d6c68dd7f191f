"""How a steered model's sounds are to be steered, and whether that makes sense.

No JAX here: the command line's flags are made of these fields, and JAX takes seconds to import.
"""

import dataclasses
import math

from qvae_jax.generation.requests import LatentRequest, asked
from qvae_jax.system.errors import UserError

STEERABLE = ("loudness", "centroid", "pitch")  # periodicity goes with pitch
NONE = "none"
IMITATION, NATURAL = "imitation", "natural"
NEAREST = "nearest"  # of a library, as what the sounds are to be like
LONGEST_S = 60
MOST_SMOOTHING_MS = 2_000.0
MOST_SEMITONES = 48.0  # four octaves, as far as the pitch of a sound may lie from middle C's


@dataclasses.dataclass(frozen=True)
class SteerRequest:
    """What steers the sounds of a steered model; None where nothing is said."""

    steer: str | None = asked(
        "Of a steered model: the curves taken from the imitation, any of loudness, centroid and pitch, "
        "separated by commas, by default all; or none, for the model's own gesture."
    )
    curves: str | None = asked(
        "Instead of --steer: a CSV file of curves, such as those written beside each sound.",
        path=True,
    )
    sounds_like: str | None = asked(
        "Of a steered model: a sound whose timbre is taken, while the imitations steer it; or nearest, "
        "for the sound of --library that is nearest to each imitation.",
        path=True,
    )
    duration: str | None = asked(
        "Of a steered model's sounds: imitation, natural (the gesture's own) or seconds up to 60; "
        "curves are stretched."
    )
    smoothing_ms: float | None = asked(
        "The length of a median filter that takes the tremble of a voice out of its curves, in "
        "milliseconds, such as 100; by default none.",
        flag="steer_smoothing_ms",
    )
    transpose: float | None = asked("Semitones by which pitch and centroid are moved.")

    @property
    def given(self) -> list[str]:
        """The flags of which anything is said."""
        return [
            f"--{field.metadata.get('flag', field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is not None
        ]

    def names(self, kind: str | None) -> tuple[str, ...]:
        """The curves that are taken from imitations, for latents of a kind (LatentRequest.kind)."""
        if kind is not None or self.curves is not None:
            return ()
        return steered_names(self.steer)


def steered_names(steer: str | None) -> tuple[str, ...]:
    """The curves that --steer names, all by default; UserError where it names anything else."""
    if steer is None:
        return STEERABLE
    if steer.strip() == NONE:
        return ()
    found = {name.strip() for name in steer.split(",")}
    if not found <= set(STEERABLE):
        raise UserError(
            f"--steer is {steer!r}: set it to {NONE}, or to any of {', '.join(STEERABLE)}, separated "
            "by commas."
        )
    return tuple(name for name in STEERABLE if name in found)


def duration_of(text: str | None) -> str | float | None:
    """--duration as one of its words or a number of seconds; UserError where it is neither."""
    if text is None or text in (IMITATION, NATURAL):
        return text
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_S:
        raise UserError(
            f"--duration is {text!r}: set it to {IMITATION}, {NATURAL}, or seconds above 0 and up to "
            f"{LONGEST_S}."
        )
    return seconds


def check(request: SteerRequest, latents: LatentRequest) -> None:
    """Raises UserError for the first flags that make no sense, by themselves or together."""
    voiced = bool(request.names(latents.kind))
    by_imitation = duration_of(request.duration) == IMITATION
    _check_numbers(request)
    for faulty, message in [
        (
            request.steer is not None and request.curves is not None,
            "--steer and --curves both say what steers: give one of them.",
        ),
        (
            latents.kind is not None and request.steer not in (None, NONE),
            "--steer takes curves from an imitation, and these sounds have none of their own: leave "
            "it out.",
        ),
        (
            request.sounds_like is not None and not voiced,
            "--sounds_like takes the gesture from imitations, and here none steers: give --inputs "
            "and --steer, or name the sound as the input.",
        ),
        (
            by_imitation and (latents.kind is not None or request.curves is not None),
            "--duration=imitation is the length of the imitation that steers, and here none does: "
            "set it to natural or to seconds.",
        ),
        (
            request.smoothing_ms is not None and not voiced and request.curves is None,
            "--steer_smoothing_ms smooths the curves of a voice, and here none steers: leave it out.",
        ),
    ]:
        if faulty:
            raise UserError(message)


def check_model(request: SteerRequest, is_steered: bool, decoder_type: str) -> None:
    """Raises UserError where something steers a model that nothing can steer."""
    if request.given and not is_steered:
        raise UserError(
            f"{request.given[0]} is for a model of type 'steered', and this one's decoder is "
            f"{decoder_type!r}: leave it out, or use such a model."
        )


def _check_numbers(request: SteerRequest) -> None:
    smoothing_ms, semitones = request.smoothing_ms, request.transpose
    if smoothing_ms is not None and not 0 <= smoothing_ms <= MOST_SMOOTHING_MS:
        raise UserError(
            f"--steer_smoothing_ms is {smoothing_ms}: set it from 0 to {MOST_SMOOTHING_MS:g}."
        )
    if semitones is not None and not -MOST_SEMITONES <= semitones <= MOST_SEMITONES:
        raise UserError(
            f"--transpose is {semitones}: set it to semitones from {-MOST_SEMITONES:g} to "
            f"{MOST_SEMITONES:g}."
        )
