"""The pitch of a sound, frame by frame: normalised cross-correlation, and the best path through it.

After RAPT (Talkin, 1995): a frame is compared with itself some lag later, the lags at which it is
most like itself are its candidates, and the path that is likely and steady is taken through all
frames. Plain JAX of fixed shapes, so that a file, a server and an exported graph hear one pitch.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qvae_jax.audio import onnx, stft
from qvae_jax.system import platforms

SAMPLE_RATE_HZ = 22_050
HOP_LENGTH = 243  # samples; frame n is centred at (n + 1/2) of them

# What is heard of a sound is its part below this: harmonics enough to know a voice by, and few
# enough that a lag of few samples can be told from its neighbours.
CUTOFF_HZ = 2_500.0
NUM_TAPS = 47

NUM_CANDIDATES = 6  # of a frame: octaves and fifths of a clear tone are five
# A likeness below it, less the cost of its lag, is no pitch. 0.4 leaves noise of any colour
# unvoiced and hears a tone in noise as strong as itself.
VOICED_LIKENESS = 0.40
LAG_COST = 0.045  # an octave: a sound is as much like itself after two periods as after one
OCTAVE_COST = 0.9  # of a jump by an octave between two frames
SWITCH_COST = 0.12  # of a change between voiced and unvoiced
# The share of a frame's energy that must lie below the cut-off to count: of a hiss only the edge of
# the filter's band is left, which would pass for a whistle there.
LEAST_SHARE = 0.005
NEVER = 1e6  # a cost that no path pays
SILENCE = 1e-7  # mean square of what is no sound, -67 dB re a full-scale sine
# A frame that is so much weaker than one of those around, -25 dB, is a gap: what the longest window
# hears there is the sound before it, or the next.
GAP_SHARE = 0.003
GAP_FRAMES = 6  # to each side, as far as that window reaches


@dataclasses.dataclass(frozen=True)
class Band:
    """Lags that are looked at together. All but decimation is in decimated samples.

    Attributes:
        decimation: only each so many-th sample is looked at.
        window: what is compared: three periods of the lowest pitch at least.
        first_lag: the shortest lag.
        end_lag: one more than the longest.
        comparisons: how often a frame must be like itself some periods later, too. Any short window
            finds a likeness in noise, and a hiss of which the filter has left an edge goes on like a
            whistle for two or three periods; but not on and on.
        reach: the lag of the last comparison, as nearly as multiples come to it. The others part it
            evenly.
        near: by how much the lag of a comparison may be off: a lag of whole samples is wrong by up to
            half of one, its multiple by a half of each, and a pitch that glides is later another.
    """

    decimation: int
    window: int
    first_lag: int
    end_lag: int
    comparisons: int = 0
    reach: int = 0
    near: int = 0

    @property
    def lags(self) -> np.ndarray:
        """Each lag that may be a period."""
        return np.arange(self.first_lag, self.end_lag)

    @property
    def multiples(self) -> np.ndarray:
        """How many periods each comparison is over, [comparisons, lags].

        From two on, by turns an even and an odd number: where every second harmonic is strong, half
        a period is told from a whole one by odd numbers alone.
        """
        least = np.arange(2, 2 + self.comparisons)[:, None]
        reaches = self.reach * (least - 1) // self.comparisons
        return least + np.maximum(0, reaches // self.lags - least) // 2 * 2

    @property
    def longest_lag(self) -> int:
        """The longest that is looked at."""
        return int(np.max(self.multiples * self.lags, initial=self.end_lag))


# From 2,205 Hz down to 59 Hz. All windows cost about the same; they last 23, 46, 46 and 93 ms.
BANDS = (
    Band(1, 512, 10, 46, comparisons=3, reach=180, near=6),
    Band(2, 512, 23, 56, comparisons=1, reach=46, near=2),
    Band(2, 512, 55, 121),
    Band(4, 512, 60, 94),
)


def track_pitch(
    samples: jax.Array, num_frames: int, num_valid: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pitch, likeness and voicing of one sound: three arrays [num_frames].

    Args:
        samples: [n] at 22,050 Hz; zeros beyond its end.
        num_frames: of HOP_LENGTH samples.
        num_valid: how many of them hold the sound. The others do not change its path.

    Returns:
        Hz between 58 and 2,300, meaningless where unvoiced; how like itself a frame is one period
        later, in [0, 1]; and whether it is voiced.
    """
    mean_square = jnp.mean(jnp.square(_frames(samples, num_frames, 1024, 1)), axis=1)
    loudest = lax.reduce_window(mean_square, 0.0, lax.max, (2 * GAP_FRAMES + 1,), (1,), "SAME")
    gap = (mean_square < SILENCE + GAP_SHARE * loudest)[:, None]
    floor = SILENCE + LEAST_SHARE * mean_square
    # To the very end of what the filter makes of the sound, wherever the array ends.
    filtered = jnp.convolve(samples, _low_pass(), "full")
    score, likeness, lag = _candidates(filtered, floor)
    score, likeness = (jnp.where(gap, -1.0, found) for found in (score, likeness))
    path = _best_path(score, jnp.log2(lag), jnp.arange(num_frames) < num_valid)
    voiced = path < NUM_CANDIDATES
    place = jnp.minimum(path, NUM_CANDIDATES - 1)[:, None]
    chosen = jnp.take_along_axis(likeness, place, axis=1)[:, 0]
    likeness = jnp.where(voiced, chosen, jnp.max(likeness, axis=1))
    hz = SAMPLE_RATE_HZ / jnp.take_along_axis(lag, place, axis=1)[:, 0]
    return hz, jnp.clip(likeness, 0.0, 1.0), voiced


def _low_pass() -> np.ndarray:
    """A windowed sinc, float32 [NUM_TAPS]."""
    places = np.arange(NUM_TAPS) - NUM_TAPS // 2
    taps = np.sinc(2 * CUTOFF_HZ / SAMPLE_RATE_HZ * places) * np.hanning(NUM_TAPS + 2)[1:-1]
    return (taps / taps.sum()).astype(np.float32)


def _frames(
    samples: jax.Array, num_frames: int, length: int, decimation: int, delay: int = 0
) -> jax.Array:
    """Frames [num_frames, length] of each decimation-th sample, centred where frames are.

    delay is by how many samples what is framed comes late.
    """
    before = length * decimation // 2 - HOP_LENGTH // 2 - delay
    # Of every decimation-th frame the samples are those of one decimated sound, from where the first
    # of these frames begins.
    count = -(-num_frames // decimation)
    reach = (count - 1) * HOP_LENGTH + length
    after = (decimation - 1) * HOP_LENGTH + reach * decimation - before - len(samples)
    padded = jnp.pad(samples, (before, max(0, after)))
    apart = [
        stft.frame(padded[first * HOP_LENGTH :: decimation][:reach], length, HOP_LENGTH)
        for first in range(decimation)
    ]
    return jnp.stack(apart, axis=1).reshape(count * decimation, length)[:num_frames]


def _candidates(samples: jax.Array, floor: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The best peaks of each frame, best first: scores, likenesses, lags [frames, candidates].

    Lags are in samples at SAMPLE_RATE_HZ, between whole ones by a parabola. floor is [frames].
    """
    found = [_peaks(samples, floor, band) for band in BANDS]
    likeness, lag = (jnp.concatenate(parts, axis=1) for parts in zip(*found))
    score = likeness - LAG_COST * jnp.log2(lag / BANDS[0].first_lag)
    score, place = lax.top_k(score, NUM_CANDIDATES)
    return (
        score,
        jnp.take_along_axis(likeness, place, axis=1),
        jnp.take_along_axis(lag, place, axis=1),
    )


def _peaks(samples: jax.Array, floor: jax.Array, band: Band) -> tuple[jax.Array, jax.Array]:
    """Likeness and lag of the peak at each lag of a band [frames, lags]; -1 where there is none."""
    likeness = _likeness(samples, floor, band)
    before, here, after = (likeness[:, i : i + len(band.lags)] for i in range(3))
    is_peak = (here >= before) & (here > after)
    curvature = before - 2 * here + after
    shift = jnp.where(is_peak, (before - after) / jnp.where(curvature < 0, 2 * curvature, -1.0), 0)
    height = here - (before - after) * shift / 4
    agreeing = [height, *_at_multiples(likeness, band)]
    height = jnp.where(is_peak, sum(agreeing) / len(agreeing), -1.0)
    return height, band.decimation * (band.lags + shift)


def _at_multiples(likeness: jax.Array, band: Band) -> list[jax.Array]:
    """The likeness after as many periods of each lag as each of the band's comparisons asks for.

    The best of those near it counts.
    """
    if not band.comparisons:
        return []  # else exported graphs would widen what nobody looks at
    window = (1, 2 * band.near + 1)
    widened = lax.reduce_window(likeness, -jnp.inf, lax.max, window, (1, 1), "SAME")
    return [widened[:, times * band.lags - (band.first_lag - 1)] for times in band.multiples]


def _likeness(samples: jax.Array, floor: jax.Array, band: Band) -> jax.Array:
    """How like its later self a frame is: [frames, lags], from first_lag - 1 on.

    2·Σ x(t)·x(t + lag) / (Σ x(t)² + Σ x(t + lag)²): 1 for equal, 0 for unrelated. Beyond the
    longest lag it goes on as far as the multiples need.
    """
    longest = band.longest_lag
    length = band.window + longest
    frames = _frames(samples, len(floor), length, band.decimation, delay=NUM_TAPS // 2)
    frames -= jnp.mean(frames, axis=1, keepdims=True)  # a constant is like itself at every lag
    lags = np.arange(band.first_lag - 1, longest + 1)
    products = _correlated(frames, band.window, lags[0], lags[-1] + 1)
    # A matrix product, for differences of running sums lose what is soft after what is loud.
    places = np.arange(length)[:, None]
    inside = (lags <= places) & (places < lags + band.window)
    squares = jnp.square(frames)
    here = jnp.sum(squares[:, : band.window], axis=1, keepdims=True)
    later = jnp.matmul(squares, inside.astype(np.float32), precision=lax.Precision.HIGHEST)
    return 2 * products / (here + later + 2 * band.window * floor[:, None])


@platforms.with_onnx_form(onnx.correlated)
def _correlated(frames: jax.Array, window: int, first_lag: int, end_lag: int) -> jax.Array:
    """Σ x(t)·x(t + lag) over a frame's first samples, a window of them: [frames, lags]."""
    size = _transform_size(frames.shape[-1])
    spectrum = jnp.fft.rfft(frames, size) * jnp.conj(jnp.fft.rfft(frames[:, :window], size))
    return jnp.fft.irfft(spectrum, size)[:, first_lag:end_lag]


def _transform_size(num_samples: int) -> int:
    """The least product of twos, threes and fives that is as long: fast transforms are."""
    size = num_samples
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and size % 2 == 0:
            return size
        size += 1


def _best_path(score: jax.Array, octave: jax.Array, valid: jax.Array) -> jax.Array:
    """The candidate of each frame on the cheapest path, NUM_CANDIDATES where unvoiced: [frames].

    Costs of a frame are 1 - score, of a step those of the jump in pitch. Frames that are not valid
    cost nothing and change no state.
    """
    unvoiced = jnp.full((len(score), 1), 1.0 - VOICED_LIKENESS)
    costs = jnp.concatenate([1.0 - score, unvoiced], axis=1)
    # A jump of more octaves than two is a new sound, however far it goes.
    jump = jnp.minimum(jnp.abs(octave[1:, :, None] - octave[:-1, None, :]), 2.0)
    switch = jnp.pad(OCTAVE_COST * jump, ((0, 0), (0, 1), (0, 1)), constant_values=SWITCH_COST)
    stays = np.eye(costs.shape[1], dtype=bool)
    unvoiced_stays = stays & (np.arange(len(stays)) == NUM_CANDIDATES)
    steps = jnp.where(unvoiced_stays, 0.0, switch) + costs[1:, :, None]
    steps = jnp.where(valid[1:, None, None], steps, np.where(stays, 0.0, NEVER))
    return _cheapest(costs[0], steps)


@platforms.with_onnx_form(onnx.cheapest)
def _cheapest(first: jax.Array, steps: jax.Array) -> jax.Array:
    """The states [n] of the cheapest path (Viterbi's algorithm).

    first [states] are the costs of beginning in each, steps [n - 1, states, states] those of being in
    each state, by rows, after each of the one before.
    """

    def advance(total, step):
        sums = step + total
        reached = jnp.min(sums, axis=1)
        # Only differences count; without this, rounding would grow with the sound's length.
        return reached - jnp.min(reached), jnp.argmin(sums, axis=1)

    total, came_from = lax.scan(advance, first, steps)

    def retrace(state, sources):
        return sources[state], sources[state]

    last = jnp.argmin(total)
    _, path = lax.scan(retrace, last, came_from, reverse=True)
    return jnp.append(path, last)
