"""Pairs as two waveforms each, for encoders that learn which imitation is of which sound."""

import functools
import pathlib
from collections.abc import Iterator

import ml_collections
import numpy as np

from qvae_jax.audio.files import fit_length
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.windows import read_sound
from qvae_jax.data import recipes
from qvae_jax.data.batches import Batch, Examples, taken
from qvae_jax.data.cache import Recipe
from qvae_jax.data.prepared import Prepared, ToPrepare, prepare_arrays
from qvae_jax.data.split_record import SplitRecord

LARGEST_SAMPLE = 32_767


class SoundPairs(Examples):
    """The pairs of one part of a split; inputs and targets are sounds, as `sounds` stores them."""

    def batch(self, indices: np.ndarray) -> Batch:
        """The pairs at positions [batch]: "imitation" and "reference", float32 [batch, samples].

        And "sounds", int32 [batch]: rows of one sound have the same number.
        """
        references = self.target_rows[indices]
        return {
            "imitation": waveforms(taken(self.inputs, self.input_rows[indices])),
            "reference": waveforms(taken(self.targets, references)),
            "sounds": references.astype(np.int32),
        }

    def batches_of(self, side: str, rows: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The sounds in these rows of one side's array, in batches of one size, the last one padded."""
        array = self.inputs if side == "imitation" else self.targets
        for first in range(0, len(rows), batch_size):
            here = rows[first : first + batch_size]
            filled = np.concatenate([here, np.repeat(here[:1], batch_size - len(here))])
            yield {side: waveforms(taken(array, filled))}


def prepare_pairs(
    config: ml_collections.ConfigDict,
    front_end: FrontEnd,
    workdir: pathlib.Path | None,
    recorded: SplitRecord | None = None,
) -> Prepared:
    """The pairs of the config's data set as the front-end hears them; see data.prepared.prepare."""
    recipe = sounds(front_end)
    name = recipes.digest(recipe.parameters)
    arrays = {
        "inputs": ToPrepare(f"imitations-{name}.npy", recipe, False),
        "targets": ToPrepare(f"references-{name}.npy", recipe, True),
    }
    return prepare_arrays(config, arrays, workdir, recorded, SoundPairs)


def sounds(front_end: FrontEnd) -> Recipe:
    """Sounds as they go into a front-end, cut or padded at their end, in 16 bits.

    A row has "samples", int16 [front_end.num_samples], and the "scale" that they are multiplied by,
    which is that of full scale, or of a peak that lies beyond it.
    """
    rate_hz, duration_s = front_end.sample_rate_hz, front_end.duration_s
    row = np.dtype([("scale", np.float32), ("samples", np.int16, (front_end.num_samples,))])

    def stored(waveform: np.ndarray) -> tuple[np.float32, np.ndarray]:
        scale = np.float32(max(1.0, np.abs(waveform).max(initial=0.0)) / LARGEST_SAMPLE)
        return scale, fit_length(np.rint(waveform / scale).astype(np.int16), front_end.num_samples)

    return Recipe(
        load=functools.partial(read_sound, sample_rate_hz=rate_hz, max_duration_s=duration_s),
        transform=lambda loaded: np.array(list(map(stored, loaded)), row),
        row_shape=(),
        dtype=row,
        parameters={"sample_rate_hz": rate_hz, "duration_s": duration_s, "bits": 16},
    )


def waveforms(rows: np.ndarray) -> np.ndarray:
    """The sounds of rows that `sounds` made: float32 [rows, samples]."""
    return rows["samples"].astype(np.float32) * rows["scale"][:, None]
