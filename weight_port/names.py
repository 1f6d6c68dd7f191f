"""Which torch key holds which of our arrays, and how its axes are arranged.

Every function here gives {torch key: our name}. Axes follow from the number of dimensions alone:
torch keeps [out, in, …taps], we keep […taps, in, out].
"""

import numpy as np

from qvae_jax.models.decoders import STAGE_WIDTHS
from qvae_jax.models.mobilenet import LAST_LAYER, ROWS, make_divisible

NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
AFFINE = {"weight": "kernel", "bias": "bias"}


def mobilenet(width: float) -> dict[str, str]:
    """Keys of an EfficientAT state dict of this width, trunk and head."""
    names = _conv_norm("features.0", "features.0")
    for layer, row in enumerate(ROWS, start=1):
        names |= _inverted_residual(f"features.{layer}", row, width)
    names |= _conv_norm(f"features.{LAST_LAYER}", f"features.{LAST_LAYER}")
    names |= _leaves("classifier.2", "classifier.hidden", AFFINE)
    names |= _leaves("classifier.5", "classifier.output", AFFINE)
    return names


def heads() -> dict[str, str]:
    """Keys of the two heads of the posterior."""
    return _leaves("mu_head", "mu_head", AFFINE) | _leaves("logvar_head", "logvar_head", AFFINE)


def decoder_original_plus() -> dict[str, str]:
    """Keys of the `original-plus` decoder."""
    names = {}
    for i in range(len(STAGE_WIDTHS)):
        names |= _leaves(f"conv{11 - i}", f"stages.{i}.conv", AFFINE)
        names |= _leaves(f"bn_layers.{i}", f"stages.{i}.norm", NORM)
    for i in range(2):
        names |= _leaves(f"final_conv{i + 1}", f"final.{i}.conv", AFFINE)
        names |= _leaves(f"final_bn{i + 1}", f"final.{i}.norm", NORM)
    return names | _leaves("final_conv3", "output", AFFINE)


DECODERS = {"original-plus": decoder_original_plus}


def qvae(width: float, decoder_type: str) -> dict[str, str]:
    """Keys of a QVAE Lightning checkpoint's state dict."""
    return (
        with_prefix(mobilenet(width), "encoder.backbone.", "encoder.")
        | with_prefix(heads(), "encoder.", "")
        | with_prefix(DECODERS[decoder_type](), "decoder.", "decoder.")
    )


def with_prefix(names: dict[str, str], torch_prefix: str, our_prefix: str) -> dict[str, str]:
    """The same names below a prefix on either side."""
    return {torch_prefix + key: our_prefix + name for key, name in names.items()}


def to_our_axes(array: np.ndarray) -> np.ndarray:
    """[out, in, …taps] -> […taps, in, out]; vectors stay as they are."""
    if array.ndim < 2:
        return array
    return np.ascontiguousarray(np.moveaxis(array, (0, 1), (-1, -2)))


def _inverted_residual(prefix: str, row, width: float) -> dict[str, str]:
    # torch numbers the parts of a block in order, so a part's number depends on those before it.
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


def _conv_norm(torch: str, ours: str) -> dict[str, str]:
    return {f"{torch}.0.weight": f"{ours}.kernel"} | _leaves(f"{torch}.1", f"{ours}.norm", NORM)


def _leaves(torch: str, ours: str, leaves: dict[str, str]) -> dict[str, str]:
    return {f"{torch}.{theirs}": f"{ours}.{mine}" for theirs, mine in leaves.items()}
