"""The programs by which an encoder hears sounds of a few lengths.

Most sounds are shorter than what an encoder hears, and the silence behind them need not be computed
column by column (models/silent_end.py). Which program hears a sound depends on its number of samples
alone, so that its embedding does not depend on what is heard with it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import layers, silent_end, variables
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.silent_end import LayerColumns
from qvae_jax.models.variables import Variables

# In equal steps. Each has a program to compile, in seconds, and twice as many save a twentieth.
NUM_LENGTHS = 4


class Length(NamedTuple):
    """How sounds up to a length are heard.

    Attributes:
        longest: the samples of the longest of them.
        num_samples: to which they are cut, or padded by zeros.
        program: variables and waveforms [batch, num_samples] to embeddings [batch, dim].
    """

    longest: int
    num_samples: int
    program: Callable[[Variables, jax.Array], jax.Array]


def lengths_of(graphdef: nnx.GraphDef, config: QVAEConfig) -> list[Length]:
    """The lengths for an encoder's structure, ascending; the last one is all that it hears."""
    num_samples = config.front_end.num_samples
    steps = range(1, NUM_LENGTHS + 1)
    return [_length(graphdef, config, num_samples * step // NUM_LENGTHS) for step in steps]


def rows_by_length(
    lengths: Sequence[Length], waveforms: Sequence[np.ndarray]
) -> dict[Length, list[int]]:
    """Which of some waveforms [samples] are heard at each length: the shortest that they fit into.

    Those that fit into none are heard at the last one.
    """
    found = {}
    for row, waveform in enumerate(waveforms):
        fitting = (length for length in lengths if len(waveform) <= length.longest)
        found.setdefault(next(fitting, lengths[-1]), []).append(row)
    return found


def _length(graphdef: nnx.GraphDef, config: QVAEConfig, longest: int) -> Length:
    front_end = config.front_end
    first_silent = front_end.first_silent_frame(longest)
    columns = silent_end.columns_of_layers(
        front_end.num_frames, first_silent, config.encoder_strides
    )
    left_out = columns[0].before.num_left_out
    program = _program(graphdef, front_end, columns if left_out else None)
    return Length(longest, front_end.num_samples - left_out * front_end.hop_length, program)


@functools.cache
def _program(
    graphdef: nnx.GraphDef, front_end: FrontEnd, columns: tuple[LayerColumns, ...] | None
) -> Callable:
    """Length.program; kept, so that encoders of one structure share it.

    columns says what the log-mel lacks; nothing, where it is None.
    """

    def embed(given: Variables, waveforms: jax.Array) -> jax.Array:
        network, logmel = variables.merge(graphdef, given), log_mel(waveforms, front_end)
        if columns is None:
            return layers.normalised(network.pooled(logmel))
        return layers.normalised(silent_end.pooled(network, logmel, columns))

    return jax.jit(embed)
