"""The way back: the original's keys and shapes, and the same arrays when ported again."""

import dataclasses
import importlib
import pathlib

import jax
import numpy as np
import pytest

import golden_rules
from filled import decoder_state_dict, golden_layout, narrow_decoders
from qvae_jax.models import decoders, sound_encoder, stored, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from weight_port import names

pytest.importorskip("torch", reason="weight_port writes PyTorch files")
torch = importlib.import_module("torch")

HEADS = ("mu_head", "logvar_head")


def _equal(one, other) -> bool:
    return all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True)
    )


def test_the_original_s_layout_is_matched_key_for_key(ported_qvae, run_main, tmp_path):
    output = tmp_path / "back.pt"
    finished = run_main("--to_torch", ported_qvae.folder, output)
    assert finished.status == 0, finished.err
    state_dict = torch.load(output, weights_only=True)["state_dict"]
    layout = golden_layout("qvae_checkpoint_layout")["shapes"]
    assert {key: list(tensor.shape) for key, tensor in state_dict.items()} == layout
    for key in layout:
        if not key.startswith("loss_fn."):
            np.testing.assert_array_equal(
                state_dict[key].numpy(), golden_rules.filled(key, tuple(layout[key])), key
            )
    bank = golden_rules.load("mel_filterbanks")["htk_80_22050_1024"]
    ours = state_dict["loss_fn.mel_loss.mel_transforms.0.mel_scale.fb"].numpy()
    np.testing.assert_allclose(ours, bank, atol=2e-5)


def test_an_encoder_there_and_back_is_the_same_bit_for_bit(mn01_file, run_main, tmp_path):
    assert run_main(mn01_file, tmp_path / "model").status == 0
    assert run_main("--to_torch", tmp_path / "model", tmp_path / "back.pt").status == 0
    before, after = (torch.load(p, weights_only=True) for p in (mn01_file, tmp_path / "back.pt"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("width", [0.125, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("decoder_type", names.DECODERS)
def test_every_decoder_there_and_back_and_verified(
    decoder_type, width, mn01_arrays, save_lightning, run_main, tmp_path, monkeypatch
):
    """Ported, compared with torch layer by layer, written back, and ported again."""
    decoder_arrays = decoder_state_dict(decoder_type, width)
    narrow_decoders(monkeypatch, width)
    arrays = {f"encoder.backbone.{key}": array for key, array in mn01_arrays.items()}
    arrays |= {f"decoder.{key}": array for key, array in decoder_arrays.items()}
    for head in ("mu", "logvar"):
        for leaf, shape in (("weight", (16, 96)), ("bias", (16,))):
            key = f"encoder.{head}_head.{leaf}"
            arrays[key] = golden_rules.filled(key, shape)
    config = {"model": {"feature_space": "final"}, "decoder": {"type": decoder_type}}
    path = save_lightning(tmp_path / "qvae.ckpt", arrays, config)
    finished = run_main(path, tmp_path / "model", "--verify")
    assert finished.status == 0, finished.err
    assert "decoder.audio" in finished.out and "verified" in finished.out
    assert run_main("--to_torch", tmp_path / "model", tmp_path / "back.pt").status == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)["state_dict"]
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key].numpy(), array, key)
    assert run_main(tmp_path / "back.pt", tmp_path / "again").status == 0
    (one, first), (other, second) = (
        stored.load_qvae(tmp_path / name) for name in ("model", "again")
    )
    assert one == other
    assert _equal(first, second)


def test_a_model_that_computes_something_else_is_not_verified(
    mn01_file, run_main, tmp_path, monkeypatch
):
    forward = importlib.import_module("weight_port.torch_forward")
    linear = forward._linear
    monkeypatch.setattr(forward, "_linear", lambda *arguments: linear(*arguments) * (1 + 1e-4))
    finished = run_main(mn01_file, tmp_path / "model", "--verify")
    assert finished.status == 1
    assert (
        finished.err.count("\n") == 1 and "gives other results here than in torch" in finished.err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent", "out.pt"), "absent holds no config.json"),
        (("model", "model"), "already exists"),
        (("model", "out.pt", "--verify"), "--verify cannot be combined with --to_torch"),
    ],
)
def test_what_cannot_go_back_is_refused(
    mn01_file, run_main, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert run_main(mn01_file, "model").status == 0
    finished = run_main("--to_torch", *arguments)
    assert finished.status == 1
    assert finished.err.startswith("error: ") and finished.err.count("\n") == 1
    assert message in finished.err
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("decoder", ["other", "frame", "steered"])
def test_a_decoder_that_the_original_lacks_is_refused(run_main, tmp_path, monkeypatch, decoder):
    monkeypatch.setitem(decoders.DECODERS, "other", decoders.DECODERS["light_improved"])
    config = QVAEConfig(encoder_width=0.1, latent_dim=2, decoder_type=decoder, decoder_width=0.1)
    description = {"kind": "qvae", "model": dataclasses.asdict(config)}
    arrays = variables.split(QVAE(config, rng=None))[1]
    stored.save_model(tmp_path / "model", description, arrays)
    finished = run_main("--to_torch", tmp_path / "model", tmp_path / "out.pt")
    assert finished.status == 1 and finished.err.count("\n") == 1
    assert f"decoder of type {decoder!r}, which the original does not have" in finished.err
    assert "--mode=export takes it elsewhere" in finished.err and not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("voice_share", [1.0, 0.25])
def test_heads_of_standardised_features_are_folded(run_main, tmp_path, monkeypatch, voice_share):
    narrow_decoders(monkeypatch, 0.125)
    config = QVAEConfig(
        encoder_width=0.1, latent_dim=4, standardise_features=True, voice_share=voice_share
    )
    rng = np.random.default_rng(0)
    graphdef, arrays = variables.split(QVAE(config, rng=rng))
    # As a trained encoder's: means of many times the spread among them.
    spread = rng.uniform(0.002, 0.05, 96).astype(np.float32)
    mean = (spread * rng.uniform(-10, 10, 96)).astype(np.float32)
    kept = {"standardise.mean": mean, "standardise.spread": spread}
    biases = {f"{head}.bias": np.float32(rng.standard_normal(4)) for head in HEADS}
    arrays = arrays._replace(params=arrays.params | biases, batch_stats=arrays.batch_stats | kept)
    description = {"kind": "qvae", "model": dataclasses.asdict(config)}
    stored.save_model(tmp_path / "model", description, arrays)
    assert run_main("--to_torch", tmp_path / "model", tmp_path / "back.pt").status == 0
    assert run_main(tmp_path / "back.pt", tmp_path / "again").status == 0
    found, again = stored.load_qvae(tmp_path / "again")
    assert found == dataclasses.replace(config, standardise_features=False, voice_share=1.0)
    features = mean + spread * rng.standard_normal((50, 96))
    back = torch.load(tmp_path / "back.pt", weights_only=True)["state_dict"]
    with jax.enable_x64(True):
        double = jax.tree.map(lambda array: np.asarray(array, np.float64), arrays)
        ours = variables.merge(graphdef, double).posterior(features, voices=True)
    for head, expected in zip(HEADS, ours, strict=True):
        weight, bias = (
            back[f"encoder.{head}.{leaf}"].numpy().astype(np.float64) for leaf in ("weight", "bias")
        )
        theirs = features @ weight.T + bias
        # Half a rounding of each number of the kernel and of the bias.
        rounding = (np.abs(features - mean) @ np.abs(weight.T) + np.abs(bias)) * 2.0**-24
        assert (np.abs(theirs - np.asarray(expected)) <= 1.001 * rounding).all()
        np.testing.assert_array_equal(again.params[f"{head}.kernel"], weight.T)
        np.testing.assert_array_equal(again.params[f"{head}.bias"], bias)


def test_a_convolutional_head_goes_back_to_torch_bit_for_bit(convolutional_arrays):
    from weight_port import port, to_torch
    from weight_port.source import Source
    from weight_port.weight_sets import EFFICIENTAT

    path = pathlib.Path("odd.pt")
    source = Source(path, "0" * 64, EFFICIENTAT, convolutional_arrays, {}, {})
    # No published model is like it, so the file must say whose front end it has.
    ported = port.port(source, published_as="mn01_as")
    back = to_torch.encoder_state_dict(ported.variables, 0.1, "fully_convolutional")
    kept = {key: tensor.numpy() for key, tensor in back.items() if "tracked" not in key}
    assert kept.keys() == convolutional_arrays.keys()
    for key, array in kept.items():
        np.testing.assert_array_equal(array, convolutional_arrays[key])


def test_of_two_encoders_the_voices_goes_back_and_a_line_says_so(run_main, tmp_path):
    two = QVAEConfig(encoder_width=0.1, latent_dim=2, decoder_type="original", sound_encoder=True)
    weights = stored.initial_variables(two, seed=0)
    back = {}
    for name, (config, given) in {
        "one": sound_encoder.one_alone(two, weights),
        "two": (two, weights),
    }.items():
        description = {"kind": "qvae", "model": dataclasses.asdict(config)}
        stored.save_model(tmp_path / name, description, given)
        done = run_main("--to_torch", tmp_path / name, tmp_path / f"{name}.pt")
        assert done.status == 0
        assert ("has a second encoder, which hears sounds" in done.out) == (name == "two")
        back[name] = torch.load(tmp_path / f"{name}.pt", weights_only=True)["state_dict"]
    assert back["one"].keys() == back["two"].keys()
    assert all(torch.equal(back["one"][key], back["two"][key]) for key in back["one"])
