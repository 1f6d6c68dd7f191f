"""A distance of two sounds along the best alignment in time: a right sound may come at its own pace."""

import numpy as np
import scipy.spatial

from qvae_jax.evaluation.metrics import FRAME_LENGTH, HOP_LENGTH, POWER_FLOOR, Sound, of_each

NUM_MELS = 80
# How far the two may be apart in time: a quarter of the shorter one, 0.67 s of 2.68 s. Further
# away a rhythm would pass for any other.
REACH = 0.25


def aligned_mel_db(
    prediction: np.ndarray | Sound, target: np.ndarray | Sound, sample_rate_hz: int
) -> float:
    """Mel distance in dB along the best alignment in time, lower is better; 0 for equal sounds.

    The mean over the path, and over 80 Slaney mel bands, of the difference of the power in dB,
    which is at least -80 dB; Hann window of 1024, hop 256. The path is that of dynamic time warping
    in its symmetric form, in which a step that advances both sounds counts twice, so that all paths
    are of one weight (Sakoe & Chiba 1978). It begins and ends where both do, and its two times are
    never further apart than a quarter of the shorter sound's length.
    """
    # Imported here because it takes a second that nothing else should wait for.
    import librosa

    p, t = of_each(_mels_db, (prediction, target), sample_rate_hz)
    cost = scipy.spatial.distance.cdist(p, t, "cityblock") / NUM_MELS
    total = librosa.sequence.dtw(
        C=cost,
        weights_mul=np.array([2.0, 1.0, 1.0]),  # of a step in both, and in either alone
        global_constraints=True,
        band_rad=REACH,
        backtrack=False,
    )
    # The first frames count twice as well, of which the library counts one.
    return float((total[-1, -1] + cost[0, 0]) / (len(p) + len(t)))


def _mels_db(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """[frames, mel bands]."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=np.asarray(samples, np.float64),
        sr=sample_rate_hz,
        n_fft=FRAME_LENGTH,
        hop_length=HOP_LENGTH,
        n_mels=NUM_MELS,
    )
    return librosa.power_to_db(power, ref=1.0, amin=POWER_FLOOR, top_db=None).T
