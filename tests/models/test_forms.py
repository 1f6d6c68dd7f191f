"""The door: every operation in the form of the platform compiled for, with the same result."""

import inspect

import jax
import numpy as np
import pytest

from filled import error
from forms import TOLERANCE, noise
from qvae_jax.models import forms, plain
from qvae_jax.models.cpu import convolutions, linear_upsampling, maps
from qvae_jax.system import platforms

SOUND, MAP = noise(2, 12, 4), noise(1, 9, 10, 4)
KERNEL, KERNEL_2D = noise(3, 4, 5, seed=1), noise(3, 3, 4, 5, seed=1)
# Operations of arrays alone: (module of the fast form, what they are given).
OPERATIONS = {
    "conv1d": (convolutions, (SOUND, KERNEL)),
    "upsample3_conv1d": (convolutions, (SOUND, KERNEL)),
    "upsample3_linear_conv1d": (linear_upsampling, (SOUND, KERNEL)),
    "transposed_conv1d_stride3": (convolutions, (SOUND, KERNEL)),
    "conv2d": (maps, (MAP[..., :1], KERNEL_2D[:, :, :1])),
    "gated_conv2d": (maps, (MAP, KERNEL_2D, noise(1, 4, seed=2))),
    "depthwise_conv2d": (maps, (MAP, noise(3, 3, 1, 4, seed=1))),
    "mean_of_places": (maps, (MAP,)),
}
# Those that are given layers are tested beside these, and in programs (tests/test_lowering.py).
OF_LAYERS = {"mixed_branches", "in_turn", "train_stages"}
# Those with a form for graphs of ONNX alone: what they are given.
OF_ONNX = {"depthwise_conv1d": (SOUND, noise(7, 1, 4, seed=1)), "gelu": (SOUND,)}


def test_every_operation_is_here():
    doors = {name for name, form in inspect.getmembers(forms, inspect.isfunction) if name[0] != "_"}
    assert doors == OPERATIONS.keys() | OF_LAYERS | OF_ONNX.keys()
    for name in doors:
        assert getattr(forms, name).__wrapped__ is getattr(plain, name)


def _program(function, given) -> str:
    return str(jax.make_jaxpr(lambda *given: function(*given))(*given))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_platform_chooses(name):
    module, given = OPERATIONS[name]
    chosen, fast, plainly = (getattr(form, name) for form in (forms, module, plain))
    assert _program(chosen, given) == _program(fast, given) != _program(plainly, given)
    ours = chosen(*given)
    for platform in ("cuda", "tpu"):
        with platforms.compiling_for(platform):
            assert _program(chosen, given) == _program(plainly, given)
            assert error(chosen(*given), np.asarray(ours)) < TOLERANCE


@pytest.mark.parametrize("name", OF_ONNX)
def test_a_graph_of_onnx_has_a_form_of_its_own(name):
    given = OF_ONNX[name]
    chosen, plainly = getattr(forms, name), getattr(plain, name)
    assert _program(chosen, given) == _program(plainly, given)
    ours = chosen(*given)
    with platforms.compiling_for(platforms.ONNX):
        assert _program(chosen, given) != _program(plainly, given)
        assert error(chosen(*given), np.asarray(ours)) < TOLERANCE
