"""MobileNetV3's features of a sound with silence behind it, most of which is left out.

Behind a sound that is padded by zeros, a log-mel is one column over and over. So is the map after
each layer, but where a kernel reaches the sound or the right edge: a convolution does the same
everywhere, and in evaluation mode all else in a layer is the same for every place. A map may
therefore lack any number of these columns that the layer's stride divides, as long as one of them is
left in the map that the layer gives, between what the sound changes and what the edge changes. The
early layers, whose maps are the largest, reach least far and lack most; before each layer, so many
columns are put back as its kernel reaches further.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qvae_jax.models import forms
from qvae_jax.models.mobilenet import (
    STRIDES,
    MobileNetV3,
    kernel_sizes,
    layer_strides,
    name_of,
)
from qvae_jax.models.plain import Step


class Columns(NamedTuple):
    """The columns of a map, of which some may be left out.

    Attributes:
        num_kept: those that are there.
        repeated: the place of the one that stands for those left out, too, which would follow it.
        num_left_out: those that are not there.
    """

    num_kept: int
    repeated: int
    num_left_out: int

    @property
    def counts(self) -> np.ndarray | None:
        """How often each counts, [num_kept]; None where none is left out."""
        if not self.num_left_out:
            return None
        counts = np.ones(self.num_kept)
        counts[self.repeated] += self.num_left_out
        return counts


class LayerColumns(NamedTuple):
    """The columns of the map that a layer is given, and of the one that it gives."""

    before: Columns
    after: Columns


def columns_of_layers(
    num_frames: int, first_silent: int, strides: tuple[int, ...] = STRIDES
) -> tuple[LayerColumns, ...]:
    """Which columns are left out before and after each layer, from 0 to 16: as many as can be.

    Args:
        num_frames: of the whole log-mel.
        first_silent: the first frame of it that is the same as all that follow.
        strides: those of mobilenet.STRIDED_LAYERS.
    """
    run, num_left_out, found = _Run(num_frames, first_silent, num_frames), num_frames, []
    for kernel_size, stride in zip(kernel_sizes(), layer_strides(strides), strict=True):
        after = run.after(kernel_size, stride)
        num_left_out = min(num_left_out // stride, max(0, after.length - 1))
        before = run.without(num_left_out * stride)
        found.append(LayerColumns(before, after.without(num_left_out)))
        run = after
    return tuple(found)


def pooled(network: MobileNetV3, logmel: jax.Array, columns: Sequence[LayerColumns]) -> jax.Array:
    """network.pooled in evaluation mode of a log-mel of which columns says what is left out.

    [batch, mel, columns[0].before.num_kept] -> [batch, C].
    """
    given = (columns[0].before, *(of_layer.after for of_layer in columns))
    steps = [
        Step(name_of(layer), functools.partial(_applied, network, layer, given[layer], of), False)
        for layer, of in enumerate(columns)
    ]
    return forms.mean_of_places(forms.in_turn(steps, logmel), columns[-1].after.counts)


def _applied(
    network: MobileNetV3, layer: int, given: Columns, columns: LayerColumns, x: jax.Array
) -> jax.Array:
    """A layer, of the map that the one before it has given."""
    num_put_back = given.num_left_out - columns.before.num_left_out
    if num_put_back:
        x = _put_back(x, given.repeated, num_put_back)
    return network.layer(layer, x, counts=columns.after.counts)


def _put_back(x: jax.Array, repeated: int, count: int) -> jax.Array:
    """x [batch, mel, columns, channels] with count copies more of one of its columns behind it."""
    column = x[:, :, repeated : repeated + 1]
    copies = jnp.broadcast_to(column, (*x.shape[:2], count, x.shape[3]))
    return jnp.concatenate([x[:, :, :repeated], copies, x[:, :, repeated:]], axis=2)


class _Run(NamedTuple):
    """The columns of a whole map: all, and those from first to before end, which are the same."""

    num_columns: int
    first: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.first

    def after(self, kernel_size: int, stride: int) -> "_Run":
        """In the map after a layer: where all columns that its kernel reads are the same."""
        half = kernel_size // 2
        first, last = -(-(self.first + half) // stride), (self.end - 1 - half) // stride
        return _Run(-(-self.num_columns // stride), first, last + 1)

    def without(self, num_left_out: int) -> Columns:
        return Columns(self.num_columns - num_left_out, self.first, num_left_out)
