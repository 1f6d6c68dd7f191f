"""The curves that each sound of a steered model is rendered with: a voice's, a file's, its own."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from qvae_jax.audio import controls, curves
from qvae_jax.audio.controls import HOP_LENGTH, SAMPLE_RATE_HZ
from qvae_jax.generation import steer_request
from qvae_jax.generation.steer_request import IMITATION, NATURAL, STEERABLE, SteerRequest
from qvae_jax.generation.steering import LONGEST_FRAMES, bucket
from qvae_jax.models.frame_decoder import NUM_FRAMES
from qvae_jax.models.steered import HIGHEST, LOWEST

# The gesture head's curves [rows, 243, 4] and durations in seconds [rows].
Head = Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Steering:
    """What steers some sounds.

    Attributes:
        names: the curves that are taken from a voice; periodicity goes with pitch.
        given: curves [frames, 4] that are taken instead, for all sounds.
        duration: "imitation", "natural", seconds, or None: as long as what steers.
        smoothing_frames: of the median filter through which those of a voice or a file go; odd.
        transpose: in semitones, of pitch and centroid.
    """

    names: tuple[str, ...] = STEERABLE
    given: np.ndarray | None = None
    duration: str | float | None = None
    smoothing_frames: int = 1
    transpose: float = 0.0

    @property
    def needs_voice(self) -> bool:
        """Whether the recordings of imitations are to be measured."""
        return bool(self.names) or self.duration == IMITATION

    def curves(self, voices: Sequence[np.ndarray | None], head: Head) -> list[np.ndarray]:
        """The curves [frames, 4] of each sound, as they are rendered.

        voices are those of its recording, None where it has none or none is needed. head is asked
        only where its gesture counts. Curves that are not taken from the voice are the head's, of its
        natural duration, stretched to the sound's. Without a voice and a duration they are the
        head's 243 frames as they are, as Model.decode has them.
        """
        if not self._needs_head:
            return [self._curves(voice, None) for voice in voices]
        gestures, durations_s = head()
        return [
            self._curves(voice, gesture, frames_of(duration_s))
            for voice, gesture, duration_s in zip(voices, gestures, durations_s, strict=True)
        ]

    @property
    def _needs_head(self) -> bool:
        of_head = self.given is None and self.names != STEERABLE
        return of_head or self.duration == NATURAL

    def _curves(
        self, voice: np.ndarray | None, gesture: np.ndarray | None, natural_frames: int = 0
    ) -> np.ndarray:
        told = self.given if self.given is not None else voice if self.names else None
        if told is None and self.duration is None:
            return self._finished(gesture)
        num_frames = self._num_frames(told, voice, natural_frames)
        if told is None:
            return self._finished(curves.stretched(gesture[:natural_frames], num_frames))
        found = curves.stretched(curves.smoothed(told, self.smoothing_frames), num_frames)
        if self.given is None and self.names != STEERABLE:
            own = curves.stretched(gesture[:natural_frames], num_frames)
            found = np.where(_columns(self.names), found, own)
        return self._finished(found)

    def _num_frames(
        self, told: np.ndarray | None, voice: np.ndarray | None, natural_frames: int
    ) -> int:
        if self.duration is None:
            return len(told)
        if self.duration == IMITATION:
            return len(voice)
        return natural_frames if self.duration == NATURAL else frames_of(self.duration)

    def _finished(self, found: np.ndarray) -> np.ndarray:
        return np.clip(curves.transposed(found, self.transpose), LOWEST, HIGHEST)


def steering_of(
    request: SteerRequest, kind: str | None, given: np.ndarray | None = None
) -> Steering:
    """What a request, which steer_request.check has passed, says of latents of this kind.

    given are the curves of the file that it names.
    """
    smoothed_frames = (request.smoothing_ms or 0.0) / 1_000 * SAMPLE_RATE_HZ / HOP_LENGTH
    return Steering(
        names=request.names(kind),
        given=given,
        duration=steer_request.duration_of(request.duration),
        smoothing_frames=1 + 2 * max(0, round((smoothed_frames - 1) / 2)),
        transpose=request.transpose or 0.0,
    )


def frames_of(duration_s: float) -> int:
    """How many frames last about so long, at least one."""
    return min(max(1, round(float(duration_s) * SAMPLE_RATE_HZ / HOP_LENGTH)), LONGEST_FRAMES)


def by_bucket(found: Sequence[np.ndarray], batch_size: int) -> list[tuple[list[int], int]]:
    """Which of these curves are rendered together, and in batches of how many.

    Those that are filled up to the same number of frames; of long ones fewer, so that a batch takes
    no more memory than one of short ones.
    """
    rows = {}
    for row, of_one in enumerate(found):
        rows.setdefault(bucket(len(of_one)), []).append(row)
    return [
        (group, max(1, batch_size * NUM_FRAMES // num_frames)) for num_frames, group in rows.items()
    ]


def _columns(names: Sequence[str]) -> np.ndarray:
    """Which of the curves are of these names, [4]; periodicity is as pitch is."""
    of_voice = [name in names for name in controls.NAMES[: len(STEERABLE)]]
    return np.array([*of_voice, "pitch" in names])
