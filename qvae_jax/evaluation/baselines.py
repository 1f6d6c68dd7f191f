"""What a model's sounds are compared with: outputs that need no learning, and the best possible."""

import functools
import inspect
from collections.abc import Callable, Sequence

import numpy as np

from qvae_jax.audio import windows
from qvae_jax.audio.pitch import HOP_LENGTH as CONTROL_HOP
from qvae_jax.evaluation.hearing import Hearing
from qvae_jax.evaluation.metrics import cosine_similarity
from qvae_jax.generation.model import BATCH_SIZE, Model
from qvae_jax.models.batching import batches
from qvae_jax.models.decoders import NUM_SAMPLES

N_FFT, HOP_LENGTH, NUM_ITERATIONS = 1024, 256, 32
# What is added to a sound that is softer than the voice: more would make its silence heard.
MOST_GAIN_DB = 40.0


def mean_spectrum(references: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """One sound for all imitations: the mean magnitude spectrogram of references, made audible.

    Phases are found by 32 iterations of Griffin & Lim's algorithm (1984), from random ones drawn
    from the seed. float32 [59049].
    """
    # Imported here because it takes a second that nothing else should wait for.
    import librosa

    total = sum(np.abs(librosa.stft(x, n_fft=N_FFT, hop_length=HOP_LENGTH)) for x in references)
    sound = librosa.griffinlim(
        total / len(references),
        n_iter=NUM_ITERATIONS,
        n_fft=N_FFT,
        hop_length=HOP_LENGTH,
        length=NUM_SAMPLES,
        **{_seed_of(librosa.griffinlim): seed},
    )
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def _seed_of(function: Callable) -> str:
    """The argument that seeds a function of librosa: `rng` since 1.0, before it `random_state`."""
    return "rng" if "rng" in inspect.signature(function).parameters else "random_state"


def nearest_reference(
    model: Model, references: Sequence[windows.Sound], hearing: Hearing
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from features of imitations [batch, feature_dim] to the nearest references' sound.

    Nearest by cosine in the space of the model's own features, of which each reference's are
    computed here; the sounds are targets [batch, 59049].
    """
    features = []
    for batch in batches(references, BATCH_SIZE):
        waveforms = np.stack([hearing.model_input(path) for path in batch])
        names = list(map(str, batch))
        how = {"batch_size": BATCH_SIZE, "names": names}
        features.append(model.features(waveforms, sounds=True, **how))
    known = np.concatenate(features)
    sound_of = functools.lru_cache(maxsize=64)(hearing.target)

    def nearest(features: np.ndarray) -> np.ndarray:
        places = cosine_similarity(features, known).argmax(axis=1)
        return np.stack([sound_of(references[place]) for place in places])

    return nearest


def with_loudness(samples: np.ndarray, own_db: np.ndarray, wanted_db: np.ndarray) -> np.ndarray:
    """A sound [samples] with the loudness curve of another, by a gain in each sample.

    own_db and wanted_db, [frames] of 243 samples, are the two curves; between the middles of frames
    the gain's dB go in a line. It is at most 40 dB, and the sound is clipped at full scale.
    """
    gain_db = np.minimum(wanted_db - own_db, MOST_GAIN_DB)
    middles = (np.arange(len(gain_db)) + 0.5) * CONTROL_HOP
    gain = 10 ** (np.interp(np.arange(len(samples)), middles, gain_db) / 20)
    return np.clip(samples * gain, -1.0, 1.0).astype(np.float32)
