"""How closely a sound follows the voice that steered it, frame by frame: loudness, colour, pitch.

As Sketch2Sound is measured (García et al. 2025), by the project's own controls, and by pYIN too,
which shares nothing with the model.
"""

from typing import NamedTuple

import numpy as np

from qvae_jax.audio import controls
from qvae_jax.audio.files import fit_length
from qvae_jax.audio.pitch import HOP_LENGTH, SAMPLE_RATE_HZ
from qvae_jax.evaluation.metrics import correlation
from qvae_jax.generation.voice import curves_of
from qvae_jax.models.decoders import NUM_SAMPLES

ACTIVE_DB = -40.0  # of an imitation's frames, relative to its loudest
# Of a frame so little above the floor of loudness half is the floor.
AUDIBLE_DB = controls.LOUDNESS_FLOOR_DB + 3
UNVOICED_PITCH, UNVOICED_CHROMA = 12.0, 6.0  # semitones that a frame without pitch is wrong by
OCTAVE = 12
LEAST_FRAMES = controls.num_frames(NUM_SAMPLES)

# Of pYIN. Its cost grows with the square of the number of pitches: a quarter of a semitone, which is
# wrong by an eighth at most, costs a sixth of the library's tenth.
LOWEST_HZ, HIGHEST_HZ = 60.0, 2_000.0
PYIN_LENGTH = 2048  # samples
PYIN_SEMITONES = 0.25
PYIN_FRAMES = 2  # that share one judgement, made between them

TRACKERS = ("", "_pyin")  # what ends the names of measures by our tracker and by pYIN


class Heard(NamedTuple):
    """What is heard of a sound, by frames of 243 samples; each [frames].

    Loudness in dB, centroid in semitones; pitch in semitones by our tracker and by pYIN, NaN where
    it is unvoiced.
    """

    loudness_db: np.ndarray
    centroid: np.ndarray
    pitch: np.ndarray
    pitch_pyin: np.ndarray


class Pooled(NamedTuple):
    """A sum over the frames of one example, and of how many."""

    total: float
    count: int


def heard(samples: np.ndarray) -> Heard:
    """What is heard of a sound [samples] at 22,050 Hz."""
    curves = curves_of(samples)
    loudness_db, note = curves[:, controls.LOUDNESS], curves[:, controls.PITCH]
    voiced = curves[:, controls.PERIODICITY] > controls.VOICED_PERIODICITY
    return Heard(
        loudness_db=loudness_db,
        centroid=curves[:, controls.CENTROID],
        pitch=np.where(voiced, note, np.nan),
        pitch_pyin=_pyin(samples, loudness_db > AUDIBLE_DB),
    )


def differences(sound: Heard, imitation: Heard) -> dict[str, Pooled]:
    """How far a sound is from an imitation, summed over the frames that count, by measure.

        loudness_difference    dB, over the frames of the imitation within 40 dB of its loudest
        centroid_difference    semitones, over the same
        pitch_difference       semitones, over those of them that are voiced; 12 where the sound is
                               unvoiced
        chroma_difference      the same within the octave, 0 to 6; 6 where the sound is unvoiced
        voiced_share           how many of them are voiced in the sound

    The last three come by pYIN too, which then also says what of the imitation is voiced. A sound
    is compared as far as it goes, and at least over the 2.7 s that a target has: where it ends
    sooner it is silent.
    """
    threshold_db = max(imitation.loudness_db.max() + ACTIVE_DB, AUDIBLE_DB)
    sound, imitation = _side_by_side(sound, imitation)
    active = imitation.loudness_db > threshold_db
    found = {
        "loudness_difference": _pooled(sound.loudness_db - imitation.loudness_db, active),
        "centroid_difference": _pooled(sound.centroid - imitation.centroid, active),
    }
    pitches = (sound.pitch, imitation.pitch), (sound.pitch_pyin, imitation.pitch_pyin)
    for ending, (own, wanted) in zip(TRACKERS, pitches):
        counting = active & ~np.isnan(wanted)
        is_voiced = ~np.isnan(own)
        apart = np.abs(own - wanted)
        chroma = np.minimum(apart % OCTAVE, OCTAVE - apart % OCTAVE)
        pitch = np.where(is_voiced, apart, UNVOICED_PITCH)
        chroma = np.where(is_voiced, chroma, UNVOICED_CHROMA)
        found[f"pitch_difference{ending}"] = _pooled(pitch, counting)
        found[f"chroma_difference{ending}"] = _pooled(chroma, counting)
        found[f"voiced_share{ending}"] = _pooled(is_voiced, counting)
    return found


def loudness_correlation(sound: Heard, imitation: Heard) -> float:
    """Pearson's correlation of the two loudness curves, -1 to 1; 0 where one of them is constant.

    Over the frames that are compared, whatever their level; see differences.
    """
    sound, imitation = _side_by_side(sound, imitation)
    both = (each.loudness_db.astype(np.float64) for each in (sound, imitation))
    return correlation(*both)


def _side_by_side(sound: Heard, imitation: Heard) -> tuple[Heard, Heard]:
    """Both over the frames that are compared."""
    count = min(len(imitation.pitch), max(len(sound.pitch), LEAST_FRAMES))
    return _continued(sound, count), Heard(*(curve[:count] for curve in imitation))


def _pooled(differences: np.ndarray, counting: np.ndarray) -> Pooled:
    return Pooled(float(np.abs(differences[counting]).sum()), int(counting.sum()))


def _continued(sound: Heard, count: int) -> Heard:
    """The first frames of a sound, as many as count, silent beyond its end."""
    rest_centroid = float(controls.semitones(controls.REST_CENTROID_HZ))
    rest = Heard(controls.LOUDNESS_FLOOR_DB, rest_centroid, np.nan, np.nan)
    missing = (0, max(0, count - len(sound.pitch)))
    return Heard(
        *(np.pad(curve, missing, constant_values=at)[:count] for curve, at in zip(sound, rest))
    )


def _pyin(samples: np.ndarray, audible: np.ndarray) -> np.ndarray:
    """Semitones by probabilistic YIN (Mauch & Dixon 2014), NaN where unvoiced: [frames].

    Only what is audible, [frames], is voiced: pYIN finds a pitch in what is too soft to be heard,
    too. It is not asked for what lies beyond the last such frame, for it takes long.
    """
    found = np.full(len(audible), np.nan)
    if not audible.any():
        return found
    # Imported here because it takes a second that nothing else should wait for.
    import librosa

    hop = PYIN_FRAMES * HOP_LENGTH
    before = PYIN_LENGTH // 2 - hop // 2
    num_judged = -(-(np.flatnonzero(audible)[-1] + 1) // PYIN_FRAMES)
    until = (num_judged - 1) * hop + PYIN_LENGTH - before
    hz, voiced, _ = librosa.pyin(
        np.pad(fit_length(samples, until), (before, 0)),
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
        sr=SAMPLE_RATE_HZ,
        frame_length=PYIN_LENGTH,
        hop_length=hop,
        resolution=PYIN_SEMITONES,
        center=False,
    )
    judged = np.repeat(np.where(voiced, librosa.hz_to_midi(hz), np.nan), PYIN_FRAMES)
    found[: len(judged)] = judged[: len(found)]
    return np.where(audible, found, np.nan)
