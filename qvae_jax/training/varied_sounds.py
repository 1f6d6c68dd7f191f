"""The augmentations of a run put together: waveforms of a training step to varied log-mels.

Of those that lie in ONE_OF, a clip may get one at most, which the host draws with pitch and
stretch (host_augmentations.py); the mel bank and MixStyle vary whole batches besides.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections

from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.training import augmentations

ONE_OF = ("roll", "gain", "noise", "pitch", "stretch", "frames", "frequency_mask", "time_mask")
ON_HOST = ("pitch", "stretch")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How much sounds vary in training; configs/vimsketch.py says what each number means."""

    at_most_one: bool = False
    roll_samples: int = 0
    gain_db: float = 0.0
    noise_snr_db: tuple[float, ...] = ()
    pitch_semitones: float = 0.0
    stretch_factor: float = 1.0
    changed_frames: float = 0.0
    frequency_mask_mels: int = 0
    time_mask_frames: int = 0
    mel_low_hz: int = 0
    mel_high_hz: int = 0
    mixstyle_probability: float = 0.0
    mixstyle_alpha: float = 0.4

    @classmethod
    def of(cls, config: ml_collections.ConfigDict) -> "Augmentation":
        """As config.augment says."""
        settings = config.augment.to_dict()
        return cls(**settings | {"noise_snr_db": tuple(settings["noise_snr_db"])})

    @property
    def used(self) -> tuple[str, ...]:
        """Those of ONE_OF that do anything."""
        does = {
            "roll": self.roll_samples > 0,
            "gain": self.gain_db > 0,
            "noise": bool(self.noise_snr_db),
            "pitch": self.pitch_semitones > 0,
            "stretch": self.stretch_factor > 1,
            "frames": self.changed_frames > 0,
            "frequency_mask": self.frequency_mask_mels > 0,
            "time_mask": self.time_mask_frames > 0,
        }
        return tuple(name for name in ONE_OF if does[name])

    @property
    def on_host(self) -> tuple[str, ...]:
        """Those of them that the host does."""
        return tuple(name for name in self.used if name in ON_HOST)


def varied_log_mels(
    key: jax.Array,
    waveforms: jax.Array,
    chosen: jax.Array | None,
    settings: Augmentation,
    front_end: FrontEnd,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Log-mels [batch, mels, frames] of waveforms [batch, samples], varied as the settings say.

    chosen, int [batch], is the place in ONE_OF of the only one that a row gets, or -1; None where
    each gets all. What the host does is done already.
    """
    cut = {"axis_name": axis_name}
    of = {
        name: lambda x, name=name, vary=vary, values=values: vary(
            _key_of(key, name), x, *values, **cut
        )
        for name, vary, values in (
            ("roll", augmentations.roll, (settings.roll_samples,)),
            ("gain", augmentations.gain, (settings.gain_db,)),
            ("noise", augmentations.noise, settings.noise_snr_db),
            ("frames", augmentations.drop_or_double_frames, (settings.changed_frames,)),
            (
                "frequency_mask",
                augmentations.mask_frequencies,
                (settings.frequency_mask_mels,),
            ),
            ("time_mask", augmentations.mask_times, (settings.time_mask_frames,)),
        )
        if name in settings.used
    }
    of_waveforms = [name for name in ("roll", "gain", "noise") if name in of]
    x = _each(waveforms, chosen, {name: of.pop(name) for name in of_waveforms})
    bank = None
    if settings.mel_low_hz or settings.mel_high_hz:
        ranges_hz = settings.mel_low_hz, settings.mel_high_hz
        bank = augmentations.jittered_mel_bank(_key_of(key, "mel"), front_end, *ranges_hz)
    x = _each(log_mel(x, front_end, bank), chosen, of)
    if settings.mixstyle_probability:
        mixing = settings.mixstyle_probability, settings.mixstyle_alpha
        x = augmentations.mixstyle(_key_of(key, "mixstyle"), x, *mixing, **cut)
    return x


def _each(
    x: jax.Array, chosen: jax.Array | None, of: dict[str, Callable[[jax.Array], jax.Array]]
) -> jax.Array:
    """x after each augmentation, or each row after its chosen one."""
    for name, vary in of.items():
        varied = vary(x)
        if chosen is not None:
            is_chosen = (chosen == ONE_OF.index(name)).reshape(-1, *[1] * (x.ndim - 1))
            varied = jnp.where(is_chosen, varied, x)
        x = varied
    return x


def _key_of(key: jax.Array, name: str) -> jax.Array:
    """A key for each kind, so that one's draws do not depend on which others there are."""
    return jax.random.fold_in(key, (*ONE_OF, "mel", "mixstyle").index(name))
