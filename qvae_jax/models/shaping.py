"""What makes a frame's spectrum agree with its curves: harmonics, tilt, gain, and a last correction.

Each moves what the spectral head has made as little as the curves ask for, and by no more than its
bound.
"""

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.audio import controls, inverse_stft
from qvae_jax.audio.controls import CENTROID, PERIODICITY, PITCH
from qvae_jax.audio.excitation import voiced_share
from qvae_jax.models.spectral_head import FIRST_BIN, Filters

# A frame lasts as long at any rate, so that its bins lie as close, and there are more of them.
BIN_HZ = controls.SAMPLE_RATE_HZ / (inverse_stft.HOPS_PER_WINDOW * controls.HOP_LENGTH)
# By how much a frame is made louder or softer where the frames' sum is not as loud as its curve:
# those whose phases do not meet cancel each other. No more, so that no frame bursts.
LARGEST_CORRECTION = 4.0
PERIODIC_UP_TO_HZ = 2_500.0
# 80 dB: of z that is heard as a hiss the head makes hardly any harmonics, and by 18 dB every seventh
# voiced frame of a voice stayed a hiss. The gain undoes what this does to a frame's loudness.
LARGEST_STRENGTH = 1e4
# In training the curves are the target's own, and ask for little. A head whose harmonics are made as
# strong as they should be, whatever it does, unlearns them: trained so, 8 % of a voice's voiced frames
# were not, instead of 5 %.
LARGEST_STRENGTH_IN_TRAINING = 8.0
# In use, by how much the filter of a voiced frame's excitation lies at most lower at its fundamental than
# anywhere above. Of a pitch that was not trained on the fundamental may be missing, and the sound is
# heard an octave off. All harmonics raised so cost five times as much of the likeness to references.
LARGEST_STEP_DOWN_DB = 9.0  # 12 where a tilt takes 3 of them away, which the tracker just bears
# By how much a frame's spectrum is tilted at most, 6 dB an octave where it is unvoiced. Of a voice's z,
# colours are off: by the same weights, eight pairs are at an STFT distance of 1.85, and of 1.91 with
# half as much. Of a voiced frame the fundamental must stay to be heard: half as much. What lies lower
# is hardly heard, and what lies higher is little.
STEEPEST, STEEPEST_OF_VOICED = 1.0, 0.5
TILTED_HZ = (200.0, 8_000.0)
NEWTON_STEPS = 3
LEAST_SLOPE = 0.02  # a spectrum of one tone cannot be tilted
FLOOR_POWER = 10 ** (controls.LOUDNESS_FLOOR_DB / 10)
SILENT_WITHIN_DB = 1e-3  # above the loudness curve's floor
LEAST_POWER = 1e-9  # of a frame's shape, to divide by


def as_periodic(
    filters: Filters, excited_power: jax.Array, curves: jax.Array, *, train: bool = False
) -> Filters:
    """The filters with an excitation at least as strong as a voiced frame's periodicity asks for.

    Of the power up to PERIODIC_UP_TO_HZ, where the pitch tracker listens, harmonics are then at
    least the root of the share that makes a frame so like its period, in training that share
    itself: with no more, frames that are hardly voiced fall to the tracker's other side. It is made
    stronger by at most LARGEST_STRENGTH or LARGEST_STRENGTH_IN_TRAINING, and never weaker. No
    gradient goes through that factor, whose slope is without bound where a voice begins. In use,
    its fundamental is raised first, see LARGEST_STEP_DOWN_DB.
    """
    low = slice(FIRST_BIN, int(PERIODIC_UP_TO_HZ / BIN_HZ))
    if not train:
        filters = _with_fundamental(filters, curves, low)
    in_harmonics = jnp.sum(jnp.square(filters.excitation[..., low]) * excited_power[..., low], -1)
    in_noise = jnp.sum(jnp.square(filters.noise[..., low]), -1)
    share, largest = controls.likeness(curves[..., PERIODICITY]), LARGEST_STRENGTH_IN_TRAINING
    if not train:
        share, largest = jnp.sqrt(share), LARGEST_STRENGTH
    wanted = in_noise * share / (1 - share)
    missing = jnp.sqrt(wanted / (in_harmonics + LEAST_POWER))
    strength = jnp.clip(missing * voiced_share(curves), 1.0, largest)
    strength = jax.lax.stop_gradient(strength)
    return filters._replace(excitation=filters.excitation * strength[..., None])


def _with_fundamental(filters: Filters, curves: jax.Array, low: slice) -> Filters:
    """The filters with an excitation that is not much weaker at the pitch than anywhere above it.

    At the pitch are the bins nearer to it than to 0 Hz and to its octave; low are those looked at.
    """
    pitch_hz = controls.hertz(curves[..., PITCH])[..., None]
    bins = np.arange(filters.excitation.shape[-1])
    multiple = bins * BIN_HZ / pitch_hz
    above = multiple[..., low] > 0.5
    strongest = jnp.max(filters.excitation[..., low] * above, axis=-1, keepdims=True)
    least = strongest * 10 ** (-LARGEST_STEP_DOWN_DB / 20) * voiced_share(curves)[..., None]
    at_pitch = (jnp.abs(multiple - 1) < 0.5) & (bins >= low.start) & (bins < low.stop)
    # No magnitude is below 0, and no runtime has to write into an array.
    return filters._replace(excitation=jnp.maximum(filters.excitation, least * at_pitch))


def tilt(curves: jax.Array, power: jax.Array, sample_rate_hz: int) -> jax.Array:
    """Factors [batch, frames, bins] that move the centroids of frames of this power to the curves'.

    The centroid is that of the bins that curves tell of (controls.num_measured_bins).

    The factors are (f / 1 kHz)^a, the same beyond TILTED_HZ, and a is found by Newton's method, within
    its bound, for the logarithm of the centroid: its slope by a is the covariance of f and ln f over
    the frame, over the mean of f. No gradient goes through a: the head learns what it is given as it
    is tilted.
    """
    hz = np.arange(power.shape[-1]) * BIN_HZ
    height = np.log(np.clip(hz, *TILTED_HZ) / 1000)
    moments = np.stack([np.ones_like(hz), hz, height, hz * height], -1).astype(np.float32)
    height = height.astype(np.float32)
    measured = controls.num_measured_bins(_window_length(power), sample_rate_hz)
    moments, measured_height = moments[:measured], height[:measured]
    magnitude = jnp.sqrt(jax.lax.stop_gradient(power[..., :measured]))
    wanted = jnp.log(controls.hertz(curves[..., CENTROID]))
    steepest = STEEPEST + (STEEPEST_OF_VOICED - STEEPEST) * voiced_share(curves)
    steepness = jnp.zeros_like(wanted)
    for _ in range(NEWTON_STEPS):
        tilted = magnitude * jnp.exp(steepness[..., None] * measured_height)
        total, of_hz, of_height, of_both = jnp.moveaxis(tilted @ moments, -1, 0)
        total = total + LEAST_POWER
        mean_hz, mean_height = of_hz / total + LEAST_POWER, of_height / total
        slope = (of_both / total - mean_hz * mean_height) / mean_hz
        step = (wanted - jnp.log(mean_hz)) / jnp.maximum(slope, LEAST_SLOPE)
        steepness = jnp.clip(steepness + step, -steepest, steepest)
    return jnp.exp(jax.lax.stop_gradient(steepness)[..., None] * height)


def gain(loudness_db: jax.Array, power: jax.Array, sample_rate_hz: int) -> jax.Array:
    """The factor [batch, frames] that gives frames of this power [batch, frames, bins] a loudness.

    At the loudness curve's floor it is 0: a silent frame is silent.
    """
    silent = loudness_db <= controls.LOUDNESS_FLOOR_DB + SILENT_WITHIN_DB
    # A root has no slope at 0, so that of silent frames is of something else, and not taken.
    wanted = jnp.where(silent, 1.0, 10 ** (loudness_db / 10) - FLOOR_POWER)
    weights = controls.loudness_weights(_window_length(power), sample_rate_hz)
    return jnp.where(silent, 0.0, jnp.sqrt(wanted / (power @ weights + LEAST_POWER)))


def correction(loudness_db: jax.Array, sound: jax.Array, sample_rate_hz: int) -> jax.Array:
    """The factor [batch, frames] by which a sound is as loud as its curve, within bounds."""
    made = controls.loudness_power(sound, sample_rate_hz)
    ratio = 10 ** (loudness_db / 10) / (made + FLOOR_POWER)
    return jnp.sqrt(jnp.clip(ratio, LARGEST_CORRECTION**-2, LARGEST_CORRECTION**2))


def _window_length(power: jax.Array) -> int:
    """Samples of the frames that have these bins."""
    return 2 * (power.shape[-1] - 1)
