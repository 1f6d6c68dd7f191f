"""From the front end's rate to that of the curves, by the filter that soxr has for it.

Between two rates of whole numbers an output depends on the inputs around it, and by the same weights
as the output one period later: 441 outputs for 640 inputs, from 32,000 Hz to 22,050 Hz. The weights
are measured: what soxr makes of one sample alone, at each place of a period, is its filter.

    inputs    |··········640··········|··········640··········|
    frames  ──reach──|    first outputs of each period    |──reach──
    outputs   |·········441·········|·········441·········|
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import soxr

from qvae_jax.audio import stft
from qvae_jax.audio.controls import SAMPLE_RATE_HZ

REACH = 100  # samples at the lower rate: beyond it, soxr's HQ filter is below 1e-7
# Outputs that are computed by one product, of one frame around them: of more, most weights are 0.
PHASES_TOGETHER = 63


def resampled(samples: jax.Array, rate_hz: int) -> jax.Array:
    """Sounds at rate_hz at 22,050 Hz, as soxr's HQ quality has them: [..., n] -> [..., count(n)].

    Beyond both ends a sound is silent.
    """
    if rate_hz == SAMPLE_RATE_HZ:
        return samples
    up, down = _ratio(rate_hz)
    weights, reach = _weights(rate_hz)
    wanted = count(samples.shape[-1], rate_hz)
    num_periods = -(-wanted // up)
    after = num_periods * down + reach - samples.shape[-1]
    edges = [(0, 0)] * (samples.ndim - 1) + [(reach, max(0, after))]
    padded = jnp.pad(samples, edges)
    parts = []
    for first in range(0, up, PHASES_TOGETHER):
        phases = slice(first, min(first + PHASES_TOGETHER, up))
        reached = slice(phases.start * down // up, (phases.stop - 1) * down // up + 2 * reach + 1)
        length = reached.stop - reached.start
        ends = reached.start + (num_periods - 1) * down + length
        frames = stft.frame(padded[..., reached.start : ends], length, down)
        product = jnp.matmul(frames, weights[reached, phases], precision=jax.lax.Precision.HIGHEST)
        parts.append(product)
    whole = jnp.concatenate(parts, axis=-1)
    return whole.reshape(*samples.shape[:-1], num_periods * up)[..., :wanted]


def count(num_samples, rate_hz: int):
    """How many samples at 22,050 Hz so many at rate_hz become; also of arrays of whole numbers."""
    up, down = _ratio(rate_hz)
    return -(-num_samples * up // down)


def _ratio(rate_hz: int) -> tuple[int, int]:
    common = math.gcd(SAMPLE_RATE_HZ, rate_hz)
    return SAMPLE_RATE_HZ // common, rate_hz // common


@functools.cache
def _weights(rate_hz: int) -> tuple[np.ndarray, int]:
    """Of each output of a period by each input around it: float32 [reach + down + reach, up]; reach."""
    up, down = _ratio(rate_hz)
    reach = math.ceil(REACH * max(1.0, down / up))
    before = 2 + reach // down  # periods of silence, before the one with a sample and after it
    alone = np.zeros(((2 * before + 1) * down, down))
    alone[before * down + np.arange(down), np.arange(down)] = 1.0
    made = soxr.resample(alone, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    weights = np.zeros((2 * reach + down, up), np.float32)
    for period in range(2 * before + 1):
        # Where the samples lie as seen from this period, of which the first input is at reach.
        rows = (before - period) * down + np.arange(down) + reach
        seen = (rows >= 0) & (rows < len(weights))
        weights[rows[seen]] = made[period * up : (period + 1) * up].T[seen]
    return weights, reach
