"""Which sounds are asked for, whether that makes sense, and the latents it comes to.

No JAX here: the command line's flags are made of these fields, and JAX takes seconds to import.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from qvae_jax.data import splits
from qvae_jax.generation import latents
from qvae_jax.generation.latents import Latent
from qvae_jax.system.errors import UserError

WINDOWS = ("first", "loudest")
ADD, REPLACE = "add", "replace"  # what is done where the output folder holds earlier results


def asked(help: str, default=None, **more):
    """A field of a request that is a flag of the command line, with what --help says of it.

    more: flag, its name where that is not the field's; required, whether a mode cannot do without
    it; instead, the flags any of which may be given in place of a required one.
    """
    return dataclasses.field(default=default, metadata={"help": help, **more})


@dataclasses.dataclass(frozen=True)
class LatentRequest:
    """Which latents are to be decoded; None where nothing is said."""

    variations: int = asked("The number of sounds of each input, drawn from its posterior.", 1)
    temperature: float | None = asked(
        "Of the latent's noise; 0, the default but for --prior_samples, is z = μ, always the same "
        "sound."
    )
    seed: int = asked("Of the latent's noise.", 0)
    interpolate: int | None = asked(
        "The number of sounds on the way from one of two inputs to the other."
    )
    walk_dimension: int | None = asked("The dimension of the latent that is moved from -3 to +3.")
    walk_steps: int | None = asked("The number of sounds of a walk, by default 7.")
    prior_samples: int | None = asked("The number of sounds drawn from the prior, without inputs.")

    @property
    def noise(self) -> float:
        """The temperature: by default none for imitations, and the prior's own for its samples."""
        default = 0.0 if self.prior_samples is None else 1.0
        return default if self.temperature is None else self.temperature

    @property
    def kind(self) -> str | None:
        """What the names of sounds that no single input has begin with; None where each has one."""
        asked_for = {
            latents.PRIOR: self.prior_samples,
            latents.INTERPOLATION: self.interpolate,
            latents.WALK: self.walk_dimension,
        }
        return next((kind for kind, value in asked_for.items() if value is not None), None)


@dataclasses.dataclass(frozen=True)
class Before:
    """How much lies in the output folder already: new inputs and sounds are numbered after it.

    Attributes:
        inputs: the number of inputs.
        sounds: the number of sounds of the kind asked for that no single input has.
    """

    inputs: int = 0
    sounds: int = 0


@dataclasses.dataclass(frozen=True)
class Finish:
    """How a sound is finished before it is written; None leaves a thing as it is."""

    sample_rate_hz: int | None = asked(
        "Of the sounds, in Hz: 22050, 44100 or 48000; by default the model's.", flag="sample_rate"
    )
    format: str = asked("Of the sounds: wav or flac.", "wav")
    subtype: str | None = asked(
        "libsndfile's name of the sample format, such as PCM_16; by default FLOAT, of flac PCM_24."
    )
    loudness_db: float | None = asked(
        "Integrated loudness of each sound, LUFS by ITU-R BS.1770-4, such as -23."
    )
    trim_db: float | None = asked("Cut the end that lies this many dB below the peak, such as 60.")


@dataclasses.dataclass(frozen=True)
class Posterior:
    """N(mu, e^logvar), [latent] each: what the encoder makes of one imitation.

    And the imitation's control curves [frames, 4], where they are to steer.
    """

    mu: np.ndarray
    logvar: np.ndarray
    voice: np.ndarray | None = None


def check(
    request: LatentRequest,
    inputs: Sequence[str] | None,
    from_split: str | None,
    workdir: str | None,
    window: str,
) -> None:
    """Raises UserError for the first flags that make no sense, by themselves or together."""
    latents.check_noise(request.noise, request.seed)
    walking, drawing = request.walk_dimension is not None, request.prior_samples is not None
    interpolating = request.interpolate is not None
    named = inputs is not None or from_split is not None
    for flag, value, lowest in [
        ("variations", request.variations, 1),
        ("interpolate", request.interpolate, 2),
        ("walk_dimension", request.walk_dimension, 0),
        ("walk_steps", request.walk_steps, 2),
        ("prior_samples", request.prior_samples, 1),
    ]:
        if value is not None and value < lowest:
            raise UserError(f"--{flag} is {value}: set it to {lowest} or more.")
    if window not in WINDOWS:
        raise UserError(f"--window is {window!r}: set it to one of {', '.join(WINDOWS)}.")
    check_part(from_split)
    for faulty, message in [
        (
            interpolating + walking + drawing > 1,
            (
                "--interpolate, --walk_dimension and --prior_samples each choose the sounds: "
                "give one of them."
            ),
        ),
        (
            inputs is not None and from_split is not None,
            "--inputs and --from_split both name imitations: give one of them.",
        ),
        (
            drawing and named,
            "--prior_samples takes no imitation: leave out --inputs and --from_split.",
        ),
        (
            not (named or drawing or walking),
            "--inputs is empty: name audio files, separated by commas, or a folder.",
        ),
        (
            from_split is not None and workdir is None,
            "--from_split needs --workdir, the run whose split is meant.",
        ),
        (
            request.walk_steps is not None and not walking,
            "--walk_steps is the number of steps along a dimension: give --walk_dimension too.",
        ),
        (
            request.variations > 1 and (interpolating or walking or drawing),
            (
                "--variations are draws around an imitation: leave it out here (--prior_samples=N "
                "draws N sounds from the prior)."
            ),
        ),
        (
            bool(request.temperature) and (interpolating or walking),
            (
                "--temperature is of drawn noise, and interpolations and walks draw none: leave it "
                "out."
            ),
        ),
        (
            request.variations > 1 and request.noise == 0,
            (
                f"--variations={request.variations} at temperature 0 are all the same sound: set "
                "--temperature, for example to 0.7."
            ),
        ),
        (
            drawing and request.prior_samples > 1 and request.noise == 0,
            "--prior_samples at temperature 0 are all the same sound: leave --temperature out.",
        ),
        (
            window != "first" and not named,
            f"--window={window} is a part of an imitation, and there is none: leave it out.",
        ),
    ]:
        if faulty:
            raise UserError(message)


def check_existing(existing: str | None) -> None:
    """Raises UserError where --existing is given and says nothing that can be done."""
    if existing not in (None, ADD, REPLACE):
        raise UserError(f"--existing is {existing!r}: set it to {ADD} or {REPLACE}.")


def check_part(from_split: str | None) -> None:
    """Raises UserError where --from_split is given and names no part that a split may have."""
    if from_split is not None and from_split not in splits.PARTS:
        parts = ", ".join(splits.PARTS)
        raise UserError(f"--from_split is {from_split!r}: set it to one of {parts}.")


def check_dimension(request: LatentRequest, latent_dim: int) -> None:
    """Raises UserError where the model's latent does not have the dimension of a walk."""
    if request.walk_dimension is not None and request.walk_dimension >= latent_dim:
        raise UserError(
            f"--walk_dimension is {request.walk_dimension}, but the model's latent has "
            f"{latent_dim} dimensions: set it from 0 to {latent_dim - 1}."
        )


def latents_of(
    request: LatentRequest,
    posteriors: Iterator[Posterior],
    latent_dim: int,
    before: Before = Before(),
) -> Iterator[tuple[Latent, Posterior | None]]:
    """The latents asked for, in order, each with the posterior it belongs to."""
    if request.prior_samples is not None:
        how = (request.noise, request.seed, before.sounds)
        drawn = latents.prior(latent_dim, request.prior_samples, *how)
        yield from ((latent, None) for latent in drawn)
    elif request.interpolate is not None:
        first, second = posteriors
        steps = latents.interpolation(first.mu, second.mu, request.interpolate, before.sounds)
        yield from ((latent, None) for latent in steps)
    else:
        place = before.inputs
        for place, posterior in enumerate(posteriors, start=before.inputs + 1):
            for latent in _around(request, posterior, place):
                yield latent, posterior
        if place == before.inputs:
            steps = _walk(request, np.zeros(latent_dim, np.float32), None, before.sounds)
            yield from ((latent, None) for latent in steps)


def _around(request: LatentRequest, posterior: Posterior, place: int) -> list[Latent]:
    if request.walk_dimension is not None:
        return _walk(request, posterior.mu, place)
    return latents.variations(
        posterior.mu, posterior.logvar, place, request.variations, request.noise, request.seed
    )


def _walk(
    request: LatentRequest, centre: np.ndarray, place: int | None, num_before: int = 0
) -> list[Latent]:
    num_steps = request.walk_steps or latents.WALK_STEPS
    return latents.walk(centre, place, request.walk_dimension, num_steps, num_before)
