"""A trained model as functions of any number of rows: waveforms to posteriors, latents to audio."""

import contextlib
import functools
import math
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
import numpy.typing as npt
import soxr
from flax import nnx

from qvae_jax import configuration, runs
from qvae_jax.audio import controls
from qvae_jax.audio.files import fit_length
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.generation import arrays, gestures, latents, steer_request, steering
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.generation.voice import voice_of
from qvae_jax.models import hub_address, sound_encoder, stored, variables
from qvae_jax.models.batching import in_batches
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.steered import within_range
from qvae_jax.models.variables import Variables
from qvae_jax.system import files, platforms
from qvae_jax.system.errors import UserError, counted

BATCH_SIZE = 8  # rows that are computed at once, at most


class Model:
    """A QVAE's weights on the device, and its programs, each compiled once for a size of batches.

    Each method takes any number of rows and gives as many. They are computed in batches of
    batch_size, the last one filled up with silence: by default all at once, up to BATCH_SIZE. Rows
    that come in pieces should name one batch_size for all, so that one program computes them.
    names say what each row is made of, for the message where a result is not finite.

    Attributes:
        config: what the model is.
        variables: its arrays.
        source: its folder, and for a run the step of its checkpoint, for the manifest.
        sample_rate_hz: of the audio it gives, 22,050 Hz or 44,100 Hz.
        uses_noise: whether its decoder filters noise, which has seeds.
    """

    def __init__(self, config: QVAEConfig, model_variables: Variables, source: dict | None = None):
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz
        self.source = source or {}
        self.variables = jax.device_put(model_variables)
        # Two encoders are of one structure, so that one program hears by either.
        of_voices, self._of_voices = sound_encoder.one_alone(config, self.variables)
        _, self._of_sounds = sound_encoder.one_alone(config, self.variables, sounds=True)
        network = QVAE(of_voices, rng=None)
        self.uses_noise = network.decoder.uses_noise
        graphdef, _ = variables.split(network)
        self._features, self._heads, self._decode = _programs(graphdef, config.front_end)
        self._gesture, self._render = _steered_programs(graphdef)

    @property
    def front_end(self) -> FrontEnd:
        """What the model hears: rate, duration and log-mel."""
        return self.config.front_end

    def features(
        self,
        waveforms: np.ndarray,
        *,
        sounds: bool | Sequence[bool] = False,
        batch_size: int | None = None,
        names: Sequence[str] | None = None,
    ) -> np.ndarray:
        """The encoder's features of unit norm: [rows, feature_dim].

        waveforms are floats [rows, front_end.num_samples], with full scale at 1. sounds says of all,
        or of each, whether it is heard as a sound rather than as a voice, which only a model with
        a second encoder for sounds tells apart. Raises UserError for what is of another shape or
        type, or not finite, and where a result is not.
        """
        waveforms = arrays.as_waveforms(waveforms, self.front_end.num_samples)
        are_sounds = np.broadcast_to(np.asarray(sounds, bool), len(waveforms))
        if not (self.config.sound_encoder and are_sounds.any()):
            return self._computed(self._features, waveforms, batch_size, names)
        batch_size = batch_size or max(1, min(BATCH_SIZE, len(waveforms)))
        found = np.empty((len(waveforms), self.config.feature_dim()), np.float32)
        for given, rows in ((self._of_voices, ~are_sounds), (self._of_sounds, are_sounds)):
            if rows.any():
                of_rows = None if names is None else [names[row] for row in np.flatnonzero(rows)]
                heard = waveforms[rows]
                found[rows] = self._computed(self._features, heard, batch_size, of_rows, given)
        return found

    def heads(
        self,
        features: np.ndarray,
        *,
        sounds: bool | Sequence[bool] = False,
        batch_size: int | None = None,
        names: Sequence[str] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """μ and log σ² of features [rows, feature_dim]: two [rows, latent].

        sounds as features takes it; a model that has learnt from sounds alone may believe a voice
        in part (config.voice_share). Raises UserError as features does.
        """
        features = arrays.as_rows(features, self.config.feature_dim(), "The features")
        voices = ~np.broadcast_to(np.asarray(sounds, bool), len(features))
        return self._computed(self._heads, (features, voices), batch_size, names)

    def posterior(
        self,
        waveforms: np.ndarray,
        *,
        sounds: bool | Sequence[bool] = False,
        batch_size: int | None = None,
        names: Sequence[str] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """μ and log σ², [rows, latent] each, of waveforms [rows, front_end.num_samples].

        sounds as features takes it. Raises UserError as features does.
        """
        features = self.features(waveforms, sounds=sounds, batch_size=batch_size, names=names)
        return self.heads(features, sounds=sounds, batch_size=batch_size, names=names)

    def decode(
        self,
        z: np.ndarray,
        *,
        seeds: np.ndarray | None = None,
        batch_size: int | None = None,
        names: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Audio [rows, config.num_samples] in (-1, 1) of latents [rows, latent].

        seeds, two whole numbers for each row, are those of its noise, if the decoder has any; by
        default zeros for all. A steered model's gesture head steers. Raises UserError as features
        does.
        """
        z = arrays.as_rows(z, self.config.latent_dim, "The latents")
        rows = (z, _as_seeds(seeds, len(z)))
        return self._computed(self._decode, rows, batch_size, names)

    @property
    def is_steered(self) -> bool:
        """Whether the model has a gesture head, and a renderer that takes any curves."""
        return self.config.is_steered

    def gesture(
        self, z: np.ndarray, *, batch_size: int | None = None, names: Sequence[str] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Curves [rows, 243, 4] and durations in seconds [rows] of latents, of a steered model.

        The curves are those of audio.controls. Raises UserError as features does, and for a model
        that is not steered.
        """
        self._require_steered()
        z = arrays.as_rows(z, self.config.latent_dim, "The latents")
        return self._computed(self._gesture, z, batch_size, names)

    def render(
        self,
        z: np.ndarray,
        curves: Sequence[np.ndarray],
        *,
        seeds: np.ndarray | None = None,
        batch_size: int | None = None,
        names: Sequence[str] | None = None,
    ) -> list[np.ndarray]:
        """The sounds of latents [rows, latent] and curves, of a steered model.

        curves are, for each row, [frames, 4] as audio.controls gives them, of up to LONGEST_FRAMES
        frames of 243 samples at 22,050 Hz; its sound in (-1, 1) lasts as long, at sample_rate_hz.
        How long the others are changes nothing: frames are filled up to the next of BUCKETS, for
        each of which a program is compiled. seeds as for decode. Raises UserError as gesture does,
        and for curves of another shape or with values that are not finite.
        """
        self._require_steered()
        z = arrays.as_rows(z, self.config.latent_dim, "The latents")
        curves = [steering.checked(of_one) for of_one in curves]
        if len(curves) != len(z):
            raise UserError(
                f"There are curves of {counted(len(curves), 'sound')}, but {len(z)} latents: give "
                "each latent its own."
            )
        longest = max((len(of_one) for of_one in curves), default=1)
        num_frames = steering.bucket(longest)
        filled = np.stack([steering.filled_up(of_one, num_frames) for of_one in curves])
        lengths = np.array([len(of_one) for of_one in curves], np.int32)
        rows = (z, filled, lengths, _as_seeds(seeds, len(z)))
        sounds = self._computed(self._render, rows, batch_size, names)
        hop = controls.hop_length(self.sample_rate_hz)
        return [sound[: n * hop] for sound, n in zip(sounds, lengths)]

    def _require_steered(self) -> None:
        if not self.is_steered:
            raise UserError(
                f"The model's decoder is {self.config.decoder_type!r}, which no curves steer: use a "
                "model of type 'steered'."
            )

    def _computed(
        self,
        program: Callable,
        rows: np.ndarray | tuple[np.ndarray, ...],
        batch_size: int | None,
        names: Sequence[str] | None,
        given: Variables | None = None,
    ):
        num_rows = len(rows[0] if isinstance(rows, tuple) else rows)
        batch_size = batch_size or max(1, min(BATCH_SIZE, num_rows))
        given = self._of_voices if given is None else given
        found = in_batches(functools.partial(program, given), rows, batch_size)
        _require_finite(found, names)
        return found

    def compile_decoder(self, batch_size: int) -> None:
        """Compiles what decode runs for batches of this size; for a thread beside other work.

        Not of a steered model: how long its curves are, its inputs say.
        """
        if self.is_steered:
            return
        z = jax.ShapeDtypeStruct((batch_size, self.config.latent_dim), np.float32)
        seeds = jax.ShapeDtypeStruct((batch_size, 2), np.uint32)
        self._decode.lower(self._of_voices, (z, seeds)).compile()

    def generate(
        self,
        imitation: npt.ArrayLike,
        sample_rate_hz: float,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        place: int = 1,
        variation: int = 1,
        steer: str | None = None,
    ) -> np.ndarray:
        """The sound of an imitation: float32 [config.num_samples] in (-1, 1), at self.sample_rate_hz.

        That of a steered model is as long as the imitation without its leading silence, up to 60 s,
        in whole frames of 11 ms, unless steer is "none".

        Args:
            imitation: [samples], or with at most 8 channels, fewer than samples, on the other
                axis, which are averaged. Floats, nominally in [-1, 1], or integers as sound files
                hold them: int16, int32, int8, or uint8 centred at 128. Any array that NumPy can
                take. The first front_end.duration_s (10 s) count.
            sample_rate_hz: its rate, 1 kHz to 1 MHz, resampled with soxr's HQ quality.
            temperature: of the latent's noise, at least 0; 0 gives z = μ.
            seed, place, variation: of that noise, as in the manifest of --mode=generate; the
                last two count from 1. Seed and place are also those of the noise that a decoder
                filters.
            steer: which of its curves steer a steered model, as --steer says; all by default.

        Raises UserError for an imitation without samples, with some that are not finite, of which
        the axes or the scale are not clear, or that is far beyond full scale; and for steer where
        the model is not steered. Warns with a Notice of channels that cancel each other.
        """
        latents.check_noise(temperature, seed)
        asked = SteerRequest(steer=steer)
        steer_request.check_model(asked, self.is_steered, self.config.decoder_type)
        mono, rate_hz = arrays.as_mono(imitation), arrays.as_rate(sample_rate_hz)
        heard = _resampled(mono, rate_hz, self.front_end.sample_rate_hz)
        mu, logvar = self.posterior(fit_length(heard, self.front_end.num_samples)[None])
        z = latents.drawn(mu[0], logvar[0], temperature, [seed, place, variation])[None]
        seeds = np.array([[seed, place]])
        steered_by = gestures.steering_of(asked, kind=None)
        if not (self.is_steered and steered_by.needs_voice):
            return self.decode(z, seeds=seeds)[0]
        voice = voice_of(_resampled(mono, rate_hz, controls.SAMPLE_RATE_HZ))
        curves = steered_by.curves([voice.curves], head=lambda: self.gesture(z))
        return self.render(z, curves, seeds=seeds)[0]


def load(path: str | os.PathLike) -> Model:
    """The model of a training run's workdir, of a QVAE's folder, or on the Hub: whichever it is."""
    if hub_address.is_address(path):
        return load_model(checkpoint=str(path))
    path = pathlib.Path(path)
    description = path / stored.CONFIG_FILE
    if not description.is_file():
        raise UserError(
            f"{path} holds no {description.name}, so it is no model: name the workdir of a "
            "training run or a ported QVAE's folder."
        )
    found = files.read_json(description)
    ported = isinstance(found, dict) and "kind" in found
    return load_model(checkpoint=str(path)) if ported else load_model(workdir=str(path))


def load_model(*, workdir: str | None = None, checkpoint: str | None = None) -> Model:
    """The model of a training run's best checkpoint, or of a QVAE's folder or address on the Hub.

    The run's averaged weights where it keeps an average (ema.decay).
    """
    if (workdir is None) == (checkpoint is None):
        raise UserError("give either --workdir, a training run, or --checkpoint, a ported QVAE.")
    platforms.start_backend()
    if checkpoint is not None:
        folder = hub_address.local_folder(checkpoint)
        return Model(*stored.load_qvae(folder), {"checkpoint": str(checkpoint)})
    run = runs.open_run(workdir)
    model_config = configuration.model_config(run.config)
    expected = variables.split(QVAE(model_config, rng=None))[1]
    with contextlib.closing(stored.Checkpoints(run.folder / runs.CHECKPOINTS)) as kept:
        step = kept.best_step
        if step is None:
            raise UserError(f"{workdir} holds no checkpoint yet: train there first.")
        saved = kept.restore(step)
    last = stored.checked_variables(saved, expected, where=str(kept.directory))
    loaded = stored.averaged(saved, last)
    return Model(model_config, loaded, {"workdir": str(workdir), "step": step})


@functools.cache
def _programs(graphdef: nnx.GraphDef, front_end: FrontEnd) -> tuple[Callable, Callable, Callable]:
    """Waveforms to features, features to posteriors, latents to audio; all take variables first.

    Kept, so that models of one structure share what was compiled.
    """

    def features(given, waveforms):
        return variables.merge(graphdef, given).features(log_mel(waveforms, front_end))

    def heads(given, rows):
        features, voices = rows
        return variables.merge(graphdef, given).posterior(features, voices=voices)

    def decode(given, rows):
        z, seeds = rows
        return variables.merge(graphdef, given).decode(z, seeds=seeds)

    return jax.jit(features), jax.jit(heads), jax.jit(decode)


@functools.cache
def _steered_programs(graphdef: nnx.GraphDef) -> tuple[Callable, Callable]:
    """Latents to curves and durations, and latents with curves to sounds, of a steered model."""

    def gesture(given, z):
        curves, durations_s = variables.merge(graphdef, given).decoder.gesture(z)
        return within_range(curves), durations_s

    def render(given, rows):
        z, curves, lengths, seeds = rows
        valid = np.arange(curves.shape[1]) < lengths[:, None]
        renderer = variables.merge(graphdef, given).decoder.renderer
        return renderer(z, within_range(curves), seeds, valid)

    return jax.jit(gesture), jax.jit(render)


def _as_seeds(seeds: npt.ArrayLike | None, num_rows: int) -> np.ndarray:
    """uint32 [rows, 2]; zeros where none are given."""
    if seeds is None:
        return np.zeros((num_rows, 2), np.uint32)
    return np.asarray(seeds, np.uint32).reshape(num_rows, 2)


def _require_finite(
    found: np.ndarray | tuple[np.ndarray, ...], names: Sequence[str] | None
) -> None:
    """Raises UserError naming the first row [rows, ...] that holds a value that is not finite."""
    for array in found if isinstance(found, tuple) else (found,):
        finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if not finite.all():
            name = "" if names is None else names[int(np.argmin(finite))]
            of = f" of {name}" if name else ""
            raise UserError(
                f"The model makes a sound that is not finite{of}: its weights are damaged, so use "
                "another checkpoint."
            )


def _resampled(mono: np.ndarray, rate_hz: float, wanted_hz: int) -> np.ndarray:
    if rate_hz == wanted_hz:
        return mono
    resampled = soxr.resample(mono, rate_hz, wanted_hz, quality="HQ")
    return fit_length(resampled, math.ceil(len(mono) * wanted_hz / rate_hz))  # as of files
