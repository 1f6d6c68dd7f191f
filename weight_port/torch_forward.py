"""QVAE's and the judges' forward pass in plain torch functions on a state dict, for --verify.

Each function yields (name, result) layer by layer, with channels first, as torch keeps them:
maps [batch, channels, mel, frames], sequences [batch, channels, time]. All layers are in evaluation
mode, except encoder layers that are told to train, whose running statistics are updated in place.
"""

import functools
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F

from qvae_jax.models import aisfx as aisfx_model
from qvae_jax.models import samplecnn
from qvae_jax.models.decoders import RESIDUAL_STAGES, STAGE_WIDTHS
from qvae_jax.models.mobilenet import LAST_LAYER, ROWS, STRIDES, layer_strides

Array = TypeVar("Array")  # of torch or NumPy
StateDict = dict[str, torch.Tensor]
Trace = Iterator[tuple[str, torch.Tensor]]


def below(weights: dict[str, Array], prefix: str) -> dict[str, Array]:
    """The part of a state dict whose keys begin with a prefix, without the prefix."""
    return {key.removeprefix(prefix): t for key, t in weights.items() if key.startswith(prefix)}


def mobilenet(
    weights: StateDict,
    logmel: torch.Tensor,
    strides: tuple[int, ...] = STRIDES,
    train_layers: frozenset[int] = frozenset(),
) -> Trace:
    """The layers of the encoder: features.0 to features.16, pooled [batch, C], and logits.

    Args:
        weights: an EfficientAT state dict, with either head.
        logmel: [batch, mels, frames].
        strides: of layers 2, 4, 7 and 13.
        train_layers: numbers of the layers whose BatchNorm normalises by the batch.
    """
    train = 0 in train_layers
    x = _conv_norm(weights, "features.0", logmel[:, None], F.hardswish, stride=2, train=train)
    yield "features.0", x
    row_strides = layer_strides(strides)[1:LAST_LAYER]
    for layer, (row, stride) in enumerate(zip(ROWS, row_strides, strict=True), start=1):
        train = layer in train_layers
        x = _inverted_residual(weights, f"features.{layer}", x, row, stride, train)
        yield f"features.{layer}", x
    train = LAST_LAYER in train_layers
    x = _conv_norm(weights, f"features.{LAST_LAYER}", x, F.hardswish, train=train)
    yield f"features.{LAST_LAYER}", x
    pooled = x.mean((2, 3))
    yield "pooled", pooled
    if "classifier.0.weight" in weights:
        classes = F.conv2d(x, weights["classifier.0.weight"])
        yield "logits", _batch_norm(weights, "classifier.1", classes).mean((2, 3))
        return
    hidden = F.hardswish(_linear(weights, "classifier.2", pooled))
    yield "logits", _linear(weights, "classifier.5", hidden)


def posterior(weights: StateDict, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """μ and log σ², [batch, latent] each, of features [batch, C], by two heads or the older one."""
    if "vae_head.weight" in weights:
        return _linear(weights, "vae_head", features).chunk(2, dim=1)
    return _linear(weights, "mu_head", features), _linear(weights, "logvar_head", features)


def decoder(weights: StateDict, decoder_type: str, z: torch.Tensor) -> Trace:
    """The layers of a decoder of z [batch, latent], named as in qvae_jax's trace.

    The last one is "audio", [batch, 59049].
    """
    return DECODERS[decoder_type](weights, z)


def samplecnn_tagger(weights: StateDict, waveforms: torch.Tensor) -> Trace:
    """The layers of a SampleCNN tagger, named as in qvae_jax's trace, of waveforms [batch, 59049]."""
    x, last = waveforms[:, None], len(samplecnn.WIDTHS) - 1
    for i in range(len(samplecnn.WIDTHS)):
        kernel, bias = weights[f"conv{i + 1}.0.weight"], weights[f"conv{i + 1}.0.bias"]
        stride, padding = (3, 0) if i == 0 else (1, 1)
        convolved = F.conv1d(x, kernel, bias, stride=stride, padding=padding)
        x = F.relu(_batch_norm(weights, f"conv{i + 1}.1", convolved))
        x = F.max_pool1d(x, 3) if 0 < i < last else x
        yield f"stages.{i}", x
    yield "embedding", x[:, :, 0]
    yield "logits", _linear(weights, "fc", x[:, :, 0])


def aisfx(weights: StateDict, logmel: torch.Tensor) -> Trace:
    """The blocks of aiSFX, named as in qvae_jax's trace, of log-mels [batch, frames, mels]."""
    x, last = logmel[:, None], len(aisfx_model.WIDTHS) - 1
    for i in range(len(aisfx_model.WIDTHS)):
        prefix = f"embedding_net.conv_block{i + 1}"
        for part in (1, 2):
            convolved = F.conv2d(x, weights[f"{prefix}.conv{part}.weight"], padding=1)
            x = F.relu(_batch_norm(weights, f"{prefix}.bn{part}", convolved))
        x = F.max_pool2d(x, 2) if i < last else x
        yield f"blocks.{i}", x
    yield "embedding", x.mean(3).amax(2)


def _sample_cnn(
    weights: StateDict,
    z: torch.Tensor,
    *,
    transposed: bool = False,
    residual_stages: frozenset[int] = frozenset(),
    learned_upsampling: bool = False,
) -> Trace:
    convolve = _transposed_conv if transposed else _conv
    x = z[:, :, None]
    for i in range(len(STAGE_WIDTHS)):
        number, before = 11 - i, x
        if i > 0 and learned_upsampling:
            x = _transposed_conv(weights, f"upsample{number}", x, stride=3)
        elif i > 0:
            x = _nearest(x)
        x = _batch_norm(weights, f"bn_layers.{i}", convolve(weights, f"conv{number}", x))
        x = F.relu(x + _nearest(before) if i in residual_stages else x)
        yield f"stages.{i}", x
    if transposed:
        yield "audio", torch.tanh(_transposed_conv(weights, "conv1", x, stride=3))[:, 0]
        return
    upsampled = (
        _transposed_conv(weights, "upsample_final", x, stride=3)
        if learned_upsampling
        else _nearest(x)
    )
    x = _leaky(_batch_norm(weights, "final_bn1", _conv(weights, "final_conv1", upsampled)))
    yield "final.0", x
    x = _leaky(_batch_norm(weights, "final_bn2", _conv(weights, "final_conv2", x)))
    yield "final.1", x
    yield "audio", torch.tanh(_conv(weights, "final_conv3", x))[:, 0]


def _improved(weights: StateDict, z: torch.Tensor) -> Trace:
    x = _linear(weights, "input_proj.2", _leaky(_linear(weights, "input_proj.0", z)))[:, :, None]
    yield "project", x
    x = _stem(weights, "stage1", x, num_residual_blocks=2)
    yield "stem", x
    for i in range(9):
        x = _upsample_block(weights, f"upsample_layers.{i}", x)
        yield f"blocks.{i}", x
    x = _leaky(_conv(weights, "final_conv", _linear_upsampling(x)))
    yield "final", x
    x = torch.cat([_conv(weights, f"output_layers.{i}", x) for i in range(3)], dim=1)
    yield "branches", x
    yield "audio", torch.tanh(_conv(weights, "output_combine", x))[:, 0]


def _light_improved(weights: StateDict, z: torch.Tensor) -> Trace:
    x = _stem(weights, "layers.0", z[:, :, None], num_residual_blocks=1)
    yield "stem", x
    for i in range(9):
        x = _upsample_block(weights, f"layers.{i + 1}", x)
        yield f"blocks.{i}", x
    yield "audio", torch.tanh(_conv(weights, "layers.10", _linear_upsampling(x)))[:, 0]


DECODERS = {
    "original": functools.partial(_sample_cnn, transposed=True),
    "original-plus": _sample_cnn,
    "original-res": functools.partial(_sample_cnn, residual_stages=RESIDUAL_STAGES),
    "original-res-plus": functools.partial(
        _sample_cnn, residual_stages=RESIDUAL_STAGES, learned_upsampling=True
    ),
    "improved": _improved,
    "light_improved": _light_improved,
}


def _inverted_residual(weights: StateDict, prefix: str, x, row, stride: int, train: bool):
    activation = F.hardswish if row.hard_swish else F.relu
    conv_norm = functools.partial(_conv_norm, weights, train=train)
    y, number = x, 0
    # Where the block has no expansion, its first part is the depthwise filter.
    if weights[f"{prefix}.block.0.0.weight"].shape[1] != 1:
        y, number = conv_norm(f"{prefix}.block.0", y, activation), 1
    y = conv_norm(f"{prefix}.block.{number}", y, activation, stride=stride, groups=y.shape[1])
    if row.squeeze_excite:
        number += 1
        y = _squeeze_excite(weights, f"{prefix}.block.{number}.conc_se_layers.0", y)
    y = conv_norm(f"{prefix}.block.{number + 1}", y, lambda map: map)
    return x + y if x.shape == y.shape and stride == 1 else y


def _squeeze_excite(weights: StateDict, prefix: str, x: torch.Tensor) -> torch.Tensor:
    squeezed = F.relu(_linear(weights, f"{prefix}.fc1", x.mean((2, 3))))
    return x * torch.sigmoid(_linear(weights, f"{prefix}.fc2", squeezed))[:, :, None, None]


def _conv_norm(weights, prefix, x, activation, *, stride=1, groups=1, train=False):
    kernel = weights[f"{prefix}.0.weight"]
    padding = (kernel.shape[-1] - 1) // 2
    y = F.conv2d(x, kernel, stride=stride, padding=padding, groups=groups)
    normalised = _batch_norm(weights, f"{prefix}.1", y, epsilon=1e-3, momentum=0.01, train=train)
    return activation(normalised)


def _stem(weights: StateDict, prefix: str, x: torch.Tensor, num_residual_blocks: int):
    x = _leaky(_batch_norm(weights, f"{prefix}.1", _conv(weights, f"{prefix}.0", x)))
    for i in range(num_residual_blocks):
        x = _residual_block(weights, f"{prefix}.{i + 3}", x, dilation=i + 1)
    return x


def _upsample_block(weights: StateDict, prefix: str, x: torch.Tensor) -> torch.Tensor:
    x = _linear_upsampling(x)
    for name in ("upsample_conv", "refine_conv"):
        x = _leaky(_batch_norm(weights, f"{prefix}.bn", _conv(weights, f"{prefix}.{name}", x)))
    for i in range(2):
        x = _residual_block(weights, f"{prefix}.residual_blocks.{i}", x, dilation=i + 1)
    return x


def _residual_block(weights: StateDict, prefix: str, x: torch.Tensor, dilation: int):
    y = _conv(weights, f"{prefix}.conv1", x, dilation)
    y = _leaky(_batch_norm(weights, f"{prefix}.bn1", y))
    y = _conv(weights, f"{prefix}.conv2", y, dilation)
    return _leaky(x + _batch_norm(weights, f"{prefix}.bn2", y))


def _conv(weights: StateDict, prefix: str, x: torch.Tensor, dilation: int = 1) -> torch.Tensor:
    kernel = weights[f"{prefix}.weight"]
    padding = dilation * (kernel.shape[-1] - 1) // 2
    return F.conv1d(x, kernel, weights[f"{prefix}.bias"], padding=padding, dilation=dilation)


def _transposed_conv(weights: StateDict, prefix: str, x: torch.Tensor, stride: int = 1):
    kernel, bias = weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]
    return F.conv_transpose1d(x, kernel, bias, stride=stride, padding=1 if stride == 1 else 0)


def _linear(weights: StateDict, prefix: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, weights[f"{prefix}.weight"], weights[f"{prefix}.bias"])


def _batch_norm(weights: StateDict, prefix: str, x, epsilon=1e-5, momentum=0.1, train=False):
    mean, var, scale, bias = (
        weights[f"{prefix}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, scale, bias, train, momentum, epsilon)


def _nearest(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=3, mode="nearest")


def _linear_upsampling(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=3, mode="linear", align_corners=False)


def _leaky(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, 0.1)
