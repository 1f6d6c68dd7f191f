"""The torch side of --verify: what its functions give, and what they change."""

import pytest

import golden_rules
from filled import decoder_state_dict, golden_layout

torch = pytest.importorskip("torch", reason="runs in torch")

from weight_port import names, torch_forward


def tensors(arrays: dict) -> dict:
    return {key: torch.as_tensor(array) for key, array in arrays.items()}


@pytest.fixture
def weights(mn01_arrays) -> dict:
    return {key: tensor.clone() for key, tensor in tensors(mn01_arrays).items()}


LOGMEL = torch.linspace(-1, 1, 2 * 128 * 40).reshape(2, 128, 40)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a.", {"b": 1, "a.c": 2}),
        ("a.a.", {"c": 2}),
        ("", {"a.b": 1, "a.a.c": 2, "d": 3}),
        ("x", {}),
    ],
)
def test_what_is_below_a_prefix_loses_it_once(prefix, expected):
    assert torch_forward.below({"a.b": 1, "a.a.c": 2, "d": 3}, prefix) == expected


def test_the_encoders_layers_come_in_order_and_channels_first(weights):
    trace = dict(torch_forward.mobilenet(weights, LOGMEL))
    assert list(trace) == [*(f"features.{layer}" for layer in range(17)), "pooled", "logits"]
    assert trace["features.0"].shape == (2, 8, 64, 20)
    assert trace["features.16"].shape == (2, 96, 4, 2)
    assert trace["pooled"].shape == (2, 96) and trace["logits"].shape == (2, 527)
    torch.testing.assert_close(trace["pooled"], trace["features.16"].mean((2, 3)))


def test_other_strides_and_the_convolutional_head(convolutional_arrays):
    weights = tensors(convolutional_arrays)
    trace = dict(torch_forward.mobilenet(weights, LOGMEL, (2, 2, 1, 1)))
    assert trace["features.16"].shape == (2, 96, 16, 5) and trace["logits"].shape == (2, 10)


@pytest.mark.parametrize("train_layers", [frozenset(), frozenset({0, 16})])
def test_only_layers_that_train_move_their_statistics(weights, train_layers):
    before = {key: tensor.clone() for key, tensor in weights.items()}
    list(torch_forward.mobilenet(weights, LOGMEL, train_layers=train_layers))
    changed = {key for key in weights if not torch.equal(weights[key], before[key])}
    assert changed == {
        f"features.{layer}.1.running_{name}" for layer in train_layers for name in ("mean", "var")
    }


def test_one_head_is_two_heads_stacked():
    two = tensors(
        {
            f"{head}_head.{leaf}": golden_rules.filled(f"{head}.{leaf}", shape)
            for head in ("mu", "logvar")
            for leaf, shape in {"weight": (3, 5), "bias": (3,)}.items()
        }
    )
    one = {
        f"vae_head.{leaf}": torch.cat([two[f"{head}_head.{leaf}"] for head in ("mu", "logvar")])
        for leaf in ("weight", "bias")
    }
    features = torch.linspace(-1, 1, 10).reshape(2, 5)
    stacked = torch_forward.posterior(one, features)
    for ours, theirs in zip(stacked, torch_forward.posterior(two, features), strict=True):
        assert ours.shape == (2, 3)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("decoder_type", names.DECODERS)
def test_every_decoder_ends_in_audio(decoder_type):
    weights = tensors(decoder_state_dict(decoder_type))
    z = torch.ones(1, golden_layout("decoder_state_dict_shapes")["latent_dim"])
    *_, (name, audio) = torch_forward.decoder(weights, decoder_type, z)
    assert name == "audio" and audio.shape == (1, 59_049) and bool((audio.abs() <= 1).all())
