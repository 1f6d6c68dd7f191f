"""Our modules holding the arrays of a torch state dict, through weight_port's table of names."""

import json

import numpy as np
from flax import nnx

import golden_rules
from qvae_jax.models import decoders, initializers, mobilenet, qvae, variables
from qvae_jax.models.variables import Variables
from weight_port import names

# What a state dict holds besides a model's arrays: counters, the losses' windows and banks.
LEFTOVERS = ("num_batches_tracked", "loss_fn.")


def fill(
    module: nnx.Module, table: dict[str, str], state_dict: dict[str, np.ndarray]
) -> tuple[nnx.GraphDef, Variables]:
    """The module's structure and its variables, every one of them from the state dict."""
    graphdef, empty = variables.split(module)
    arrays = {name: names.to_our_axes(np.asarray(state_dict[key])) for key, name in table.items()}
    expected = {**empty.params, **empty.batch_stats}
    assert {n: a.shape for n, a in arrays.items()} == {n: a.shape for n, a in expected.items()}
    unused = [key for key in state_dict if key not in table]
    assert all(any(leftover in key for leftover in LEFTOVERS) for key in unused), unused
    taken = ({name: arrays[name] for name in group} for group in empty)
    return graphdef, Variables(*taken)


def golden_shapes(name: str) -> dict:
    """tests/golden/NAME.json."""
    return json.loads((golden_rules.GOLDEN / f"{name}.json").read_text())


def mobilenet_state_dict(width: float) -> dict[str, np.ndarray]:
    """Filled weights of mn10 or mn04 under EfficientAT's keys."""
    if width == 1.0:
        return golden_rules.filled_state_dict(golden_shapes("mn10_state_dict_shapes"))
    assert width == 0.4
    prefix, layout = "imitation_encoder.", golden_shapes("qvim_mn04_checkpoint_layout")
    shapes = {k.removeprefix(prefix): s for k, s in layout.items() if k.startswith(prefix)}
    return golden_rules.filled_state_dict(shapes)


def decoder_state_dict(decoder_type: str) -> dict[str, np.ndarray]:
    """Filled weights of a decoder under the original's keys."""
    return golden_rules.filled_state_dict(
        golden_shapes("decoder_state_dict_shapes")["decoders"][decoder_type]
    )


def filled_mobilenet(
    width: float, state_dict: dict[str, np.ndarray] | None = None
) -> tuple[nnx.GraphDef, Variables]:
    """The encoder trunk, with filled weights unless others are given."""
    return fill(
        mobilenet.MobileNetV3(width, rng=None),
        names.mobilenet(width),
        state_dict or mobilenet_state_dict(width),
    )


def filled_decoder(decoder_type: str) -> tuple[nnx.GraphDef, Variables]:
    """A decoder with filled weights."""
    latent_dim = golden_shapes("decoder_state_dict_shapes")["latent_dim"]
    module = decoders.DECODERS[decoder_type](
        latent_dim, kernel_init=initializers.he_uniform, rng=None
    )
    return fill(module, names.DECODERS[decoder_type](), decoder_state_dict(decoder_type))


def filled_qvae(
    width: float = 1.0, state_dict: dict[str, np.ndarray] | None = None
) -> tuple[nnx.GraphDef, Variables]:
    """The whole QVAE of the golden checkpoint, or of another width and state dict."""
    layout = golden_shapes("qvae_checkpoint_layout")
    config = qvae.QVAEConfig(
        encoder_width=width,
        latent_dim=layout["config"]["model"]["latent_dim"],
        decoder_type=layout["config"]["decoder"]["type"],
    )
    return fill(
        qvae.QVAE(config, rng=None),
        names.qvae(width, config.decoder_type),
        state_dict or golden_rules.filled_state_dict(layout["shapes"]),
    )
