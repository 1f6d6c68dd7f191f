"""Which torch key holds which of our arrays, and how their axes differ.

Each function named after a model gives its {torch key: our name}. torch keeps weights as
[out, in, …taps], and we as […taps, in, out]. transposed_keys names the transposed convolutions,
which torch keeps as [in, out, taps].
"""

import functools

import numpy as np

from qvae_jax.models import aisfx as aisfx_model
from qvae_jax.models import samplecnn
from qvae_jax.models.decoders import STAGE_WIDTHS
from qvae_jax.models.mobilenet import LAST_LAYER, ROWS, make_divisible

NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
AFFINE = {"weight": "kernel", "bias": "bias"}


def mobilenet(width: float, head: str = "mlp") -> dict[str, str]:
    """Keys of a whole EfficientAT state dict, of this width and head."""
    names = _conv_norm("features.0", "features.0")
    for layer, row in enumerate(ROWS, start=1):
        names |= _inverted_residual(f"features.{layer}", row, width)
    names |= _conv_norm(f"features.{LAST_LAYER}", f"features.{LAST_LAYER}")
    if head == "fully_convolutional":
        names |= {"classifier.0.weight": "classifier.kernel"}
        return names | _leaves("classifier.1", "classifier.norm", NORM)
    names |= _leaves("classifier.2", "classifier.hidden", AFFINE)
    return names | _leaves("classifier.5", "classifier.output", AFFINE)


def heads() -> dict[str, str]:
    """Keys of the posterior's two heads, for μ and log σ²."""
    return _leaves("mu_head", "mu_head", AFFINE) | _leaves("logvar_head", "logvar_head", AFFINE)


def sample_cnn(*, final_convolutions: bool, learned_upsampling: bool = False) -> dict[str, str]:
    """Keys of the four `original` decoders."""
    names = {}
    for i in range(len(STAGE_WIDTHS)):
        number = 11 - i  # torch counts down
        names |= _leaves(f"conv{number}", f"stages.{i}.conv", AFFINE)
        names |= _leaves(f"bn_layers.{i}", f"stages.{i}.norm", NORM)
        if learned_upsampling and i > 0:
            names |= _leaves(f"upsample{number}", f"stages.{i}.upsample", AFFINE)
    if not final_convolutions:
        return names | _leaves("conv1", "output", AFFINE)
    for i in range(2):
        names |= _leaves(f"final_conv{i + 1}", f"final.{i}.conv", AFFINE)
        names |= _leaves(f"final_bn{i + 1}", f"final.{i}.norm", NORM)
    if learned_upsampling:
        names |= _leaves("upsample_final", "final.0.upsample", AFFINE)
    return names | _leaves("final_conv3", "output", AFFINE)


def improved() -> dict[str, str]:
    """Keys of the `improved` decoder."""
    names = _leaves("input_proj.0", "project.0", AFFINE)
    names |= _leaves("input_proj.2", "project.1", AFFINE)
    names |= _stem("stage1", num_residual_blocks=2)
    for i in range(9):
        names |= _upsample_block(f"upsample_layers.{i}", f"blocks.{i}")
    names |= _leaves("final_conv", "final", AFFINE)
    for i in range(3):
        names |= _leaves(f"output_layers.{i}", f"branches.{i}", AFFINE)
    return names | _leaves("output_combine", "output", AFFINE)


def light_improved() -> dict[str, str]:
    """Keys of the `light_improved` decoder."""
    names = _stem("layers.0", num_residual_blocks=1)
    for i in range(9):
        names |= _upsample_block(f"layers.{i + 1}", f"blocks.{i}")
    return names | _leaves("layers.10", "output", AFFINE)


# Where the keys of a checkpoint fit two, the first one is the original's default.
DECODERS = {
    "original": functools.partial(sample_cnn, final_convolutions=False),
    "original-plus": functools.partial(sample_cnn, final_convolutions=True),
    "original-res": functools.partial(sample_cnn, final_convolutions=True),
    "original-res-plus": functools.partial(
        sample_cnn, final_convolutions=True, learned_upsampling=True
    ),
    "improved": improved,
    "light_improved": light_improved,
}


def qvae(width: float, decoder_type: str, head: str = "mlp") -> dict[str, str]:
    """Keys of a QVAE Lightning checkpoint's state dict."""
    return (
        with_prefix(mobilenet(width, head), "encoder.backbone.", "encoder.")
        | with_prefix(heads(), "encoder.", "")
        | with_prefix(DECODERS[decoder_type](), "decoder.", "decoder.")
    )


def samplecnn_tagger() -> dict[str, str]:
    """Keys of a SampleCNN tagger's state dict."""
    names = {}
    for i in range(len(samplecnn.WIDTHS)):
        names |= _leaves(f"conv{i + 1}.0", f"stages.{i}.conv", AFFINE)
        names |= _leaves(f"conv{i + 1}.1", f"stages.{i}.norm", NORM)
    return names | _leaves("fc", "output", AFFINE)


def aisfx() -> dict[str, str]:
    """Keys of aiSFX's network, without the classifiers of the libraries that it learnt from."""
    names = {}
    for i in range(len(aisfx_model.WIDTHS)):
        for part in (1, 2):
            torch, ours = f"embedding_net.conv_block{i + 1}", f"blocks.{i}"
            names |= {f"{torch}.conv{part}.weight": f"{ours}.kernel{part}"}
            names |= _leaves(f"{torch}.bn{part}", f"{ours}.norm{part}", NORM)
    return names


def with_prefix(names: dict[str, str], torch_prefix: str, our_prefix: str) -> dict[str, str]:
    """The same names, with a prefix before the keys and another before our names."""
    return {torch_prefix + key: our_prefix + name for key, name in names.items()}


def transposed_keys(decoder_type: str, prefix: str = "decoder.") -> dict[str, bool]:
    """The weights that torch keeps as transposed convolutions: {key: whether taps are reversed}.

    A transposed convolution of stride 1 is a convolution with its taps reversed, which is what we
    keep for `original`. With stride 3 each tap makes one output sample, in order.
    """
    if decoder_type == "original":
        stages = {f"{prefix}conv{11 - i}.weight": True for i in range(len(STAGE_WIDTHS))}
        return stages | {f"{prefix}conv1.weight": False}
    if decoder_type == "original-res-plus":
        stages = {f"{prefix}upsample{11 - i}.weight": False for i in range(1, len(STAGE_WIDTHS))}
        return stages | {f"{prefix}upsample_final.weight": False}
    return {}


def to_our_axes(
    array: np.ndarray, *, transposed: bool = False, reverse: bool = False
) -> np.ndarray:
    """torch's array with our axes: [out, in, …taps] becomes […taps, in, out]; vectors stay.

    Args:
        array: torch's.
        transposed: it is [in, out, taps].
        reverse: its taps are reversed too.
    """
    if array.ndim < 2:
        return array
    ours = np.moveaxis(array, (0, 1), (-2, -1) if transposed else (-1, -2))
    return np.ascontiguousarray(ours[::-1] if reverse else ours)


def to_torch_axes(
    array: np.ndarray, *, transposed: bool = False, reverse: bool = False
) -> np.ndarray:
    """The inverse of to_our_axes."""
    if array.ndim < 2:
        return array
    ours = array[::-1] if reverse else array
    return np.ascontiguousarray(np.moveaxis(ours, (-2, -1) if transposed else (-1, -2), (0, 1)))


def _inverted_residual(prefix: str, row, width: float) -> dict[str, str]:
    # torch numbers a block's parts in order, so a part's number depends on which come before it.
    parts = ["depthwise", "project"]
    if make_divisible(row.expanded * width) != make_divisible(row.num_in * width):
        parts.insert(0, "expand")
    if row.squeeze_excite:
        parts.insert(-1, "squeeze_excite")
    names = {}
    for number, part in enumerate(parts):
        torch, ours = f"{prefix}.block.{number}", f"{prefix}.{part}"
        if part == "squeeze_excite":
            names |= _leaves(f"{torch}.conc_se_layers.0.fc1", f"{ours}.reduce", AFFINE)
            names |= _leaves(f"{torch}.conc_se_layers.0.fc2", f"{ours}.expand", AFFINE)
        else:
            names |= _conv_norm(torch, ours)
    return names


def _stem(torch: str, num_residual_blocks: int) -> dict[str, str]:
    names = _leaves(f"{torch}.0", "stem.conv", AFFINE) | _leaves(f"{torch}.1", "stem.norm", NORM)
    for i in range(num_residual_blocks):
        names |= _residual_block(f"{torch}.{i + 3}", f"stem.residual_blocks.{i}")
    return names


def _upsample_block(torch: str, ours: str) -> dict[str, str]:
    names = _leaves(f"{torch}.upsample_conv", f"{ours}.conv", AFFINE)
    names |= _leaves(f"{torch}.refine_conv", f"{ours}.refine", AFFINE)
    names |= _leaves(f"{torch}.bn", f"{ours}.norm", NORM)
    for i in range(2):
        names |= _residual_block(f"{torch}.residual_blocks.{i}", f"{ours}.residual_blocks.{i}")
    return names


def _residual_block(torch: str, ours: str) -> dict[str, str]:
    names = {}
    for i in (1, 2):
        names |= _leaves(f"{torch}.conv{i}", f"{ours}.conv{i}", AFFINE)
        names |= _leaves(f"{torch}.bn{i}", f"{ours}.norm{i}", NORM)
    return names


def _conv_norm(torch: str, ours: str) -> dict[str, str]:
    return {f"{torch}.0.weight": f"{ours}.kernel"} | _leaves(f"{torch}.1", f"{ours}.norm", NORM)


def _leaves(torch: str, ours: str, leaves: dict[str, str]) -> dict[str, str]:
    return {f"{torch}.{theirs}": f"{ours}.{mine}" for theirs, mine in leaves.items()}
