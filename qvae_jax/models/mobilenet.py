"""MobileNetV3 as EfficientAT trains it on AudioSet: the encoder's trunk.

Howard et al. (2019), with the widths, pooling and head of Schmid et al. (2023).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from qvae_jax.models import forms, initializers, layers
from qvae_jax.models.plain import Step

NUM_CLASSES = 527  # AudioSet's
HEAD_WIDTH = 1280
HEADS = ("mlp", "fully_convolutional")
LAST_LAYER = 16
# The inverted residuals that halve the map; some published networks leave the last ones out.
STRIDED_LAYERS = (2, 4, 7, 13)
STRIDES = (2, 2, 2, 2)


class Row(NamedTuple):
    """One inverted residual at width 1."""

    num_in: int
    kernel_size: int
    expanded: int
    num_out: int
    squeeze_excite: bool
    hard_swish: bool


ROWS = (
    Row(16, 3, 16, 16, False, False),
    Row(16, 3, 64, 24, False, False),
    Row(24, 3, 72, 24, False, False),
    Row(24, 5, 72, 40, True, False),
    Row(40, 5, 120, 40, True, False),
    Row(40, 5, 120, 40, True, False),
    Row(40, 3, 240, 80, False, True),
    Row(80, 3, 200, 80, False, True),
    Row(80, 3, 184, 80, False, True),
    Row(80, 3, 184, 80, False, True),
    Row(80, 3, 480, 112, True, True),
    Row(112, 3, 672, 112, True, True),
    Row(112, 5, 672, 160, True, True),
    Row(160, 5, 960, 160, True, True),
    Row(160, 5, 960, 160, True, True),
)


def make_divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and not more than a tenth below channels."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def layer_strides(strides: tuple[int, ...] = STRIDES) -> list[int]:
    """The stride of each layer from 0 to 16, given those of STRIDED_LAYERS."""
    strided = dict(zip(STRIDED_LAYERS, strides, strict=True))
    return [2] + [strided.get(layer, 1) for layer in range(1, LAST_LAYER + 1)]


def name_of(layer: int) -> str:
    """Its name among the network's variables, and as a Step."""
    return f"features.{layer}"


def kernel_sizes() -> list[int]:
    """The taps along each side of the kernel of each layer from 0 to 16."""
    return [3, *(row.kernel_size for row in ROWS), 1]


def embedding_size(width: float) -> int:
    """Channels of the pooled features: 960 at width 1."""
    return 6 * make_divisible(160 * width)


class ConvNorm(nnx.Module):
    """Convolution without bias, BatchNorm, activation."""

    def __init__(self, num_in, num_out, kernel_size, *, activation, stride=1, depthwise=False, rng):
        shape = (kernel_size, kernel_size, 1 if depthwise else num_in, num_out)
        self.kernel = nnx.Param(initializers.kaiming_fan_out(rng, shape))
        self.norm = layers.BatchNorm(num_out, epsilon=1e-3, momentum=0.01)
        self.activation = activation
        self.stride = stride
        self.depthwise = depthwise

    def __call__(self, x: jax.Array, *, train: bool, gate: jax.Array | None = None) -> jax.Array:
        """[batch, mel, frames, in] -> [batch, mel / stride, frames / stride, out].

        gate [batch, in] scales the input's channels, of a convolution that is not depthwise.
        """
        kernel = self.kernel[...].astype(x.dtype)
        if gate is not None:
            y = forms.gated_conv2d(x, kernel, gate, stride=self.stride)
        elif self.depthwise:
            y = forms.depthwise_conv2d(x, kernel, stride=self.stride)
        else:
            y = forms.conv2d(x, kernel, stride=self.stride)
        return self.activation(self.norm(y, train=train))


class SqueezeExcite(nnx.Module):
    """A gate for each channel, computed from the channels' means. Hu et al. (2018)."""

    def __init__(self, num_channels: int, *, rng):
        init = initializers.small_normal
        squeezed = make_divisible(num_channels // 4)
        self.reduce = layers.Linear(num_channels, squeezed, kernel_init=init, rng=rng)
        self.expand = layers.Linear(squeezed, num_channels, kernel_init=init, rng=rng)

    def __call__(self, x: jax.Array, *, counts: np.ndarray | None = None) -> jax.Array:
        """[batch, mel, frames, channels] -> [batch, channels], from 0 to 1.

        counts [frames] says how often each frame counts in the means; once, where it is None.
        """
        means = forms.mean_of_places(x, counts)
        return jax.nn.sigmoid(self.expand(jax.nn.relu(self.reduce(means))))


class InvertedResidual(nnx.Module):
    """Expand by 1×1, filter each channel, gate, project by 1×1; add the input where it fits."""

    def __init__(self, row: Row, width: float, *, stride: int, rng):
        num_in, expanded, num_out = (
            make_divisible(c * width) for c in (row.num_in, row.expanded, row.num_out)
        )
        activation = jax.nn.hard_swish if row.hard_swish else jax.nn.relu
        self.expand = (
            ConvNorm(num_in, expanded, 1, activation=activation, rng=rng)
            if expanded != num_in
            else None
        )
        self.depthwise = ConvNorm(
            expanded,
            expanded,
            row.kernel_size,
            activation=activation,
            stride=stride,
            depthwise=True,
            rng=rng,
        )
        self.squeeze_excite = SqueezeExcite(expanded, rng=rng) if row.squeeze_excite else None
        self.project = ConvNorm(expanded, num_out, 1, activation=_identity, rng=rng)
        self.residual = stride == 1 and num_in == num_out

    def __call__(self, x: jax.Array, *, train: bool, counts: np.ndarray | None = None) -> jax.Array:
        """[batch, mel, frames, in] -> [batch, mel / stride, frames / stride, out].

        counts [frames / stride] says how often each frame counts for squeeze and excitation.
        """
        y = x if self.expand is None else self.expand(x, train=train)
        y = self.depthwise(y, train=train)
        gate = None if self.squeeze_excite is None else self.squeeze_excite(y, counts=counts)
        y = self.project(y, train=train, gate=gate)
        return x + y if self.residual else y


class Classifier(nnx.Module):
    """The "mlp" head: pooled features [batch, C] -> logits [batch, classes]."""

    def __init__(self, num_in: int, num_hidden: int, num_classes: int, *, rng):
        init = initializers.small_normal
        self.hidden = layers.Linear(num_in, num_hidden, kernel_init=init, rng=rng)
        self.output = layers.Linear(num_hidden, num_classes, kernel_init=init, rng=rng)

    def __call__(self, pooled: jax.Array) -> jax.Array:
        """Logits, without the dropout that only AudioSet training uses."""
        return self.output(jax.nn.hard_swish(self.hidden(pooled)))


class ConvolutionalClassifier(nnx.Module):
    """The "fully_convolutional" head: pooled features [batch, C] -> logits [batch, classes].

    EfficientAT convolves the map by 1×1, normalises and then averages. Evaluation mode is affine,
    so that the average may as well come first.
    """

    def __init__(self, num_in: int, num_classes: int, *, rng):
        self.kernel = nnx.Param(initializers.kaiming_fan_out(rng, (1, 1, num_in, num_classes)))
        self.norm = layers.BatchNorm(num_classes, epsilon=1e-5, momentum=0.1)

    def __call__(self, pooled: jax.Array) -> jax.Array:
        """Logits by the running statistics."""
        return self.norm(pooled @ self.kernel[0, 0], train=False)


class MobileNetV3(nnx.Module):
    """The mn* network of any width: layers 0 to 16 and the AudioSet head.

    head is one of HEADS, strides are those of STRIDED_LAYERS; the features do not depend on the
    head.
    """

    def __init__(
        self,
        width: float,
        *,
        head: str = "mlp",
        strides: tuple[int, ...] = STRIDES,
        num_classes: int = NUM_CLASSES,
        rng,
    ):
        first, last = make_divisible(16 * width), make_divisible(160 * width)
        swish = jax.nn.hard_swish
        row_strides = layer_strides(strides)[1:LAST_LAYER]
        self.features = nnx.List(
            [ConvNorm(1, first, 3, activation=swish, stride=2, rng=rng)]
            + [
                InvertedResidual(row, width, stride=stride, rng=rng)
                for row, stride in zip(ROWS, row_strides, strict=True)
            ]
            + [ConvNorm(last, 6 * last, 1, activation=swish, rng=rng)]
        )
        if head == "mlp":
            hidden = make_divisible(HEAD_WIDTH * width)
            self.classifier = Classifier(6 * last, hidden, num_classes, rng=rng)
        else:
            self.classifier = ConvolutionalClassifier(6 * last, num_classes, rng=rng)

    def maps(
        self,
        inputs: jax.Array,
        *,
        first_layer: int = 0,
        last_layer: int = LAST_LAYER,
        train_layers: frozenset[int] = frozenset(),
    ) -> list[jax.Array]:
        """The maps after layers first_layer to last_layer, each [batch, mel, frames, channels].

        inputs is the log-mel [batch, mel, frames] or, where first_layer is above 0, the map before
        that layer. BatchNorm of train_layers normalises by the batch and moves its running
        statistics; that of the other layers is left alone.
        """
        x, maps = inputs, []
        for step in self._steps(first_layer, last_layer, train_layers):
            x = step.apply(x)
            maps.append(x)
        return maps

    def last_map(
        self,
        inputs: jax.Array,
        *,
        first_layer: int = 0,
        last_layer: int = LAST_LAYER,
        train_layers: frozenset[int] = frozenset(),
    ) -> jax.Array:
        """The last one of maps."""
        return forms.in_turn(self._steps(first_layer, last_layer, train_layers), inputs)

    def layer(
        self, number: int, x: jax.Array, *, train: bool = False, counts: np.ndarray | None = None
    ) -> jax.Array:
        """The map after one layer; layer 0 is given the log-mel [batch, mel, frames].

        counts is that of an inverted residual.
        """
        if number == 0:
            return self.features[0](x[..., None], train=train)
        if number == LAST_LAYER:
            return self.features[LAST_LAYER](x, train=train)
        return self.features[number](x, train=train, counts=counts)

    def _steps(self, first_layer: int, last_layer: int, train_layers: frozenset[int]) -> list[Step]:
        """The layers as maps applies them."""

        def step(number: int) -> Step:
            train = number in train_layers
            return Step(name_of(number), functools.partial(self.layer, number, train=train), train)

        return [step(number) for number in range(first_layer, last_layer + 1)]

    def pooled(
        self,
        inputs: jax.Array,
        *,
        first_layer: int = 0,
        train_layers: frozenset[int] = frozenset(),
    ) -> jax.Array:
        """Features averaged over mel and time, [batch, C]; inputs and layers as in maps."""
        last = self.last_map(inputs, first_layer=first_layer, train_layers=train_layers)
        return jnp.mean(last, (1, 2))

    def logits(self, logmel: jax.Array) -> jax.Array:
        """AudioSet logits: [batch, mel, frames] -> [batch, classes]."""
        return self.classifier(self.pooled(logmel))


def _identity(x: jax.Array) -> jax.Array:
    return x
