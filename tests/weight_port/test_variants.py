"""EfficientAT's other heads, strides, hops and mel bands: ported, run and brought back."""

import dataclasses
import pathlib

import numpy as np
import pytest

import golden_rules
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import mobilenet, variables
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.system.errors import UserError
from weight_port import names

torch = pytest.importorskip("torch", reason="reads PyTorch checkpoints")

from weight_port import port, published, to_torch, verify
from weight_port.published import Published
from weight_port.source import EFFICIENTAT, QVAE, Source

ODD = Published(
    "odd.pt",
    0.1,
    head="fully_convolutional",
    strides=(2, 2, 1, 1),
    hop_length=800,
    num_mels=40,
)


@pytest.fixture(scope="module")
def convolutional_arrays() -> dict[str, np.ndarray]:
    """A filled state dict of width 0.1 with a convolutional head of 10 classes."""
    module = mobilenet.MobileNetV3(0.1, head="fully_convolutional", num_classes=10, rng=None)
    expected = variables.split(module)[1]
    shapes = {n: a.shape for n, a in {**expected.params, **expected.batch_stats}.items()}
    table = names.mobilenet(0.1, "fully_convolutional")
    return {
        key: golden_rules.filled(key, np.moveaxis(np.empty(shapes[name]), (-1, -2), (0, 1)).shape)
        if len(shapes[name]) > 1
        else golden_rules.filled(key, shapes[name])
        for key, name in table.items()
    }


def _source(arrays: dict, file: str = "odd.pt", kind: str = EFFICIENTAT) -> Source:
    return Source(pathlib.Path(file), "0" * 64, kind, arrays, {}, {})


@pytest.fixture
def odd(monkeypatch):
    """A published model in which everything is unlike mn10_as."""
    monkeypatch.setitem(published.PUBLISHED, "mn01_odd", ODD)


def test_a_published_variant_gives_the_same_in_torch_and_here(odd, convolutional_arrays):
    ported = port.port(_source(convolutional_arrays))
    assert ported.notes == ()
    model = QVAEConfig.from_dict(ported.description["model"])
    assert (model.encoder_head, model.encoder_classes) == ("fully_convolutional", 10)
    assert model.encoder_strides == (2, 2, 1, 1)
    assert model.front_end == FrontEnd(hop_length=800, num_mels=40)
    rows = {row.layer: row for row in verify.compare(_source(convolutional_arrays), ported)}
    assert rows["features.16"].shape == (1, 5, 50, 96) and rows["logits"].shape == (1, 10)
    assert max(row.relative for row in rows.values()) < 1e-9


def test_the_features_of_a_strided_layer_have_the_size_of_its_map():
    model = QVAEConfig(
        encoder_width=0.1,
        encoder_strides=(2, 2, 1, 1),
        feature_space="13",
        front_end=FrontEnd(hop_length=800, num_mels=40),
    )
    assert model.feature_dim() == 5 * 50 * 16


def test_a_convolutional_head_goes_back_to_torch_bit_for_bit(odd, convolutional_arrays):
    ported = port.port(_source(convolutional_arrays))
    back = to_torch.encoder_state_dict(ported.variables, 0.1, "fully_convolutional")
    kept = {key: tensor.numpy() for key, tensor in back.items() if "tracked" not in key}
    assert kept.keys() == convolutional_arrays.keys()
    for key, array in kept.items():
        np.testing.assert_array_equal(array, convolutional_arrays[key])


def test_a_renamed_file_is_taken_as_mn10_as_and_says_so(mn01_arrays):
    ported = port.port(_source(mn01_arrays, "renamed.pt"))
    assert ported.description["model"]["encoder_strides"] == (2, 2, 2, 2)
    assert len(ported.notes) == 1
    assert (
        "renamed.pt is not a published file's name: taken to be those of mn10_as" in ported.notes[0]
    )


def test_a_renamed_file_of_a_known_digest_is_recognised():
    digest = published.PUBLISHED["mn10_as"].sha256
    assert published.name_of("renamed.pt", digest) == "mn10_as"
    assert published.name_of("renamed.pt", "0" * 64) is None


def test_a_renamed_file_may_be_called_by_its_published_name(odd, convolutional_arrays):
    ported = port.port(_source(convolutional_arrays, "renamed.pt"), published_as="mn01_odd")
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
        port.port(_source(mn01_arrays, "renamed.pt"), published_as=name)


def test_a_published_name_is_for_efficientat_alone(mn01_arrays):
    arrays = {f"encoder.backbone.{key}": array for key, array in mn01_arrays.items()}
    with pytest.raises(UserError, match="--published_as=mn10_as is for an EfficientAT state dict"):
        port.port(_source(arrays, kind=QVAE), published_as="mn10_as")


def test_another_number_of_classes_is_read_from_the_tensors(mn01_arrays):
    arrays = dict(mn01_arrays)
    for leaf in ("weight", "bias"):
        arrays[f"classifier.5.{leaf}"] = np.concatenate([arrays[f"classifier.5.{leaf}"]] * 2)
    ported = port.port(_source(arrays, "mn01_im.pt"))
    assert ported.description["model"]["encoder_classes"] == 1054 and ported.notes == ()


# --- what is published


def test_every_published_name_tells_its_width_and_its_precision():
    assert len(published.PUBLISHED) == 35
    for name, entry in published.PUBLISHED.items():
        assert entry.width == int(name[2:4]) / 10
        assert published.name_of(entry.file, "0" * 64) == name
        assert (entry.mean_average_precision is None) == ("_im" in name and "_as" not in name)
        if entry.mean_average_precision is not None:
            assert f"_mAP_{entry.mean_average_precision * 1000:.0f}" in entry.file
        told = [entry.hop_length != 320, entry.num_mels != 128, entry.strides != (2, 2, 2, 2)]
        assert told == ["_hop_" in name, "_mels_" in name, "_s2" in name]
        assert (entry.head == "fully_convolutional") == ("_fc" in name)


def test_the_table_in_the_documentation_is_that_of_the_code():
    """Parameters are those of 527 classes, counted on the networks themselves."""
    text = (pathlib.Path(port.__file__).parent / "README.md").read_text()
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `mn")
    ]
    assert [row[0] for row in rows] == list(published.PUBLISHED)
    for name, file, width, parameters, embedding, precision, remarks in rows:
        entry = published.PUBLISHED[name]
        assert (file, float(width)) == (entry.file, entry.width)
        assert parameters == f"{_num_parameters(entry.width, entry.head):,}"
        assert int(embedding) == mobilenet.embedding_size(entry.width)
        known = entry.mean_average_precision
        assert precision == ("–" if known is None else f"{known:.3f}")
        assert ("hop" in remarks) == (entry.hop_length != 320)
        assert (f"{entry.num_mels} mel bands" in remarks) == (entry.num_mels != 128)


def _num_parameters(width: float, head: str) -> int:
    module = encoder_network(
        dataclasses.replace(QVAEConfig(), encoder_width=width, encoder_head=head), rng=None
    )
    return sum(array.size for array in variables.split(module)[1].params.values())
