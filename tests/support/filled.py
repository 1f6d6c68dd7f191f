"""Our modules holding the arrays of a torch state dict, and how far their results lie from torch's.

The arrays go through weight_port's table of names.
"""

import contextlib
import json

import numpy as np
import pytest
from flax import nnx

import golden_rules
from qvae_jax.models import decoders, initializers, mobilenet, qvae, variables
from qvae_jax.models.variables import Variables
from weight_port import names

# What a state dict holds besides a model's arrays: counters, the losses' windows and banks.
LEFTOVERS = ("num_batches_tracked", "loss_fn.")
REDUCED_WIDTHS = (24,) * 8
REDUCED_SAMPLES = 3**8

StateDict = dict[str, np.ndarray]
Filled = tuple[nnx.GraphDef, Variables]


def error(ours, theirs) -> float:
    """The largest difference between two arrays, relative to the largest number of theirs."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def fill(
    module: nnx.Module,
    table: dict[str, str],
    state_dict: StateDict,
    transposed: dict[str, bool] | None = None,
) -> Filled:
    """The module's structure and its variables, every one of them from the state dict."""
    graphdef, empty = variables.split(module)
    arrays = {
        name: to_our_axes(key, np.asarray(state_dict[key]), transposed or {})
        for key, name in table.items()
    }
    expected = {**empty.params, **empty.batch_stats}
    assert {n: a.shape for n, a in arrays.items()} == {n: a.shape for n, a in expected.items()}
    unused = [key for key in state_dict if key not in table]
    assert all(any(leftover in key for leftover in LEFTOVERS) for key in unused), unused
    params, batch_stats = ({name: arrays[name] for name in group} for group in empty)
    return graphdef, Variables(params, batch_stats)


def to_our_axes(key: str, array: np.ndarray, transposed: dict[str, bool]) -> np.ndarray:
    """A weight in our axes; `transposed` as names.transposed_keys gives it."""
    return names.to_our_axes(
        array, transposed=key in transposed, reverse=transposed.get(key, False)
    )


def golden_layout(name: str) -> dict:
    """tests/golden/NAME.json."""
    return json.loads((golden_rules.GOLDEN / f"{name}.json").read_text())


def mobilenet_state_dict(width: float) -> StateDict:
    """Filled weights of mn10 or mn04 under EfficientAT's keys."""
    if width == 1.0:
        return golden_rules.filled_state_dict(golden_layout("mn10_state_dict_shapes"))
    assert width == 0.4
    prefix, layout = "imitation_encoder.", golden_layout("qvim_mn04_checkpoint_layout")
    shapes = {k.removeprefix(prefix): s for k, s in layout.items() if k.startswith(prefix)}
    return golden_rules.filled_state_dict(shapes)


def decoder_state_dict(decoder_type: str, width: float = 1.0) -> StateDict:
    """Filled weights of a decoder under the original's keys, in the original's shapes at width 1."""
    shapes = golden_layout("decoder_state_dict_shapes")["decoders"][decoder_type]
    if width != 1.0:
        shapes |= _torch_shapes(_decoder(decoder_type, width), decoder_type)
    return golden_rules.filled_state_dict(shapes)


def filled_mobilenet(width: float, state_dict: StateDict | None = None) -> Filled:
    """The encoder's trunk and head, with filled weights unless others are given."""
    module = mobilenet.MobileNetV3(width, rng=None)
    return fill(module, names.mobilenet(width), state_dict or mobilenet_state_dict(width))


def filled_decoder(decoder_type: str, width: float = 1.0) -> Filled:
    """A decoder with filled weights."""
    return fill(
        _decoder(decoder_type, width),
        names.DECODERS[decoder_type](),
        decoder_state_dict(decoder_type, width),
        names.transposed_keys(decoder_type, prefix=""),
    )


def filled_qvae(width: float = 1.0, state_dict: StateDict | None = None) -> Filled:
    """The whole QVAE of the golden checkpoint, or one of another width and state dict."""
    layout = golden_layout("qvae_checkpoint_layout")
    config = qvae.QVAEConfig(
        encoder_width=width,
        latent_dim=layout["config"]["model"]["latent_dim"],
        decoder_type=layout["config"]["decoder"]["type"],
    )
    table = names.qvae(width, config.decoder_type)
    state_dict = state_dict or golden_rules.filled_state_dict(layout["shapes"])
    return fill(qvae.QVAE(config, rng=None), table, state_dict)


def reduced_decoder() -> tuple[nnx.GraphDef, Variables, StateDict, dict[str, str]]:
    """`original-plus` with two stages fewer, narrow: 6561 samples, a hundredth of the arithmetic.

    Gives its structure, its filled variables, the state dict they came from and the table of names.
    """
    with reduced_stages():
        module, table = _decoder("original-plus"), names.DECODERS["original-plus"]()
        state_dict = golden_rules.filled_state_dict(_torch_shapes(module, "original-plus"))
    return *fill(module, table, state_dict), state_dict, table


@contextlib.contextmanager
def reduced_stages():
    """While it lasts, `original-plus` and its table of names are built with the reduced stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "STAGE_WIDTHS", REDUCED_WIDTHS)
        patch.setattr(names, "STAGE_WIDTHS", REDUCED_WIDTHS)
        yield


def narrow_decoders(monkeypatch: pytest.MonkeyPatch, width: float) -> None:
    """Decoders of width 1 have only this share of their channels from now on."""
    scaled = decoders._scaled
    narrow = lambda widths, factor: scaled(widths, width * factor)
    monkeypatch.setattr(decoders, "_scaled", narrow)


def _decoder(decoder_type: str, width: float = 1.0) -> nnx.Module:
    latent_dim = golden_layout("decoder_state_dict_shapes")["latent_dim"]
    return decoders.DECODERS[decoder_type](
        latent_dim, width=width, dropout=0.0, kernel_init=initializers.he_uniform, rng=None
    )


def _torch_shapes(decoder: nnx.Module, decoder_type: str) -> dict[str, tuple[int, ...]]:
    """The shape that torch's array has under each key of a decoder's table."""
    _, empty = variables.split(decoder)
    ours = {**empty.params, **empty.batch_stats}
    transposed = names.transposed_keys(decoder_type, prefix="")
    return {
        key: names.to_torch_axes(np.empty(ours[name].shape), transposed=key in transposed).shape
        for key, name in names.DECODERS[decoder_type]().items()
    }
