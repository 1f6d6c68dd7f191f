"""What can be told of a sound from its level: samples that none has, and other scales than ±1."""

import warnings

import numpy as np

# The largest values that programs write are 32-bit integers stored as floats without scaling.
# Anything larger is other bytes, taken for floats.
_LARGEST_SAMPLE = 2.0**31

# +20 dB. Mixing floats may pass full scale: ten tracks that all peak at once reach this. Integers
# that were stored as floats without scaling pass it where they are hardly audible: 8 bits at
# -22 dB, 16 bits at -70 dB.
LOUDEST_PEAK = 10.0

# The mean of n unrelated channels has 1/n of their energy. Far less than that, and one is the other
# with its sign changed.
_CANCELLED_SHARE = 1e-3  # of energy, -30 dB
_FEWEST_FRAMES = 1_000  # of fewer, chance may cancel some


class SoundWarning(UserWarning):
    """A sound that can be read, but is hardly what was meant; the message names its file."""


def is_plausible(samples: np.ndarray) -> bool:
    """Whether all samples are finite, and no larger than any program writes them."""
    # NaN is the extreme of any array that holds one, and comparisons with it are false.
    lowest, highest = samples.min(initial=0.0), samples.max(initial=0.0)
    return bool(-_LARGEST_SAMPLE <= lowest and highest <= _LARGEST_SAMPLE)


def is_beyond_scale(peak: float) -> bool:
    """Whether a sound with this peak cannot be on a scale on which full is 1."""
    return peak > LOUDEST_PEAK


def is_cancelled(mean_energy: float, energy: float) -> bool:
    """Whether channels cancel each other: energy of their mean, against the mean of theirs."""
    return mean_energy < _CANCELLED_SHARE * energy


def warn_of_levels(channels: np.ndarray, mono: np.ndarray, name: str) -> None:
    """Warns of a sound, [frames, channels], that is on another scale, or is lost in its mean, mono.

    The message says what is wrong with `name`, and is the same for any part of the sound.
    """
    if is_beyond_scale(max(mono.max(initial=0.0), -mono.min(initial=0.0))):
        message = (
            f"{name} goes beyond {LOUDEST_PEAK:g}, where 1 is full scale, as integers do that are "
            "stored as floats; divide its samples by the largest of their scale, such as 32768."
        )
        warnings.warn(message, SoundWarning, stacklevel=2)
    if len(mono) >= _FEWEST_FRAMES and is_cancelled(_energy(mono), _energy(channels)):
        message = (
            f"the channels of {name} cancel each other, so that little is left of their mean; "
            "save one of them alone, or change the sign of one."
        )
        warnings.warn(message, SoundWarning, stacklevel=2)


def _energy(samples: np.ndarray) -> float:
    """The mean of squares; NaN and infinity are not looked for."""
    return float(np.mean(np.square(samples, dtype=np.float64)))
