"""Orders to sounds: the very steps of --mode=generate, for one recording in memory."""

import contextlib
import dataclasses
import pathlib
import re
import warnings
from collections.abc import Iterator

import numpy as np

from qvae_jax.audio import windows
from qvae_jax.audio.controls import HOP_LENGTH, SAMPLE_RATE_HZ
from qvae_jax.audio.files import fit_length
from qvae_jax.generation import curve_file, finishing, steer_request, voice
from qvae_jax.generation.gestures import Steering, steering_of
from qvae_jax.generation.inputs import Heard, Source, hear
from qvae_jax.generation.model import Model
from qvae_jax.generation.neighbours import as_heard
from qvae_jax.generation.requests import Posterior, latents_of
from qvae_jax.generation.sounds import steered
from qvae_jax.generation.steering import BUCKETS
from qvae_jax.retrieval.finding import Found, Library
from qvae_jax.serving.orders import (
    CURVES,
    IMITATION,
    NUM_NEAREST,
    SOUNDS_LIKE,
    Order,
    naming_parameters,
)
from qvae_jax.system.errors import Notice, UserError

LONGEST_RECORDING_S = 600  # of what is sent; the first minute of it counts at most
PLACE = 1  # of the only input, as the noise of --mode=generate takes it
CALLED = {
    IMITATION: "the imitation",
    SOUNDS_LIKE: "the sound for sounds_like",
    CURVES: "the table of curves",
}
WARM_UP_CURVES = (-20.0, 83.0, 57.0, 0.9)  # loud, and voiced


@dataclasses.dataclass(frozen=True)
class Answer:
    """The sounds of one order.

    Attributes:
        sounds: [samples] each, finished, at sample_rate_hz.
        curves: [frames, 4] of each, those that a steered model rendered; None of other models.
        notes: what the user should know of the recording, a sentence each.
        finish: as which they are to be written.
    """

    sounds: list[np.ndarray]
    curves: list[np.ndarray] | None
    notes: list[str]
    finish: finishing.Finish


@dataclasses.dataclass(frozen=True)
class Nearest:
    """What of a library is nearest to a recording, the nearest first.

    Attributes:
        found: the sounds.
        unlike: whether the recording is unlike the whole library; None where that is not known.
    """

    found: list[Found]
    unlike: bool | None


class Maker:
    """Makes sounds with one model, for one thread at a time; library is what they may be like.

    What is sent lies for a moment in files of our own naming, which the reader of files takes.
    """

    def __init__(self, model: Model, folder: pathlib.Path, library: Library | None = None) -> None:
        self.model, self.library, self._folder = model, library, folder

    def make(self, order: Order) -> Answer:
        """The sounds of an order; UserError, in one line, for what cannot be read or be made."""
        model, notes = self.model, []
        with naming_parameters():
            steer_request.check_model(order.steering, model.is_steered, model.config.decoder_type)
        finish = finishing.with_rate(order.finish, model.sample_rate_hz)
        steering = self._steering(order, notes)
        posterior = self._posterior(order, steering, notes)
        sounds, curves = [], []
        for latent, _ in latents_of(order.latents, iter([posterior]), model.config.latent_dim):
            # One at a time, so that one program makes any number of variations.
            how = {"seeds": np.array([[order.latents.seed, PLACE]]), "batch_size": 1}
            if steering is None:
                audio = model.decode(latent.z[None], **how)
            else:
                voices = [posterior.voice]
                audio, rendered = steered(
                    model, steering, latent.z[None], voices, names=[IMITATION], **how
                )
                curves += rendered
            sounds.append(finishing.finished(audio[0], model.sample_rate_hz, finish)[0])
        return Answer(sounds, curves or None, notes, finish)

    def _steering(self, order: Order, notes: list[str]) -> Steering | None:
        if not self.model.is_steered:
            return None
        given = None
        if order.curves is not None:
            path = self._written(CURVES, order.curves)
            with _named(path, CURVES, notes):
                given = curve_file.read(path)
        return steering_of(order.steering, kind=None, given=given)

    def _posterior(self, order: Order, steering: Steering | None, notes: list[str]) -> Posterior:
        """What the encoder makes of the recording, or of the sound it is to be like; its curves."""
        measured = steering is not None and steering.needs_voice
        heard = self._heard(IMITATION, order.imitation, notes, whole=measured)
        if heard.silent:
            notes.append("The recording is silent where it is heard.")
        encoded = self._encoded(order, heard, notes)
        waveform = fit_length(encoded.samples, self.model.front_end.num_samples)[None]
        is_sound = encoded is not heard
        mu, logvar = self.model.posterior(waveform, sounds=is_sound, batch_size=1)
        of_voice = voice.voice_of(heard.whole).curves if measured else None
        return Posterior(mu[0], logvar[0], of_voice)

    def _encoded(self, order: Order, heard: Heard, notes: list[str]) -> Heard:
        """What lends its timbre: the imitation, a sound that was sent, or one of the library."""
        if order.nearest is not None:
            found = self._nearest_to(heard)
            if order.nearest > len(found):
                raise UserError(f"nearest is {order.nearest}: the library has {len(found)} sounds.")
            one = found[order.nearest - 1]
            try:
                return as_heard(one, self.model.front_end)
            except UserError as error:  # which has the path of the user's own file
                raise UserError(f"{one.name} of the library cannot be read any more.") from error
        if order.sounds_like is None:
            return heard
        encoded = self._heard(SOUNDS_LIKE, order.sounds_like, notes)
        if encoded.silent:
            raise UserError("The sound for sounds_like is silent: choose another one.")
        return encoded

    def nearest(self, order: Order) -> Nearest:
        """The library's sounds that are nearest to the recording of an order, nearest first."""
        found = self._nearest_to(self._heard(IMITATION, order.imitation, []))
        return Nearest(found, self.library.is_unlike(found))

    def _nearest_to(self, heard: Heard) -> list[Found]:
        if self.library is None:
            raise UserError("This server has no library: start it with --library=FOLDER.")
        return self._asked(heard.samples)

    def _asked(self, samples: np.ndarray) -> list[Found]:
        """What the library has that is nearest to a waveform."""
        # With zeros behind it, so that one program, which warm_up compiles, hears any length.
        whole = fit_length(samples, self.library.encoders.imitation.front_end.num_samples)
        [found] = self.library.nearest([whole], [IMITATION], NUM_NEAREST)
        return found

    def _heard(self, name: str, sent: bytes, notes: list[str], *, whole: bool = False) -> Heard:
        path = self._written(name, sent)
        with _named(path, name, notes):
            duration_s = windows.duration_s(path)
            if duration_s > LONGEST_RECORDING_S:
                raise UserError(
                    f"The audio file {path} lasts {duration_s:.0f} s: send {LONGEST_RECORDING_S} s "
                    "at most."
                )
            return hear(Source(path, name, name), self.model.front_end, whole=whole)

    def _written(self, name: str, sent: bytes) -> pathlib.Path:
        path = self._folder / name
        path.write_bytes(sent)
        return path

    # --- Before the first order

    def warm_up(self) -> Iterator[float]:
        """Compiles what orders run, the shortest first; yields up to how many seconds is done."""
        model = self.model
        waveform = np.zeros((1, model.front_end.num_samples), np.float32)
        mu, _ = model.posterior(waveform, batch_size=1)
        if self.library is not None:
            self._asked(waveform[0])
        if not model.is_steered:
            model.decode(mu, batch_size=1)
            yield model.config.num_samples / model.sample_rate_hz
            return
        model.gesture(mu, batch_size=1)
        for num_frames in BUCKETS:
            voice.curves_of(np.zeros(num_frames * HOP_LENGTH, np.float32))
            curves = np.tile(np.array(WARM_UP_CURVES, np.float32), (num_frames, 1))
            model.render(mu, [curves], batch_size=1)
            yield num_frames * HOP_LENGTH / SAMPLE_RATE_HZ

    @property
    def num_programs(self) -> int:
        """How often warm_up yields."""
        return len(BUCKETS) if self.model.is_steered else 1


@contextlib.contextmanager
def _named(path: pathlib.Path, name: str, notes: list[str]) -> Iterator[None]:
    """Names what was sent by what it is, rather than by its file, in a UserError and in notices.

    The latter become notes.
    """

    def named(message: object) -> str:
        said = re.sub(f"(?i)the (audio )?file {re.escape(str(path))}", CALLED[name], str(message))
        said = said.replace(str(path), CALLED[name])
        return said[:1].upper() + said[1:]

    try:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            yield
    except UserError as error:
        raise UserError(named(error)) from error
    told = (named(warning.message) for warning in given if warning.category is Notice)
    notes += dict.fromkeys(told)  # once, though each rate that it is read at says so
