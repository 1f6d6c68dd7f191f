"""What can be told of a sound from its level: samples that none has, and other scales than ±1."""

import warnings

import numpy as np

from qvae_jax.system.errors import Notice

# The largest values that programs write are 32-bit integers stored as floats without scaling.
# Anything larger is other bytes, taken for floats.
_LARGEST_SAMPLE = 2.0**31

# -80 dB, the loss's silence threshold. No sample of such a sound counts there.
SILENT_PEAK = 1e-4

# +20 dB. Mixing floats may pass full scale: ten tracks that all peak at once reach this. Integers
# that were stored as floats without scaling pass it where they are hardly audible: 8 bits at
# -22 dB, 16 bits at -70 dB.
LOUDEST_PEAK = 10.0

# The mean of n unrelated channels has 1/n of their energy. Far less than that, and one is the other
# with its sign changed.
_CANCELLED_SHARE = 1e-3  # of energy, -30 dB
_FEWEST_FRAMES = 1_000  # of fewer, chance may cancel some


def is_plausible(samples: np.ndarray) -> bool:
    """Whether all samples are finite, and no larger than any program writes them."""
    # NaN is the extreme of any array that holds one, and comparisons with it are false.
    lowest, highest = samples.min(initial=0.0), samples.max(initial=0.0)
    return bool(-_LARGEST_SAMPLE <= lowest and highest <= _LARGEST_SAMPLE)


def is_beyond_scale(peak: float) -> bool:
    """Whether a sound with this peak cannot be on a scale on which full is 1."""
    return peak > LOUDEST_PEAK


class Energies:
    """The energy of a sound's channels, and of their mean, added up block by block."""

    def __init__(self) -> None:
        self._num_frames, self._of_channels, self._of_mean = 0, 0.0, 0.0

    def add(self, channels: np.ndarray, mean: np.ndarray) -> None:
        """Adds a block, [frames, channels], and the mean of its channels, [frames]."""
        self._num_frames += len(mean)
        self._of_channels += _energy(channels) / channels.shape[1]
        self._of_mean += _energy(mean)

    @property
    def are_cancelled(self) -> bool:
        """Whether the channels cancel each other, so that little is left of their mean."""
        is_little = self._of_mean < _CANCELLED_SHARE * self._of_channels
        return self._num_frames >= _FEWEST_FRAMES and is_little


def warn_of_levels(channels: np.ndarray, mono: np.ndarray, name: str) -> None:
    """Warns of a sound, [frames, channels], that is on another scale, or is lost in its mean, mono.

    The message says what is wrong with `name`, and is the same for any part of the sound.
    """
    if is_beyond_scale(max(mono.max(initial=0.0), -mono.min(initial=0.0))):
        message = (
            f"{name} goes beyond {LOUDEST_PEAK:g}, where 1 is full scale, as integers do that are "
            "stored as floats; divide its samples by the largest of their scale, such as 32768."
        )
        warnings.warn(message, Notice, stacklevel=2)
    energies = Energies()
    energies.add(channels, mono)
    if energies.are_cancelled:
        message = (
            f"the channels of {name} cancel each other, so that little is left of their mean; "
            "save one of them alone, or change the sign of one."
        )
        warnings.warn(message, Notice, stacklevel=2)


def _energy(samples: np.ndarray) -> float:
    return float(np.vdot(samples, samples))
