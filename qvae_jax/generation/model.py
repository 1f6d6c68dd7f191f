"""A trained model as two functions, waveforms to posteriors and latents to audio."""

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable

import jax
import numpy as np
import soxr

from qvae_jax import configuration
from qvae_jax.audio.files import fit_length
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.generation import latents
from qvae_jax.models import decoders, stored, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError


class Model:
    """A QVAE's weights on the device, with its programs, each compiled once per batch size.

    Attributes:
        config: what the model is.
        variables: its arrays.
        source: its folder, and for a run the step of its checkpoint, for the manifest.
        sample_rate_hz: of the audio it gives.
    """

    sample_rate_hz = decoders.SAMPLE_RATE_HZ

    def __init__(self, config: QVAEConfig, model_variables: Variables, source: dict | None = None):
        self.config = config
        self.source = source or {}
        self.variables = jax.device_put(model_variables)
        self._features, self._heads, self._decode = _programs(config)

    @property
    def front_end(self) -> FrontEnd:
        """What the model hears: rate, duration and log-mel."""
        return self.config.front_end

    def features(self, waveforms: np.ndarray) -> np.ndarray:
        """The encoder's features of unit norm, [batch, feature_dim].

        waveforms are [batch, front_end.num_samples].
        """
        return np.asarray(self._features(self.variables, np.asarray(waveforms, np.float32)))

    def heads(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """μ and log σ² of features: two [batch, latent]."""
        mu, logvar = self._heads(self.variables, features)
        return np.asarray(mu), np.asarray(logvar)

    def posterior(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """μ and log σ², [batch, latent] each, of waveforms [batch, front_end.num_samples]."""
        return self.heads(self.features(waveforms))

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Audio [batch, 59049] in (-1, 1) at 22,050 Hz of latents [batch, latent]."""
        return np.asarray(self._decode(self.variables, np.asarray(z, np.float32)))

    def compile_decoder(self, batch_size: int) -> None:
        """Compiles what decode runs for batches of this size; for a thread beside other work."""
        z = jax.ShapeDtypeStruct((batch_size, self.config.latent_dim), np.float32)
        self._decode.lower(self.variables, z).compile()

    def generate(
        self,
        imitation: np.ndarray,
        sample_rate_hz: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        place: int = 1,
        variation: int = 1,
    ) -> np.ndarray:
        """The sound of an imitation: float32 [59049] in (-1, 1) at 22,050 Hz.

        Args:
            imitation: [samples], or [samples, channels], which are averaged; nominally in [-1, 1].
                The first front_end.duration_s (10 s) count.
            sample_rate_hz: its rate, resampled with soxr's HQ quality.
            temperature: of the latent's noise, at least 0; 0 gives z = μ.
            seed, place, variation: of that noise, as in the manifest of --mode=generate; the
                last two count from 1.

        Raises UserError for an imitation without samples, or with some that are not finite.
        """
        latents.check_noise(temperature, seed)
        waveform = _as_heard(imitation, sample_rate_hz, self.front_end)
        mu, logvar = self.posterior(waveform[None])
        z = latents.drawn(mu[0], logvar[0], temperature, [seed, place, variation])
        return self.decode(z[None])[0]


def load(path: str | os.PathLike) -> Model:
    """The model of a training run's workdir, or of a ported QVAE's folder: whichever it is."""
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
    """The model of a training run's best checkpoint, or of a ported QVAE's folder.

    The run's averaged weights where it keeps an average (ema.decay).
    """
    if (workdir is None) == (checkpoint is None):
        raise UserError("give either --workdir, a training run, or --checkpoint, a ported QVAE.")
    if checkpoint is not None:
        return Model(*stored.load_qvae(checkpoint), {"checkpoint": str(checkpoint)})
    config = configuration.read_run(pathlib.Path(workdir))
    model_config = configuration.model_config(config)
    expected = variables.split(QVAE(model_config, rng=None))[1]
    run = stored.Checkpoints(pathlib.Path(workdir) / "checkpoints")
    with contextlib.closing(run) as kept:
        step = kept.best_step
        if step is None:
            raise UserError(f"{workdir} holds no checkpoint yet: train there first.")
        saved = kept.restore(step)
    last = stored.checked_variables(saved, expected, where=str(kept.directory))
    loaded = stored.averaged(saved, last)
    return Model(model_config, loaded, {"workdir": str(workdir), "step": step})


@functools.cache
def _programs(config: QVAEConfig) -> tuple[Callable, Callable, Callable]:
    """Waveforms to features, features to posteriors, latents to audio; all take variables first.

    Kept, so that models of one kind share what was compiled.
    """
    graphdef, _ = variables.split(QVAE(config, rng=None))

    def features(given, waveforms):
        return variables.merge(graphdef, given).features(log_mel(waveforms, config.front_end))

    def heads(given, features):
        return variables.merge(graphdef, given).posterior(features)

    def decode(given, z):
        return variables.merge(graphdef, given).decode(z)

    return jax.jit(features), jax.jit(heads), jax.jit(decode)


def _as_heard(imitation: np.ndarray, sample_rate_hz: int, front_end: FrontEnd) -> np.ndarray:
    """[front_end.num_samples], mono, cut or padded at its end."""
    samples = np.asarray(imitation, np.float32)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise UserError(
            f"The imitation is an array of shape {samples.shape}: give [samples] or [samples, "
            "channels], with at least one sample."
        )
    if not sample_rate_hz > 0:
        raise UserError(f"sample_rate_hz is {sample_rate_hz}: give the imitation's rate in Hz.")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise UserError("The imitation holds samples that are not finite: make it again.")
    if sample_rate_hz != front_end.sample_rate_hz:
        mono = soxr.resample(mono, sample_rate_hz, front_end.sample_rate_hz, quality="HQ")
    return fit_length(mono, front_end.num_samples)
