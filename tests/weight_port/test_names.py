"""The tables of names by themselves: no torch is needed to check them."""

import re

import numpy as np
import pytest
from flax import nnx

from filled import golden_layout
from qvae_jax.models import decoders, initializers, mobilenet, qvae, variables
from weight_port import names

WIDTHS = (0.1, 0.2, 0.4, 0.5, 1.0, 2.0, 3.0, 4.0)
LEFTOVERS = re.compile(r"^loss_fn\.|\.num_batches_tracked$|^tau$")


def _our_shapes(build) -> dict[str, tuple[int, ...]]:
    """Shapes of a module's arrays by our names; none of them is made."""
    parts = variables.split(nnx.eval_shape(build))[1]
    return {name: array.shape for part in parts for name, array in part.items()}


def _our_shape(torch_shape) -> tuple[int, ...]:
    # No memory behind it: an array of one number, stretched.
    stretched = np.broadcast_to(np.float32(0), torch_shape)
    return names.to_our_axes(stretched).shape


def _tables():
    yield from (pytest.param(names.mobilenet(width), id=f"mn{width}") for width in WIDTHS)
    yield pytest.param(names.heads(), id="heads")
    yield from (pytest.param(table(), id=name) for name, table in names.DECODERS.items())
    yield from (pytest.param(names.qvae(1.0, name), id=f"qvae {name}") for name in names.DECODERS)


@pytest.mark.parametrize("table", list(_tables()))
def test_no_two_torch_keys_share_one_of_our_names(table):
    assert len(set(table.values())) == len(table) > 0


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_of_each_published_width_fills_every_array_of_the_encoder(width):
    ours = _our_shapes(lambda: mobilenet.MobileNetV3(width, rng=None))
    assert set(names.mobilenet(width).values()) == set(ours)


@pytest.mark.parametrize("decoder_type", names.DECODERS)
def test_a_decoders_table_fills_every_array_of_the_decoder(decoder_type):
    build = lambda: decoders.DECODERS[decoder_type](
        16, kernel_init=initializers.he_uniform, rng=None
    )
    assert set(names.DECODERS[decoder_type]().values()) == set(_our_shapes(build))


def test_every_decoder_that_can_be_ported_exists():
    assert set(names.DECODERS) <= set(decoders.DECODERS)


def _golden_cases():
    yield (
        "mn10",
        names.mobilenet(1.0),
        golden_layout("mn10_state_dict_shapes"),
        (lambda: mobilenet.MobileNetV3(1.0, rng=None)),
    )
    layout = golden_layout("qvae_checkpoint_layout")
    config = qvae.QVAEConfig(latent_dim=layout["config"]["model"]["latent_dim"])
    yield (
        "qvae",
        names.qvae(1.0, config.decoder_type),
        layout["shapes"],
        (lambda: qvae.QVAE(config, rng=None)),
    )
    both = golden_layout("qvim_mn04_checkpoint_layout")
    for encoder in ("imitation", "reference"):
        prefix = f"{encoder}_encoder."
        shapes = {key: shape for key, shape in both.items() if key.startswith(prefix)}
        yield (
            f"qvim {encoder}",
            names.with_prefix(names.mobilenet(0.4), prefix, ""),
            shapes,
            (lambda: mobilenet.MobileNetV3(0.4, rng=None)),
        )


GOLDEN_CASES = [pytest.param(*case, id=name) for name, *case in _golden_cases()]


@pytest.mark.parametrize(("table", "torch_shapes", "build"), GOLDEN_CASES)
def test_a_table_has_the_keys_of_the_originals_state_dict_and_no_others(table, torch_shapes, build):
    assert set(table) == {key for key in torch_shapes if not LEFTOVERS.search(key)}


@pytest.mark.parametrize(("table", "torch_shapes", "build"), GOLDEN_CASES)
def test_the_originals_shapes_become_ours(table, torch_shapes, build):
    converted = {name: _our_shape(torch_shapes[key]) for key, name in table.items()}
    assert converted == _our_shapes(build)


def test_all_of_a_qvim_state_dict_is_covered():
    covered = [
        f"{encoder}_encoder.{key}"
        for encoder in ("imitation", "reference")
        for key in names.mobilenet(0.4)
    ]
    state_dict = golden_layout("qvim_mn04_checkpoint_layout")
    assert set(covered) == {key for key in state_dict if not LEFTOVERS.search(key)}


def test_axes_of_a_convolution_move_from_out_in_taps_to_taps_in_out():
    array = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    moved = names.to_our_axes(array)
    assert moved.shape == (5, 7, 3, 2)
    assert moved[4, 6, 2, 1] == array[1, 2, 4, 6]
    assert moved.flags.c_contiguous


def test_a_matrix_is_transposed_and_a_vector_stays():
    matrix, vector = np.arange(6).reshape(2, 3), np.arange(4)
    np.testing.assert_array_equal(names.to_our_axes(matrix), matrix.T)
    np.testing.assert_array_equal(names.to_our_axes(vector), vector)
