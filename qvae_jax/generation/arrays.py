"""What callers hand over as arrays, and what of it can be understood: imitations, rates and rows."""

import os

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from qvae_jax.audio.levels import LOUDEST_PEAK, is_beyond_scale, warn_of_levels
from qvae_jax.audio.opening import SAMPLE_RATE_RANGE_HZ
from qvae_jax.system.errors import UserError, first_line

MOST_CHANNELS = 8
# Where zero lies and how far full scale is from it, of the integers that sound is stored in; by the
# kind of NumPy's type and its bytes. Of others, among them Python's own, the scale is not known.
_INTEGER_SCALES = {
    ("u", 1): (128, 2**7),
    ("i", 1): (0, 2**7),
    ("i", 2): (0, 2**15),
    ("i", 4): (0, 2**31),
}


def as_mono(imitation: npt.ArrayLike) -> np.ndarray:
    """An imitation as float32 [samples] on the scale on which full is 1.

    Takes [samples], [samples, channels] or [channels, samples]: of two axes the shorter is that of
    channels, if it has at most 8, and they are averaged. Floats are taken as they are; uint8
    (centred at 128), int8, int16 and int32 are divided by their full scale.

    Raises UserError for anything else, for samples that are not finite, and for floats beyond any
    scale. Warns with a Notice of channels that cancel each other.
    """
    samples = _averaged(_scaled(_as_array(imitation, "The imitation")))
    if not np.isfinite(samples).all():
        raise UserError("The imitation holds samples that are not finite: make it again.")
    return samples


def as_rate(sample_rate_hz: float) -> float:
    """A sample rate in Hz; raises UserError where it is no number, or one that no sound has."""
    lowest, highest = SAMPLE_RATE_RANGE_HZ
    rate = _as_number(sample_rate_hz)
    if rate is None or not lowest <= rate <= highest:
        shown = " ".join(repr(sample_rate_hz).split())[:60]
        raise UserError(
            f"sample_rate_hz is {shown}: give the imitation's rate in Hz, a number from {lowest} to "
            f"{highest}."
        )
    return rate


def as_rows(rows: npt.ArrayLike, row_size: int, name: str) -> np.ndarray:
    """Rows of numbers as float32 [rows, row_size]; name is for the message.

    Raises UserError for another shape, for what are no real numbers, and for what is not finite.
    """
    array = _as_array(rows, name)
    if array.ndim != 2 or array.shape[1] != row_size:
        raise UserError(f"{name} cannot be of shape {array.shape}: give [rows, {row_size}].")
    found = _as_float32(array)
    if not np.isfinite(found).all():
        raise UserError(f"{name} hold values that are not finite: make them again.")
    return found


def as_waveforms(waveforms: npt.ArrayLike, num_samples: int) -> np.ndarray:
    """As as_rows, of sounds on the scale on which full is 1: integers are refused too."""
    array = _as_array(waveforms, "The waveforms")
    if array.dtype.kind in "iu":
        raise UserError(
            f"The waveforms cannot be of type {array.dtype}: divide them by their full scale, to "
            "give floats up to 1."
        )
    return as_rows(array, num_samples, "The waveforms")


def _as_array(given: npt.ArrayLike, name: str) -> np.ndarray:
    """An array of real numbers."""
    if isinstance(given, str | bytes | os.PathLike):
        raise UserError(f"{name} cannot be a text or a path: read the file, and give its samples.")
    if np.ma.is_masked(given):
        raise UserError(f"{name} cannot have masked samples: fill them first.")
    try:
        array = np.asarray(given)
    except Exception as error:  # a library may raise anything where its array is not on the host
        reason = first_line(error).rstrip(".").replace(". ", ": ")
        raise UserError(
            f"{name} cannot be made an array of numbers ({reason}): give a NumPy array, and no rate "
            "with it."
        ) from error
    # Floats that NumPy lacks, such as bfloat16, are JAX's.
    if array.dtype.kind not in "iuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(f"{name} cannot be of type {array.dtype}: give real numbers.")
    return array


def _as_number(given: object) -> float | None:
    """A real number, which may be in an array without axes; None for anything else."""
    try:
        array = np.asarray(given)
    except Exception:  # as above
        return None
    return float(array) if array.ndim == 0 and array.dtype.kind in "iuf" else None


def _as_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return array.astype(np.float32)


def _scaled(array: np.ndarray) -> np.ndarray:
    """float32, with full scale at 1."""
    if array.dtype.kind in "iu":
        zero, full = _integer_scale(array)
        return ((array.astype(np.float64) - zero) / full).astype(np.float32)
    found = _as_float32(array)
    if is_beyond_scale(float(np.abs(found).max(initial=0.0, where=np.isfinite(found)))):
        raise UserError(
            f"The imitation goes beyond {LOUDEST_PEAK:g}, where 1 is full scale, as integers do "
            "that were made floats: divide it by the largest of their scale, such as 32768."
        )
    return found


def _integer_scale(array: np.ndarray) -> tuple[int, int]:
    scale = _INTEGER_SCALES.get((array.dtype.kind, array.dtype.itemsize))
    said = f"of type {array.dtype}"
    if array.dtype.itemsize == 4 and array.any() and abs(array.astype(np.int64)).max() <= 2**15:
        # As sound of 32 bits it would be silence; more likely it is of 16.
        scale, said = None, f"{said} with values of 16 bits"
    if scale is None:
        raise UserError(
            f"The imitation cannot be {said}, of which full scale is not known: give floats up to "
            "1, or integers of the type that a sound file has, such as int16."
        )
    return scale


def _averaged(samples: np.ndarray) -> np.ndarray:
    """[samples], the mean of channels where there are any."""
    shape = samples.shape
    is_clear = len(shape) == 1 or (
        len(shape) == 2 and min(shape) <= MOST_CHANNELS and shape[0] != shape[1]
    )
    if samples.size == 0 or not is_clear:
        raise UserError(
            f"The imitation cannot be of shape {shape}: give [samples], [samples, channels] or "
            f"[channels, samples], with at least one sample, at most {MOST_CHANNELS} channels, and "
            "fewer channels than samples."
        )
    if len(shape) == 1:
        return samples
    channels = samples if shape[0] > shape[1] else samples.T
    mono = channels.mean(axis=1)
    warn_of_levels(channels, mono, "the imitation")
    return mono
