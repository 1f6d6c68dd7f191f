"""How what is measured is heard: as it is, or without the silence around it and at one peak."""

import dataclasses

import numpy as np

from qvae_jax.audio.files import fit_length
from qvae_jax.audio.levels import SILENT_PEAK
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.audio.windows import Sound, read_sound
from qvae_jax.data.prepared import input_audio, target_audio
from qvae_jax.models.decoders import NUM_SAMPLES, SAMPLE_RATE_HZ

TRIM_DB = 40.0  # below the loudest frame, as the frames that adherence leaves out
PEAK = 0.7


@dataclasses.dataclass(frozen=True)
class Hearing:
    """The sounds in files, and those of systems, as they are measured.

    Attributes:
        front_end: of the model, which decides what it hears.
        trimmed: whether the silence at both ends is cut, and the peak brought to 0.7.
    """

    front_end: FrontEnd
    trimmed: bool = False

    def target(self, sound: Sound) -> np.ndarray:
        """A reference as a target, [59049] at 22,050 Hz."""
        if not self.trimmed:
            return target_audio(sound)
        return fit_length(as_trimmed(read_sound(sound, SAMPLE_RATE_HZ)), NUM_SAMPLES)

    def model_input(self, sound: Sound) -> np.ndarray:
        """What the model hears of a sound, [front_end.num_samples] at front_end.sample_rate_hz."""
        if not self.trimmed:
            return input_audio(sound, self.front_end)
        samples = as_trimmed(read_sound(sound, self.front_end.sample_rate_hz))
        return fit_length(samples, self.front_end.num_samples)

    def imitation(self, sound: Sound) -> np.ndarray:
        """An imitation as far as the model hears it, [samples] at 22,050 Hz."""
        if not self.trimmed:
            return read_sound(sound, SAMPLE_RATE_HZ, max_duration_s=self.front_end.duration_s)
        samples = as_trimmed(read_sound(sound, SAMPLE_RATE_HZ))
        return samples[: round(self.front_end.duration_s * SAMPLE_RATE_HZ)]

    def output(self, samples: np.ndarray) -> np.ndarray:
        """A system's sound [samples] at 22,050 Hz."""
        return as_trimmed(samples) if self.trimmed else samples


def as_trimmed(samples: np.ndarray) -> np.ndarray:
    """Without the frames at both ends that lie 40 dB below the loudest, and at a peak of 0.7.

    Silence, below a peak of -80 dB, stays as it is.
    """
    # Imported here because it takes a second that nothing else should wait for.
    import librosa

    peak = np.abs(samples).max(initial=0.0)
    if peak < SILENT_PEAK:
        return samples
    return librosa.effects.trim(samples * np.float32(PEAK / peak), top_db=TRIM_DB)[0]
