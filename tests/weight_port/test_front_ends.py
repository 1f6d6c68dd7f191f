"""What no tensor of an encoder tells: known by a published name, or asked for."""

import dataclasses
import pathlib

import numpy as np
import pytest

from filled import golden_layout
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import qvae
from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="weight_port.source imports it")

from weight_port import port, published
from weight_port.source import Source
from weight_port.weight_sets import EFFICIENTAT, QVAE


def _source(kind: str, arrays: dict) -> Source:
    return Source(pathlib.Path("some.ckpt"), "0" * 64, kind, arrays, {}, {})


def _file(name: str, arrays: dict) -> Source:
    return dataclasses.replace(_source(EFFICIENTAT, arrays), path=pathlib.Path(name))


def test_what_no_tensor_tells_is_known_by_the_published_name(odd, convolutional_arrays):
    ported = port.port(_file("odd.pt", convolutional_arrays))
    assert ported.notes == ()
    model = qvae.QVAEConfig.from_dict(ported.description["model"])
    assert (model.encoder_head, model.encoder_classes) == ("fully_convolutional", 10)
    assert model.encoder_strides == (2, 2, 1, 1)
    assert model.front_end == FrontEnd(hop_length=800, num_mels=40)


def test_a_renamed_file_is_known_where_all_published_models_of_its_size_hear_alike(mn01_arrays):
    ported = port.port(_file("renamed.pt", mn01_arrays))
    assert ported.description["model"]["encoder_strides"] == (2, 2, 2, 2)
    (note,) = ported.notes
    assert "taken to be those of every published model of width 0.1" in note


def test_a_renamed_file_that_two_published_models_fit_is_refused(mn01_arrays, monkeypatch):
    """As any of width 1.0 does; nothing is guessed from a part of its name either."""
    other = published.Published("mn01_hop.pt", 0.1, hop_length=160)
    monkeypatch.setitem(published.PUBLISHED, "mn01_hop", other)
    for name in ("renamed.pt", "mn01_hop_finetuned.pt"):
        with pytest.raises(UserError, match="it may be mn01_as, mn01_im, mn01_hop.*--published_as"):
            port.port(_file(name, mn01_arrays))
    ported = port.port(_file("renamed.pt", mn01_arrays), published_as="mn01_hop")
    assert ported.description["model"]["front_end"]["hop_length"] == 160 and ported.notes == ()


def test_a_model_like_no_published_one_needs_a_word_on_what_it_hears(convolutional_arrays):
    source = _file("own.pt", convolutional_arrays)
    with pytest.raises(UserError, match="no published model has width 0.1 .*--published_as"):
        port.port(source)
    ported = port.port(source, published_as="mn10_as_hop_5")
    assert ported.description["model"]["front_end"]["hop_length"] == 160
    assert ported.description["model"]["encoder_head"] == "fully_convolutional"
    assert "those of mn10_as_hop_5, though no published model has its width" in ported.notes[0]


def test_a_renamed_file_may_be_called_by_its_published_name(odd, convolutional_arrays):
    ported = port.port(_file("renamed.pt", convolutional_arrays), published_as="mn01_odd")
    assert ported.notes == ()
    assert tuple(ported.description["model"]["encoder_strides"]) == (2, 2, 1, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mn10_as", "renamed.pt cannot be mn10_as, whose width is 1.0: its tensors have width 0.1"),
        ("mn01_odd", "cannot be mn01_odd, whose head is fully_convolutional: .* have head mlp"),
    ],
)
def test_a_published_name_that_does_not_fit_the_tensors_is_refused(odd, mn01_arrays, name, message):
    with pytest.raises(UserError, match=message):
        port.port(_file("renamed.pt", mn01_arrays), published_as=name)


def test_a_published_name_is_for_efficientat_alone(mn01_arrays):
    arrays = {f"encoder.backbone.{key}": array for key, array in mn01_arrays.items()}
    with pytest.raises(UserError, match="--published_as=mn10_as is for an EfficientAT state dict"):
        port.port(_source(QVAE, arrays), published_as="mn10_as")


def test_another_number_of_classes_is_read_from_the_tensors(mn01_arrays):
    arrays = dict(mn01_arrays)
    for leaf in ("weight", "bias"):
        arrays[f"classifier.5.{leaf}"] = np.concatenate([arrays[f"classifier.5.{leaf}"]] * 2)
    ported = port.port(_file("mn01_im.pt", arrays))
    assert ported.description["model"]["encoder_classes"] == 1054 and ported.notes == ()


def test_a_head_of_published_classes_tells_which_encoders_are_like_it(mn10_arrays):
    """A renamed file of mn10's width: its 120 or 476 classes are those of QBV's encoders alone."""
    for num_classes in (120, 476):
        head = {
            "classifier.5.weight": np.zeros((num_classes, 1280), np.float32),
            "classifier.5.bias": np.zeros(num_classes, np.float32),
        }
        ported = port.port(_source(EFFICIENTAT, mn10_arrays | head))
        assert ported.description["model"]["encoder_classes"] == num_classes
        [note] = ported.notes
        assert note.endswith(f"every published model of width 1.0 and {num_classes} classes")
    with pytest.raises(UserError, match="give --published_as"):
        port.port(_source(EFFICIENTAT, dict(mn10_arrays)))


@pytest.fixture(scope="module")
def mn10_arrays() -> dict:
    """An mn10 of zeros, but for its variances of one."""
    shapes = golden_layout("mn10_state_dict_shapes")
    return {
        key: np.full(shape, key.endswith("running_var"), np.float32)
        for key, shape in shapes.items()
        if not key.endswith("tracked")
    }
