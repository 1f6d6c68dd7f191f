"""What the page, or curl, may ask for: parameters of an address, as the flags of --mode=generate."""

import contextlib
import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator

from qvae_jax.generation import finishing, requests, steer_request
from qvae_jax.generation.requests import Finish, LatentRequest
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.live_page.facts import MOST_VARIATIONS
from qvae_jax.system.errors import LONGEST_QUOTE, UserError

# The fields of each request that a parameter may fill; it has the name of their flag.
TAKEN = {
    LatentRequest: ("variations", "temperature", "seed"),
    SteerRequest: ("steer", "duration", "smoothing_ms", "transpose"),
    Finish: ("sample_rate_hz", "format", "subtype", "loudness_db", "trim_db"),
}
IMITATION, SOUNDS_LIKE, CURVES = "imitation", "sounds_like", "curves"
NEAREST = "nearest"  # the parameter that chooses a sound of the library
NUM_NEAREST = 10  # sounds of the library that a recording may sound like
FILES = (IMITATION, SOUNDS_LIKE, CURVES)  # what a body may hold, by the names of its parts


@dataclasses.dataclass(frozen=True)
class Order:
    """One take: a recording, and what is to be made of it.

    Attributes:
        imitation: an audio file's bytes.
        latents, steering, finish: as --mode=generate takes them, checked.
        sounds_like: the bytes of the sound whose timbre is taken.
        curves: the bytes of a table of curves, see generation.curve_file.
        nearest: instead of sounds_like: which of the library's sounds lends its timbre, 1 for the
            one that is nearest to the imitation.
    """

    imitation: bytes
    latents: LatentRequest
    steering: SteerRequest
    finish: Finish
    sounds_like: bytes | None = None
    curves: bytes | None = None
    nearest: int | None = None


def order_of(parameters: Iterable[tuple[str, str]], sent: dict[str, bytes]) -> Order:
    """The order of some parameters and of what was sent, by the names in FILES.

    Raises UserError for the first that makes no sense.
    """
    if not sent.get(IMITATION):
        raise UserError("The body holds no imitation: send an audio file.")
    given = _given(parameters)
    named = {name: name for name in (SOUNDS_LIKE, CURVES) if name in sent}
    nearest = given[Order].get(NEAREST)
    _check_nearest(nearest, sent)
    latents = LatentRequest(**given[LatentRequest])
    steering = SteerRequest(**given[SteerRequest], **named)
    with naming_parameters():
        requests.check(latents, [IMITATION], None, None, "first")
        steer_request.check(steering, latents)
        finish = finishing.checked(Finish(**given[Finish]))
    if latents.variations > MOST_VARIATIONS:
        raise UserError(f"variations is {latents.variations}: set it to {MOST_VARIATIONS} or less.")
    return Order(latents=latents, steering=steering, finish=finish, nearest=nearest, **sent)


@contextlib.contextmanager
def naming_parameters() -> Iterator[None]:
    """Turns the flags in a UserError's message into the parameters of the same names."""
    try:
        yield
    except UserError as error:
        raise UserError(re.sub(r"--(?=[a-z])", "", str(error))) from error


def _given(parameters: Iterable[tuple[str, str]]) -> dict[type, dict]:
    """What parameters say, by what has the field and by the field's name."""
    given = {request: {} for request in (*TAKEN, Order)}
    for name, text in parameters:
        request, field, kind = _parameter(name)
        if field in given[request]:
            raise UserError(f"{name} is given more than once: give it once.")
        given[request][field] = _value(name, text, kind)
    return given


def _check_nearest(nearest: int | None, sent: dict[str, bytes]) -> None:
    if nearest is not None and not 1 <= nearest <= NUM_NEAREST:
        raise UserError(f"{NEAREST} is {nearest}: set it from 1 to {NUM_NEAREST}.")
    if nearest is not None and SOUNDS_LIKE in sent:
        raise UserError(f"{NEAREST} and {SOUNDS_LIKE} both lend a timbre: give one of them.")


def _parameter(name: str) -> tuple[type, str, type]:
    """Of a parameter: the request, its field, and the kind of its value."""
    if name == NEAREST:
        return Order, name, int
    for request, taken in TAKEN.items():
        for field in dataclasses.fields(request):
            if field.name in taken and field.metadata.get("flag", field.name) == name:
                kind, *_ = typing.get_args(field.type) or (field.type,)
                return request, field.name, kind
    raise UserError(
        f"{name[:LONGEST_QUOTE]!r} is no parameter: leave it out, or see the documentation."
    )


def _value(name: str, text: str, kind: type) -> object:
    try:
        return kind(text)
    except ValueError as error:
        number = "a whole number" if kind is int else "a number"
        raise UserError(f"{name} is {text[:LONGEST_QUOTE]!r}: set it to {number}.") from error
