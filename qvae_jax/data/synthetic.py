"""A small paired data set made from nothing: target sounds and a synthetic voice imitating them.

Every pair starts from one `Gesture`, the control curves of a sound (pitch, loudness, noisiness):

    gesture ──────────────────────────► sound.synthesise ─────────► references/
    gesture ──► vary (a clumsy copy) ──► voice ──► record ────────► vocal_imitations/

so an imitation shares with its target what a person would imitate of it, and nothing else. The
folder has VimSketch's layout. Nothing is downloaded, and the same seed always gives the same files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal

from qvae_jax.system.errors import UserError

GENERATOR_VERSION = 1  # raise it whenever the same seed would give other files
TARGET_RATE_HZ = 22_050
IMITATION_RATES_HZ = (16_000, 32_000, 44_100)  # mixed, as in collected recordings
CONTROL_RATE_HZ = 500


@dataclass(frozen=True, eq=False)
class Gesture:
    """What happens in a sound, apart from its timbre: curves [controls] at CONTROL_RATE_HZ.

    Attributes:
        duration_s: length of the sound.
        pitch_hz: fundamental or pulse rate; where the sound is noise, the centre of its band.
        loudness: linear amplitude in [0, 1].
        noisiness: share of the power that is noise, in [0, 1].
    """

    duration_s: float
    pitch_hz: np.ndarray
    loudness: np.ndarray
    noisiness: np.ndarray


@dataclass(frozen=True)
class Sound:
    """A target sound.

    Attributes:
        gesture: makes its gesture.
        synthesise: makes audio [samples] at TARGET_RATE_HZ, at any level, from (gesture, rng).
        vowels: keys of VOWEL_FORMANTS_HZ, those on which people would sing it, as "boom" for a
            drum.
    """

    gesture: Callable[[], Gesture]
    synthesise: Callable[[Gesture, np.random.Generator], np.ndarray]
    vowels: tuple[str, ...]


# --- Control curves ------------------------------------------------------------------------


def make_gesture(duration_s: float, pitch_hz, loudness, noisiness) -> Gesture:
    """A gesture from curves given as functions of time in seconds, or as constants.

    The loudness falls to zero over the last 30 ms, so that no sound ends in a click.
    """
    times_s = np.arange(round(duration_s * CONTROL_RATE_HZ)) / CONTROL_RATE_HZ
    fade = np.clip((duration_s - times_s) / 0.03, 0.0, 1.0)

    def curve(value):
        values = value(times_s) if callable(value) else value
        return np.broadcast_to(values, times_s.shape).astype(np.float64)

    return Gesture(duration_s, curve(pitch_hz), fade * curve(loudness), curve(noisiness))


def points(*time_and_value):
    """Straight lines through (time_s, value) points, as a function of time in seconds."""
    times_s, values = zip(*time_and_value)
    return lambda t: np.interp(t, times_s, values)


def glide(*time_and_hz):
    """Lines through (time_s, frequency_hz) points, straight in log frequency, as a function."""
    log_points = points(*((time_s, np.log(hz)) for time_s, hz in time_and_hz))
    return lambda t: np.exp(log_points(t))


def strikes(onsets_s, decay_s, strengths=None):
    """Loudness of strikes, which start abruptly and decay exponentially, as a function of time.

    Args:
        onsets_s: when each starts.
        decay_s: time in which each falls to 1/e.
        strengths: peak of each; None: 1.
    """
    strengths = np.ones(len(onsets_s)) if strengths is None else strengths

    def loudness(t):
        since_s = t - np.asarray(onsets_s)[:, None]
        tails = np.exp(-np.maximum(since_s, 0.0) / decay_s) * (since_s >= 0.0)
        return np.max(np.asarray(strengths)[:, None] * tails, axis=0)

    return loudness


def strokes(onsets_s, length_s, strengths=None):
    """Loudness of strokes, which swell and fade within length_s, as a function of time.

    Args:
        onsets_s: when each starts.
        length_s: how long each lasts.
        strengths: peak of each; None: 1.
    """
    strengths = np.ones(len(onsets_s)) if strengths is None else strengths

    def loudness(t):
        phase = np.clip((t - np.asarray(onsets_s)[:, None]) / length_s, 0.0, 1.0)
        return np.max(np.asarray(strengths)[:, None] * np.sin(np.pi * phase), axis=0)

    return loudness


# --- Building blocks shared by the targets and the voice -----------------------------------


def at_rate(curve: np.ndarray, rate_hz: int) -> np.ndarray:
    """A control curve [controls] read at an audio rate, [samples]."""
    num_samples = round(len(curve) * rate_hz / CONTROL_RATE_HZ)
    positions = np.arange(num_samples) * (CONTROL_RATE_HZ / rate_hz)
    return np.interp(positions, np.arange(len(curve)), curve)


def cycles(pitch_hz: np.ndarray, rate_hz: int) -> np.ndarray:
    """Cycles completed up to each sample, [samples], given the frequency at each."""
    return np.cumsum(pitch_hz) / rate_hz


def unit_rms(audio: np.ndarray) -> np.ndarray:
    """The audio scaled to a root mean square of 1."""
    return audio / np.sqrt(np.mean(audio**2))


def noise_band(rng, center_hz: np.ndarray, width_hz: float, rate_hz: int) -> np.ndarray:
    """Noise [samples] of unit rms in a band of width_hz around a centre [samples] that may move.

    Complex low-passed noise, shifted up by a gliding carrier: the centre may change at each
    sample, which a filter with fixed coefficients cannot follow.
    """
    white = rng.standard_normal((2, len(center_hz)))
    lowpass = signal.butter(2, width_hz / 2, fs=rate_hz, output="sos")
    real, imaginary = signal.sosfilt(lowpass, white)
    phase = 2 * np.pi * cycles(center_hz, rate_hz)
    return unit_rms(real * np.cos(phase) - imaginary * np.sin(phase))


def peak_filter(audio: np.ndarray, center_hz: float, width_hz: float) -> np.ndarray:
    """A resonance of unit gain at its centre, for audio at TARGET_RATE_HZ."""
    b, a = signal.iirpeak(center_hz, center_hz / width_hz, fs=TARGET_RATE_HZ)
    return signal.lfilter(b, a, audio)


# --- Target sounds: struck -----------------------------------------------------------------


def partials(gesture: Gesture, ratios, gains, dampings) -> np.ndarray:
    """Sum [samples] of sinusoids at ratios · pitch, with gains that follow loudness ** damping.

    Where loudness decays exponentially, a damping of 2 halves the partial's decay time.
    """
    turns = 2 * np.pi * cycles(at_rate(gesture.pitch_hz, TARGET_RATE_HZ), TARGET_RATE_HZ)
    loudness = at_rate(gesture.loudness, TARGET_RATE_HZ)
    modes = zip(ratios, gains, dampings, strict=True)
    return sum(gain * loudness**damping * np.sin(ratio * turns) for ratio, gain, damping in modes)


def bell_gesture() -> Gesture:
    """One strike at 440 Hz that rings for seconds."""
    return make_gesture(2.6, 440.0, strikes([0.02], 0.7), 0.0)


def bell(gesture: Gesture, rng) -> np.ndarray:
    """A church bell's partials."""
    # Hum, prime, tierce, quint, nominal and two above: the partials of a tuned church bell.
    ratios = (0.5, 1.0, 1.19, 1.5, 2.0, 2.66, 4.1)
    return partials(
        gesture, ratios, (0.5, 1.0, 0.7, 0.3, 0.8, 0.4, 0.3), (0.6, 1.0, 1.1, 1.6, 1.8, 2.8, 4.0)
    )


KNOCKS_S = (0.02, 0.32, 0.62, 0.77, 0.92, 1.22)


def wood_block_gesture() -> Gesture:
    """Six knocks, high and low."""
    high_or_low = [850.0, 640.0, 850.0, 850.0, 850.0, 640.0]

    def pitch_hz(t):
        return np.asarray(high_or_low)[np.searchsorted(KNOCKS_S[1:], t, side="right")]

    return make_gesture(1.5, pitch_hz, strikes(KNOCKS_S, 0.035), 0.1)


def wood_block(gesture: Gesture, rng) -> np.ndarray:
    """Three short, inharmonic partials."""
    return partials(gesture, (1.0, 1.52, 2.44), (1.0, 0.5, 0.35), (1.0, 1.5, 2.5))


DRUM_BEATS_S = (0.02, 0.52, 0.77, 1.02)


def drum_gesture() -> Gesture:
    """Four beats, each falling in pitch."""

    def pitch_hz(t):  # a skin hit hard starts sharp and relaxes
        return 62.0 + 90.0 * strikes(DRUM_BEATS_S, 0.07)(t)

    loudness = strikes(DRUM_BEATS_S, 0.16, (1.0, 0.7, 0.6, 1.0))
    return make_gesture(1.6, pitch_hz, loudness, 0.15)


def drum(gesture: Gesture, rng) -> np.ndarray:
    """A skin's modes, and the noise of the stick."""
    # Modes of an ideal circular membrane.
    skin = partials(gesture, (1.0, 1.59, 2.14, 2.30), (1.0, 0.5, 0.25, 0.2), (1.0, 1.8, 2.5, 3.0))
    loudness = at_rate(gesture.loudness, TARGET_RATE_HZ)
    stick = noise_band(rng, np.full(len(skin), 1800.0), 2000.0, TARGET_RATE_HZ)
    return skin + 0.4 * loudness**12 * stick


# --- Target sounds: rubbed -----------------------------------------------------------------


def bowed_string_gesture() -> Gesture:
    """Two slides with vibrato, over three swells."""
    slide_hz = glide((0.0, 196.0), (0.7, 196.0), (1.1, 294.0), (1.7, 294.0), (2.0, 262.0))

    def pitch_hz(t):
        vibrato = 0.012 * np.sin(2 * np.pi * 5.5 * t) * points((0.3, 0.0), (0.8, 1.0))(t)
        return slide_hz(t) * np.exp(vibrato)

    swell = points((0.0, 0.0), (0.25, 0.8), (0.9, 0.6), (1.3, 1.0), (2.3, 0.7), (2.6, 0.0))
    return make_gesture(2.6, pitch_hz, swell, 0.08)


def bowed_string(gesture: Gesture, rng) -> np.ndarray:
    """Harmonics through the resonances of a body, and the noise of rosin."""
    numbers = np.arange(1, 25)
    # Harder bowing brightens: the higher the harmonic, the more it owes to loudness.
    string = partials(gesture, numbers, 1.0 / numbers, 1.0 + numbers / 12)
    resonances = ((280.0, 80.0), (460.0, 120.0), (1000.0, 400.0), (2600.0, 900.0))
    body = 0.3 * string + sum(peak_filter(string, *resonance) for resonance in resonances)
    loudness = at_rate(gesture.loudness, TARGET_RATE_HZ)
    rosin = noise_band(rng, np.full(len(body), 3000.0), 2500.0, TARGET_RATE_HZ)
    return unit_rms(body) + 0.05 * loudness * rosin


SANDING_STROKES_S = (0.05, 0.45, 0.85, 1.25, 1.65, 2.05)


def sandpaper_gesture() -> Gesture:
    """Six strokes, to and fro."""

    def pitch_hz(t):  # forth is brighter than back
        forth = strokes(SANDING_STROKES_S[::2], 0.38)(t)
        return 2000.0 + 1800.0 * np.sqrt(forth)

    loudness = strokes(SANDING_STROKES_S, 0.36, (1.0, 0.7) * 3)
    return make_gesture(2.5, pitch_hz, loudness, 1.0)


def sandpaper(gesture: Gesture, rng) -> np.ndarray:
    """A noise band with the grain of grit."""
    center_hz = at_rate(gesture.pitch_hz, TARGET_RATE_HZ)
    grit = noise_band(rng, center_hz, 1600.0, TARGET_RATE_HZ)
    grain = 0.6 + 0.4 * np.abs(rng.standard_normal(len(grit)))
    return at_rate(gesture.loudness, TARGET_RATE_HZ) * grit * grain


# --- Target sounds: blown ------------------------------------------------------------------


def flute_gesture() -> Gesture:
    """Three rising notes, each with a breath of its own."""
    melody_hz = glide(
        (0.0, 523.0), (0.68, 523.0), (0.72, 659.0), (1.28, 659.0), (1.32, 784.0), (2.4, 784.0)
    )

    def pitch_hz(t):
        return melody_hz(t) * np.exp(0.006 * np.sin(2 * np.pi * 4.8 * t))

    breath = points(
        (0.0, 0.0), (0.08, 0.9), (0.6, 0.8), (0.69, 0.25), (0.78, 0.9), (1.2, 0.8),
        (1.29, 0.25), (1.38, 1.0), (2.0, 0.8), (2.4, 0.0),
    )  # fmt: skip
    return make_gesture(2.4, pitch_hz, breath, 0.15)


def flute(gesture: Gesture, rng) -> np.ndarray:
    """A few harmonics, and breath near and above the pitch."""
    pipe = partials(gesture, (1, 2, 3, 4), (1.0, 0.35, 0.18, 0.06), (1.0, 1.4, 1.8, 2.2))
    pitch_hz = at_rate(gesture.pitch_hz, TARGET_RATE_HZ)
    loudness = at_rate(gesture.loudness, TARGET_RATE_HZ)
    near_pitch = noise_band(rng, pitch_hz, 300.0, TARGET_RATE_HZ)
    above = noise_band(rng, 3.0 * pitch_hz, 2500.0, TARGET_RATE_HZ)
    return pipe + loudness * (0.08 * near_pitch + 0.06 * above)


def wind_gesture() -> Gesture:
    """A howl that rises twice with its gusts."""
    howl_hz = glide((0.0, 350.0), (0.7, 900.0), (1.2, 480.0), (1.9, 1100.0), (2.6, 400.0))
    gusts = points((0.0, 0.1), (0.7, 0.9), (1.2, 0.3), (1.9, 1.0), (2.6, 0.0))
    return make_gesture(2.6, howl_hz, gusts, 0.9)


def wind(gesture: Gesture, rng) -> np.ndarray:
    """A narrow howling band, and a wide one above it."""
    howl_hz = at_rate(gesture.pitch_hz, TARGET_RATE_HZ)
    loudness = at_rate(gesture.loudness, TARGET_RATE_HZ)
    howl = noise_band(rng, howl_hz, 110.0, TARGET_RATE_HZ)
    rush = noise_band(rng, 1.5 * howl_hz, 900.0, TARGET_RATE_HZ)
    return loudness * (howl + 0.35 * rush)


# --- Target sounds: noisy ------------------------------------------------------------------


def steam_gesture() -> Gesture:
    """A sudden release that sinks and fades."""
    release_hz = glide((0.0, 7000.0), (0.5, 6500.0), (2.4, 4200.0))
    loudness = points((0.0, 0.0), (0.04, 1.0), (0.3, 0.75), (1.6, 0.6), (2.4, 0.0))
    return make_gesture(2.4, release_hz, loudness, 1.0)


def steam(gesture: Gesture, rng) -> np.ndarray:
    """A wide band of noise."""
    center_hz = at_rate(gesture.pitch_hz, TARGET_RATE_HZ)
    loudness = at_rate(gesture.loudness, TARGET_RATE_HZ)
    return loudness * noise_band(rng, center_hz, 4500.0, TARGET_RATE_HZ)


def crackle_gesture() -> Gesture:
    """Bursts of snaps at odd times, over a steady glow."""
    bursts = strikes((0.05, 0.3, 0.42, 0.8, 1.0, 1.1, 1.5, 1.75, 1.9), 0.05, (1, 0.6, 0.9) * 3)
    return make_gesture(2.2, 1600.0, lambda t: np.maximum(0.12, bursts(t)), 0.85)


def crackle(gesture: Gesture, rng) -> np.ndarray:
    """Sparse snaps of three kinds of wood over a soft, low roar."""
    loudness = at_rate(gesture.loudness, TARGET_RATE_HZ)
    fire = 0.08 * noise_band(rng, np.full(len(loudness), 250.0), 300.0, TARGET_RATE_HZ)
    for center_hz, width_hz in ((900.0, 250.0), (1700.0, 400.0), (3400.0, 700.0)):
        falls = rng.random(len(loudness)) < 90.0 * loudness**2 / TARGET_RATE_HZ
        snaps = falls * rng.uniform(0.3, 1.0, len(loudness))
        fire += unit_rms(peak_filter(snaps, center_hz, width_hz)) * np.sqrt(loudness)
    return np.tanh(fire / 3.0)  # without which single snaps would leave the rest barely audible


# --- Target sounds: pitched ----------------------------------------------------------------


def siren_gesture() -> Gesture:
    """Up and down twice, held at one loudness."""

    def pitch_hz(t):  # in equal intervals, not in equal frequencies
        return 650.0 * 2.0 ** (-0.75 * np.cos(2 * np.pi * t / 1.3))

    return make_gesture(2.6, pitch_hz, points((0.0, 0.0), (0.15, 1.0), (2.4, 1.0), (2.6, 0.0)), 0.0)


def siren(gesture: Gesture, rng) -> np.ndarray:
    """The first odd harmonics."""
    return partials(gesture, (1, 3, 5, 7), (1.0, 0.33, 0.2, 0.1), (1.0, 1.0, 1.0, 1.0))


CHIRPS_S = (0.05, 0.3, 0.55, 1.1, 1.3, 1.5, 1.7)


def bird_gesture() -> Gesture:
    """Seven rising chirps."""

    def pitch_hz(t):
        since_s = t - np.asarray(CHIRPS_S)[:, None]
        latest_s = np.min(np.where(since_s >= 0, since_s, np.inf), axis=0)
        rise = np.clip(latest_s / 0.16, 0.0, 1.0)
        return 2200.0 * 1.7**rise

    return make_gesture(2.0, pitch_hz, strokes(CHIRPS_S, 0.16, (0.8, 0.8, 0.8, 1, 1, 1, 1)), 0.0)


def bird(gesture: Gesture, rng) -> np.ndarray:
    """A nearly pure tone."""
    return partials(gesture, (1, 2), (1.0, 0.15), (1.0, 1.5))


# --- Target sounds: pulsed -----------------------------------------------------------------


def pulses(gesture: Gesture, sharpness: float, strengths) -> np.ndarray:
    """One decaying pulse in each cycle of the pitch, [samples], the strengths taken in turn.

    A pulse falls to exp(-sharpness) by the end of its cycle.
    """
    cycle = cycles(at_rate(gesture.pitch_hz, TARGET_RATE_HZ), TARGET_RATE_HZ)
    turn = np.asarray(strengths)[np.floor(cycle).astype(int) % len(strengths)]
    loudness = at_rate(gesture.loudness, TARGET_RATE_HZ)
    return loudness * turn * np.exp(-sharpness * (cycle % 1.0))


def engine_gesture() -> Gesture:
    """An idle, a rev up, and down again."""
    revs_hz = glide((0.0, 24.0), (0.6, 26.0), (1.5, 62.0), (1.9, 62.0), (2.6, 30.0))
    throttle = points((0.0, 0.0), (0.1, 0.5), (0.6, 0.55), (1.5, 1.0), (1.9, 0.9), (2.6, 0.35))

    def loudness(t):  # one firing in three is strong: a putter slow enough for lips to follow
        putter = np.cos(2 * np.pi * cycles(revs_hz(t), CONTROL_RATE_HZ) / 3)
        return throttle(t) * (0.7 + 0.3 * putter)

    return make_gesture(2.6, revs_hz, loudness, 0.15)


def engine(gesture: Gesture, rng) -> np.ndarray:
    """Firing pulses, each of another strength, through the resonances of pipes."""
    firing = pulses(gesture, 6.0, (1.0, 0.7, 0.9, 0.6))
    exhaust = firing * (1.0 + 0.25 * rng.standard_normal(len(firing)))
    pipes = ((95.0, 60.0), (310.0, 120.0), (900.0, 500.0))
    return sum(peak_filter(exhaust, *pipe) for pipe in pipes)


CROAKS_S = (0.05, 0.65, 1.25)


def frog_gesture() -> Gesture:
    """Three croaks, each rising."""
    pitch_hz = points(*((c + d, hz) for c in CROAKS_S for d, hz in ((0.0, 38.0), (0.4, 60.0))))
    return make_gesture(1.8, pitch_hz, strokes(CROAKS_S, 0.42, (0.8, 0.9, 1.0)), 0.05)


def frog(gesture: Gesture, rng) -> np.ndarray:
    """Pulses through two resonances of a throat."""
    throat = pulses(gesture, 9.0, (1.0,))
    low, high = ((620.0, 90.0), (1650.0, 160.0))
    return peak_filter(throat, *low) + 0.8 * peak_filter(throat, *high)


# Spaces, a comma and brackets in the keys, because real VimSketch names have them.
SOUNDS = {
    "000Struck_Bell": Sound(bell_gesture, bell, ("o", "e")),
    "001Struck_Wood block": Sound(wood_block_gesture, wood_block, ("o", "a")),
    "002Struck_Drum": Sound(drum_gesture, drum, ("u", "o")),
    "003Rubbed_Bowed string": Sound(bowed_string_gesture, bowed_string, ("i", "e")),
    "004Rubbed_Sandpaper": Sound(sandpaper_gesture, sandpaper, ("schwa", "e")),
    "005Blown_Flute, three notes": Sound(flute_gesture, flute, ("u", "o")),
    "006Blown_Wind": Sound(wind_gesture, wind, ("u", "schwa")),
    "007Noisy_Steam": Sound(steam_gesture, steam, ("i", "schwa")),
    "008Noisy_Crackling fire": Sound(crackle_gesture, crackle, ("a", "schwa")),
    "009Pitched_Siren": Sound(siren_gesture, siren, ("i", "a")),
    "010Pitched_Bird (chirping)": Sound(bird_gesture, bird, ("i", "e")),
    "011Pulsed_Engine": Sound(engine_gesture, engine, ("schwa", "u")),
    "012Pulsed_Frog": Sound(frog_gesture, frog, ("a", "e")),
}


def synthesise_target(sound: Sound, rng: np.random.Generator) -> np.ndarray:
    """The target audio [samples] at TARGET_RATE_HZ, 1 to 2.7 s, with its peak at 0.8."""
    audio = sound.synthesise(sound.gesture(), rng)
    return 0.8 * audio / np.max(np.abs(audio))


# --- The voice -----------------------------------------------------------------------------

# F1 to F3 of men's vowels after Peterson and Barney (1952), schwa that of a uniform tube;
# F4 and the bandwidths are merely plausible.
VOWEL_FORMANTS_HZ = {
    "i": (270.0, 2290.0, 3010.0, 3500.0),
    "e": (530.0, 1840.0, 2480.0, 3500.0),
    "a": (730.0, 1090.0, 2440.0, 3500.0),
    "o": (570.0, 840.0, 2410.0, 3500.0),
    "u": (300.0, 870.0, 2240.0, 3500.0),
    "schwa": (500.0, 1500.0, 2500.0, 3500.0),
}
FORMANT_WIDTHS_HZ = (70.0, 90.0, 140.0, 200.0)
VOICE_RANGE_HZ = (75.0, 600.0)


@dataclass(frozen=True)
class Variation:
    """Everything in which one imitation differs from another."""

    time_stretch: float  # 1 keeps the duration
    rubato: float  # in (-1, 1): hurrying first and lingering later, or the reverse
    interval_stretch: float  # 1 keeps the intervals
    transposition_semitones: float  # on top of whole octaves into the speaker's register
    dynamics: float  # exponent on loudness
    vibrato_hz: float
    vibrato_semitones: float
    jitter_semitones: float
    shimmer_db: float
    breathiness: float  # noise added to even the purest tone
    register_hz: float  # the middle of the speaker's range
    formant_scale: float  # > 1 for a shorter vocal tract
    vowel: str
    open_quotient: float  # share of the cycle during which the glottis opens
    leading_silence_s: float
    peak: float
    noise_floor_db: float  # relative to the peak
    rate_hz: int


def draw_variation(vowels: tuple[str, ...], rng: np.random.Generator) -> Variation:
    """A random speaker, performance and recording, sung on one of the vowels."""
    formant_scale = rng.uniform(0.9, 1.25)
    return Variation(
        time_stretch=rng.uniform(0.85, 1.15),
        rubato=rng.uniform(-0.3, 0.3),
        interval_stretch=rng.uniform(0.85, 1.15),
        transposition_semitones=rng.normal(0.0, 1.0),
        dynamics=rng.uniform(0.75, 1.2),
        vibrato_hz=rng.uniform(4.5, 6.5),
        vibrato_semitones=rng.uniform(0.0, 0.25),
        jitter_semitones=rng.uniform(0.1, 0.3),
        shimmer_db=rng.uniform(0.3, 1.5),
        breathiness=rng.uniform(0.02, 0.12),
        # Shorter vocal tracts come with higher voices: about 125 Hz to 290 Hz.
        register_hz=125.0 * (formant_scale / 0.9) ** 2.5 * rng.uniform(0.95, 1.05),
        formant_scale=formant_scale,
        vowel=str(rng.choice(vowels)),
        open_quotient=rng.uniform(0.4, 0.6),
        leading_silence_s=rng.uniform(0.05, 0.4),
        peak=rng.uniform(0.15, 0.9),
        noise_floor_db=rng.uniform(-60.0, -45.0),
        rate_hz=int(rng.choice(IMITATION_RATES_HZ)),
    )


def wander(rng, num_controls: int, cutoff_hz: float = 12.0) -> np.ndarray:
    """Slow random drift of unit rms, [num_controls], as of an unsteady muscle."""
    lowpass = signal.butter(1, cutoff_hz, fs=CONTROL_RATE_HZ, output="sos")
    return unit_rms(signal.sosfilt(lowpass, rng.standard_normal(num_controls)))


def retime(gesture: Gesture, variation: Variation) -> Gesture:
    """The gesture at the imitator's own pace: stretched as a whole, and unevenly within."""
    duration_s = gesture.duration_s * variation.time_stretch
    progress = np.linspace(0.0, 1.0, round(duration_s * CONTROL_RATE_HZ))
    warped = progress + variation.rubato * np.sin(2 * np.pi * progress) / (2 * np.pi)
    positions = warped * (len(gesture.loudness) - 1)

    def read(curve):
        return np.interp(positions, np.arange(len(curve)), curve)

    return Gesture(
        duration_s, read(gesture.pitch_hz), read(gesture.loudness), read(gesture.noisiness)
    )


def vary(gesture: Gesture, variation: Variation, rng: np.random.Generator) -> Gesture:
    """The gesture as one imitator performs it, still in the target's octave.

    `variation` bends timing, intervals, dynamics and noisiness, and adds vibrato, jitter and
    shimmer. What is faster than lips and lungs (about 20 ms) is smoothed away.
    """
    retimed = retime(gesture, variation)
    num_controls = len(retimed.loudness)
    times_s = np.arange(num_controls) / CONTROL_RATE_HZ

    log_pitch = np.log(retimed.pitch_hz)
    middle = np.average(log_pitch, weights=retimed.loudness)
    semitones = variation.vibrato_semitones * np.sin(2 * np.pi * variation.vibrato_hz * times_s)
    semitones += variation.jitter_semitones * wander(rng, num_controls)
    pitch_hz = np.exp(
        middle + variation.interval_stretch * (log_pitch - middle) + np.log(2) * semitones / 12
    )

    shimmer = 10.0 ** (variation.shimmer_db * wander(rng, num_controls) / 20)
    breath = signal.windows.hann(round(0.04 * CONTROL_RATE_HZ))
    loudness = np.convolve(retimed.loudness**variation.dynamics, breath / breath.sum(), "same")

    noisiness = np.maximum(retimed.noisiness, variation.breathiness)
    return Gesture(retimed.duration_s, pitch_hz, loudness * shimmer, noisiness)


def vocal_pitch_hz(gesture: Gesture, variation: Variation) -> np.ndarray:
    """The pitch curve [controls] in Hz, moved by whole octaves to the speaker's register.

    The speaker's transposition is added, and the result kept within VOICE_RANGE_HZ.
    """
    middle = np.average(np.log2(gesture.pitch_hz), weights=gesture.loudness)
    octaves = np.round(np.log2(variation.register_hz) - middle)
    shifted = gesture.pitch_hz * 2.0 ** (octaves + variation.transposition_semitones / 12)
    return np.clip(shifted, *VOICE_RANGE_HZ)


def glottal_source(pitch_hz: np.ndarray, open_quotient: float, rate_hz: int) -> np.ndarray:
    """The derivative of Rosenberg's (1971) trigonometric glottal flow, [samples], of unit rms.

    The glottis opens over open_quotient of each cycle of pitch_hz [samples], closes in 0.4 of that
    time, and stays closed for the rest.
    """
    phase = cycles(pitch_hz, rate_hz) % 1.0
    closing = 0.4 * open_quotient
    rise = 0.5 * (1.0 - np.cos(np.pi * phase / open_quotient))
    fall = np.cos(0.5 * np.pi * np.clip((phase - open_quotient) / closing, 0.0, 1.0))
    flow = np.where(phase < open_quotient, rise, fall)
    return unit_rms(np.diff(flow, prepend=flow[0]))


def vocal_tract(audio: np.ndarray, variation: Variation) -> np.ndarray:
    """The source filtered by the vowel's formants, in a cascade as in Klatt (1980), of unit rms."""
    for formant_hz, width_hz in zip(VOWEL_FORMANTS_HZ[variation.vowel], FORMANT_WIDTHS_HZ):
        center_hz = variation.formant_scale * formant_hz
        radius = np.exp(-np.pi * width_hz / variation.rate_hz)
        a = [1.0, -2.0 * radius * np.cos(2 * np.pi * center_hz / variation.rate_hz), radius**2]
        audio = signal.lfilter([sum(a)], a, audio)
    return unit_rms(audio)


def voice(gesture: Gesture, variation: Variation, rng: np.random.Generator) -> np.ndarray:
    """A speaker performing the gesture: [samples] at variation.rate_hz, at any level.

    The tone is a glottal source through a vowel. The noise is part breath through the same vowel,
    part frication at the gesture's pitch as far as a mouth can follow it (a whistled wind, sh, s).
    """
    rate_hz = variation.rate_hz
    pitch_hz = at_rate(vocal_pitch_hz(gesture, variation), rate_hz)
    tone = vocal_tract(glottal_source(pitch_hz, variation.open_quotient, rate_hz), variation)
    breath = vocal_tract(rng.standard_normal(len(tone)), variation)

    # A smaller mouth hisses higher; 6.5 kHz and its band still fit below 8 kHz.
    mouth_hz = np.clip(variation.formant_scale * gesture.pitch_hz, 500.0, 6500.0)
    friction_hz = at_rate(mouth_hz, rate_hz)
    friction_width_hz = 0.4 * np.mean(friction_hz)
    friction = noise_band(rng, friction_hz, friction_width_hz, rate_hz)

    noisiness = at_rate(gesture.noisiness, rate_hz)
    # Frication replaces breath only where the noise is the sound, not where it colours a tone.
    noise = np.sqrt(1.0 - noisiness**2) * breath + noisiness * friction
    mixed = np.sqrt(1.0 - noisiness) * tone + np.sqrt(noisiness) * noise
    return at_rate(gesture.loudness, rate_hz) * mixed


def record(audio: np.ndarray, variation: Variation, rng: np.random.Generator) -> np.ndarray:
    """The performance as a home recording, with silence before and after, and room noise.

    [samples] at variation.rate_hz, its peak at variation.peak.
    """
    before = round(variation.leading_silence_s * variation.rate_hz)
    after = round(0.1 * variation.rate_hz)
    padded = np.pad(audio / np.max(np.abs(audio)), (before, after))
    rumbling = signal.butter(1, 800.0, fs=variation.rate_hz, output="sos")
    room = unit_rms(signal.sosfilt(rumbling, rng.standard_normal(len(padded))))
    recorded = padded + 10.0 ** (variation.noise_floor_db / 20) * room
    return variation.peak * recorded / np.max(np.abs(recorded))


def imitate(sound: Sound, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """One imitation of a sound by a random speaker.

    Returns the audio [samples], peak in [0.15, 0.9], 1 to 4 s; and its sample rate in Hz.
    """
    variation = draw_variation(sound.vowels, rng)
    performed = voice(vary(sound.gesture(), variation, rng), variation, rng)
    return record(performed, variation, rng), variation.rate_hz


# --- The folder ----------------------------------------------------------------------------


def generator_for(seed: int, sound_index: int, imitation_index: int) -> np.random.Generator:
    """The generator of one file's randomness; imitations count from 1, and 0 is the target."""
    return np.random.default_rng([seed, sound_index, imitation_index])


def write_synthetic_data_set(
    directory: str | Path, *, seed: int = 0, num_imitations_per_sound: int = 3
) -> Path:
    """Writes every sound of SOUNDS and its imitations to a folder in VimSketch's layout.

    references/NNN_<key>.wav are 22,050 Hz and vocal_imitations/NNNNN_<key>.wav of mixed rates,
    all mono 16-bit PCM; reference_file_names.csv and vocal_imitation_file_names.csv hold one
    name a line; synthetic.json says how the folder was made. The folder appears only once it is
    complete. One that was made with the same arguments is left as it is.

    Returns the folder. Raises UserError if it holds anything else, or for a negative seed or less
    than one imitation.
    """
    directory = Path(directory)
    if seed < 0 or num_imitations_per_sound < 1:
        raise UserError(
            "The synthetic data set needs a seed of 0 or more and at least one imitation per "
            f"sound; got seed={seed} and num_imitations_per_sound={num_imitations_per_sound}."
        )
    recipe = {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "num_imitations_per_sound": num_imitations_per_sound,
    }
    if _is_made_by(directory, recipe):
        return directory

    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside its destination, so that the rename stays within one file system.
    with tempfile.TemporaryDirectory(
        dir=directory.parent, prefix=f".{directory.name}-unfinished-"
    ) as scratch:
        finished = Path(scratch) / "finished"
        _write_all(finished, recipe)
        try:
            finished.rename(directory)
        except OSError:
            # Another process may have written the same folder in the meantime.
            if not _is_made_by(directory, recipe):
                raise
    return directory


def _is_made_by(directory: Path, recipe: dict) -> bool:
    """Whether the folder was made by this recipe; UserError if it holds anything else."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    try:
        found = json.loads((directory / "synthetic.json").read_text())
    except (OSError, ValueError):
        found = None
    if found == recipe:
        return True
    contents = "something else" if found is None else f"a synthetic data set made with {found}"
    raise UserError(
        f"{directory} already holds {contents}, so no synthetic data set with {recipe} was written "
        "there; name another folder, or remove this one if you no longer need it."
    )


def _write_all(directory: Path, recipe: dict) -> None:
    references, imitations = directory / "references", directory / "vocal_imitations"
    references.mkdir(parents=True)
    imitations.mkdir()
    num_imitations = recipe["num_imitations_per_sound"]
    for sound_index, (key, sound) in enumerate(SOUNDS.items()):
        target = synthesise_target(sound, generator_for(recipe["seed"], sound_index, 0))
        name = f"{sound_index + 1:03d}_{key}.wav"
        soundfile.write(references / name, target, TARGET_RATE_HZ, subtype="PCM_16")
        for imitation_index in range(1, num_imitations + 1):
            rng = generator_for(recipe["seed"], sound_index, imitation_index)
            audio, rate_hz = imitate(sound, rng)
            name = f"{sound_index * num_imitations + imitation_index:05d}_{key}.wav"
            soundfile.write(imitations / name, audio, rate_hz, subtype="PCM_16")
    _write_names(references, directory / "reference_file_names.csv")
    _write_names(imitations, directory / "vocal_imitation_file_names.csv")
    (directory / "synthetic.json").write_text(json.dumps(recipe, indent=2) + "\n")


def _write_names(folder: Path, list_path: Path) -> None:
    list_path.write_text("".join(f"{path.name}\n" for path in sorted(folder.iterdir())))
