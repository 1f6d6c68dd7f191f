"""What is made of a checkpoint: every tensor used once, and the golden values of the original."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

import golden_rules
from filled import golden_layout
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import mobilenet, qvae, stored, variables
from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="reads and writes PyTorch checkpoints")

from weight_port import filling, port
from weight_port.source import Source, read_source
from weight_port.weight_sets import AISFX, EFFICIENTAT, QBV, QVAE, QVIM, SAMPLECNN

FIRST = "features.0.0.weight"
BACKBONE = "encoder.backbone."


def _source(kind: str, arrays: dict, config: dict | None = None) -> Source:
    hyper_parameters = {} if config is None else {"config": config}
    return Source(pathlib.Path("some.ckpt"), "0" * 64, kind, arrays, {}, hyper_parameters)


@pytest.fixture
def encoder_source(mn01_arrays) -> Source:
    return _source(EFFICIENTAT, dict(mn01_arrays))


@pytest.fixture
def qvim_source(mn01_arrays) -> Source:
    imitation = {f"imitation_encoder.{key}": array for key, array in mn01_arrays.items()}
    reference = {
        f"reference_encoder.{key}": array if key.endswith("running_var") else -array
        for key, array in mn01_arrays.items()
    }
    return _source(QVIM, {"tau": np.float32([0.07])} | imitation | reference)


@pytest.fixture
def tagger_source(tagger_arrays) -> Source:
    return _source(SAMPLECNN, dict(tagger_arrays))


@pytest.fixture
def aisfx_source(aisfx_arrays) -> Source:
    return _source(AISFX, dict(aisfx_arrays))


@pytest.fixture(scope="module")
def qvae_arrays(mn01_arrays) -> dict:
    """A QVAE's state dict with the smallest encoder, whose 96 features feed the heads."""
    shapes = golden_layout("qvae_checkpoint_layout")["shapes"]
    rest = {key: shape for key, shape in shapes.items() if not key.startswith(BACKBONE)}
    rest |= {f"encoder.{head}_head.weight": [16, 96] for head in ("mu", "logvar")}
    encoder = {BACKBONE + key: array for key, array in mn01_arrays.items()}
    return encoder | golden_rules.filled_state_dict(rest)


@pytest.fixture
def qvae_source(qvae_arrays) -> Source:
    config = {"model": {"feature_space": "final"}, "decoder": {"type": "original-plus"}}
    return _source(QVAE, dict(qvae_arrays), config)


def _our_arrays(ported: port.Port) -> dict:
    return ported.variables.params | ported.variables.batch_stats


# --- what is taken


def test_an_encoder_is_described_and_every_tensor_is_used_once(encoder_source, mn01_arrays):
    ported = port.port(encoder_source)
    assert ported.description == {
        "kind": "encoder",
        "model": {
            "encoder_width": 0.1,
            "encoder_head": "mlp",
            "encoder_strides": (2, 2, 2, 2),
            "encoder_classes": 527,
            "front_end": dataclasses.asdict(FrontEnd()),
        },
        "embedding_size": 96,
        "source": {"file": "some.ckpt", "sha256": "0" * 64, "format": EFFICIENTAT, "weights": "."},
    }
    used = [array for key, array in mn01_arrays.items() if not key.endswith("tracked")]
    ours = _our_arrays(ported).values()
    assert len(ours) == len(used)
    # Distinct arrays by rule: the same numbers on both sides mean that each was used once.
    assert sorted(float(np.sum(np.sort(a, axis=None))) for a in ours) == sorted(
        float(np.sum(np.sort(a, axis=None))) for a in used
    )


def test_a_qvae_is_described_so_that_its_configuration_can_be_read_back(qvae_source):
    ported = port.port(qvae_source)
    assert ported.description["kind"] == "qvae"
    assert ported.description["embedding_size"] == 96
    described = json.loads(json.dumps(ported.description["model"]))
    assert qvae.QVAEConfig.from_dict(described) == qvae.QVAEConfig(encoder_width=0.1, latent_dim=16)


@pytest.fixture(params=["QVIM", "ref", "rec"])
def pair_source(request, qvim_source) -> Source:
    """A checkpoint of two encoders, QVIM's or QBV's, whose second one has had two names."""
    if request.param == "QVIM":
        return qvim_source
    prefixes = {"imitation_encoder.": "im.", "reference_encoder.": f"{request.param}."}
    arrays = {
        prefix + key.removeprefix(old): array
        for old, prefix in prefixes.items()
        for key, array in qvim_source.arrays.items()
        if key.startswith(old)
    }
    return _source(QBV, arrays)


def test_both_encoders_of_a_pair_are_ported_or_the_one_that_is_chosen(pair_source):
    both = port.port_all(pair_source)
    assert list(both) == ["imitation", "reference"]
    imitation, reference = (port.port(pair_source, encoder=name) for name in both)
    for name, alone in {"imitation": imitation, "reference": reference}.items():
        assert both[name].description == alone.description
        [(folder, chosen)] = port.port_all(pair_source, encoder=name).items()
        assert (folder, chosen.description) == (".", alone.description)
    assert port.port(pair_source).description == imitation.description
    assert imitation.description["source"]["encoder"] == "imitation"
    assert reference.description["source"]["encoder"] == "reference"
    for name, array in imitation.variables.params.items():
        np.testing.assert_array_equal(reference.variables.params[name], -array)


def test_judges_are_described(tagger_source, aisfx_source):
    tagger, aisfx = port.port(tagger_source), port.port(aisfx_source)
    for ported, kind, model in ((tagger, "samplecnn", {"num_tags": 50}), (aisfx, "aisfx", {})):
        found = {name: ported.description[name] for name in ("kind", "model", "embedding_size")}
        assert found == {"kind": kind, "model": model, "embedding_size": 512}
    assert tagger.notes == ()
    assert aisfx.notes == ("left out: 2 classifiers, which no embedding goes through",)


def test_counters_the_temperature_and_the_losses_arrays_may_be_absent(
    encoder_source, qvim_source, qvae_source
):
    for source in (encoder_source, qvim_source, qvae_source):
        whole = _our_arrays(port.port(source))
        bare = {k: a for k, a in source.arrays.items() if not filling.QVIM_LEFTOVERS.search(k)}
        assert len(bare) < len(source.arrays)
        without = _our_arrays(port.port(dataclasses.replace(source, arrays=bare)))
        assert without.keys() == whole.keys()
        for name, array in whole.items():
            np.testing.assert_array_equal(without[name], array)


def test_the_features_that_the_heads_read_are_told_by_their_size(qvae_source):
    layer_13 = dict(qvae_source.arrays)
    size = qvae.QVAEConfig(encoder_width=0.1, feature_space="13").feature_dim()
    for head in ("mu", "logvar"):
        layer_13[f"encoder.{head}_head.weight"] = np.zeros((16, size), np.float32)
    for stated in ("13", 13):
        config = {"model": {"feature_space": stated}, "decoder": {"type": "original-plus"}}
        ported = port.port(_source(QVAE, layer_13, config))
        assert ported.description["model"]["feature_space"] == "13"


# --- what is refused


@pytest.mark.parametrize(
    ("fixture", "key"),
    [
        ("encoder_source", FIRST),
        ("encoder_source", "features.16.0.weight"),
        ("encoder_source", "features.7.block.1.1.running_var"),
        ("encoder_source", "features.4.block.1.conc_se_layers.0.fc1.bias"),
        ("encoder_source", "classifier.5.weight"),
        ("qvim_source", f"imitation_encoder.{FIRST}"),
        ("qvim_source", "reference_encoder.classifier.2.bias"),
        ("tagger_source", "fc.weight"),
        ("tagger_source", "conv11.1.running_var"),
        ("aisfx_source", "embedding_net.conv_block2.bn2.bias"),
        ("qvae_source", "encoder.mu_head.weight"),
        ("qvae_source", "encoder.logvar_head.bias"),
        ("qvae_source", "decoder.conv11.weight"),
        ("qvae_source", "decoder.final_bn2.running_mean"),
    ],
)
def test_a_missing_key_is_named(request, fixture, key):
    source = request.getfixturevalue(fixture)
    del source.arrays[key]
    with pytest.raises(UserError, match=rf"some\.ckpt does not fit .*missing {key}"):
        port.port(source)


@pytest.mark.parametrize(
    ("fixture", "key"),
    [
        ("encoder_source", "features.17.0.weight"),
        ("encoder_source", "tau"),
        ("encoder_source", "classifier.2.weight_norm"),
        ("qvim_source", "imitation_encoder.extra.weight"),
        ("qvim_source", "reference_encoder.extra.weight"),
        ("qvim_source", "tau_2"),
        ("tagger_source", "conv3.1.extra"),
        ("aisfx_source", "fc.0.0.extra"),
        ("aisfx_source", "embedding_net.conv_block5.conv1.weight"),
        ("qvae_source", "encoder.vae_head.weight"),
        ("qvae_source", "decoder.final_conv4.weight"),
        ("qvae_source", "discriminator.conv.weight"),
    ],
)
def test_an_unknown_key_is_named_and_never_ignored(request, fixture, key):
    source = request.getfixturevalue(fixture)
    source.arrays[key] = np.zeros((2, 2), np.float32)
    with pytest.raises(UserError, match=rf"some\.ckpt does not fit .*unknown {key}"):
        port.port(source)


def test_a_renamed_key_is_both_missing_and_unknown(encoder_source):
    encoder_source.arrays["features.0.0.kernel"] = encoder_source.arrays.pop(FIRST)
    with pytest.raises(UserError, match=f"missing {FIRST}; unknown features.0.0.kernel"):
        port.port(encoder_source)


def test_of_many_keys_three_are_named_and_the_others_counted(encoder_source):
    for key in [key for key in encoder_source.arrays if key.startswith("classifier")]:
        del encoder_source.arrays[key]
    with pytest.raises(UserError, match="missing classifier.* and 1 more"):
        port.port(encoder_source)


@pytest.mark.parametrize(
    ("fixture", "key", "change"),
    [
        ("encoder_source", "classifier.5.weight", np.transpose),
        ("encoder_source", "classifier.5.bias", lambda a: a[:-1]),
        ("encoder_source", "features.3.block.1.0.weight", np.transpose),
        ("encoder_source", "features.9.block.0.0.weight", lambda a: a[..., 0, 0]),
        ("encoder_source", "features.9.block.0.1.running_mean", lambda a: a[None]),
        ("encoder_source", "features.9.block.0.1.weight", lambda a: a.sum()),
        ("encoder_source", "features.16.0.weight", np.transpose),
        ("encoder_source", "features.16.0.weight", np.ravel),
        ("encoder_source", "features.16.0.weight", lambda a: a[:0]),
        ("qvim_source", "imitation_encoder.classifier.2.weight", np.transpose),
        ("qvim_source", "reference_encoder.features.16.0.weight", lambda a: a[:-1]),
        ("tagger_source", "conv1.0.weight", np.transpose),
        ("tagger_source", "fc.weight", np.ravel),
        ("aisfx_source", "embedding_net.conv_block1.conv1.weight", lambda a: a[..., 0]),
        ("qvae_source", "encoder.mu_head.weight", np.transpose),
        ("qvae_source", "encoder.mu_head.weight", lambda a: a[:0]),
        ("qvae_source", "encoder.logvar_head.weight", np.transpose),
        ("qvae_source", "decoder.conv11.weight", lambda a: a.transpose(1, 0, 2)),
        ("qvae_source", "decoder.final_conv1.weight", lambda a: a.transpose(0, 2, 1)),
    ],
)
def test_a_tensor_of_another_shape_is_named(request, fixture, key, change):
    source = request.getfixturevalue(fixture)
    source.arrays[key] = np.asarray(change(source.arrays[key]))
    with pytest.raises(UserError, match=rf"some\.ckpt .*{key}"):
        port.port(source)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_refused_by_its_key(encoder_source, number):
    broken = encoder_source.arrays["classifier.2.bias"].copy()
    broken[3] = number
    encoder_source.arrays["classifier.2.bias"] = broken
    with pytest.raises(UserError, match="NaN, infinite or too large .*classifier.2.bias"):
        port.port(encoder_source)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.complex64])
def test_numbers_that_no_weight_has_are_refused_by_their_key(encoder_source, dtype):
    key = "classifier.2.bias"
    encoder_source.arrays[key] = encoder_source.arrays[key].astype(dtype)
    with pytest.raises(UserError, match=f"holds {np.dtype(dtype).name} numbers.*{key}"):
        port.port(encoder_source)


@pytest.mark.parametrize("stated", ["wavenet", "", 3, ["original-plus"]])
def test_a_decoder_stated_as_none_of_ours_is_refused(qvae_arrays, stated):
    config = {"model": {"feature_space": "final"}, "decoder": {"type": stated}}
    with pytest.raises(UserError, match="decoder of type .*original-plus"):
        port.port(_source(QVAE, qvae_arrays, config))


@pytest.mark.parametrize("stated", ["original-res", "original-plus"])
def test_the_stated_decoder_is_taken_where_keys_fit_two(qvae_arrays, stated):
    ported = port.port(_source(QVAE, qvae_arrays, {"decoder": {"type": stated}}))
    assert ported.description["model"]["decoder_type"] == stated
    assert ported.notes == ()


def test_a_stated_decoder_whose_keys_are_others_is_refused(qvae_arrays):
    with pytest.raises(UserError, match=r"missing decoder\.input_proj.*unknown decoder\.conv11"):
        port.port(_source(QVAE, qvae_arrays, {"decoder": {"type": "improved"}}))


@pytest.mark.parametrize("config", [None, {}, {"decoder": None}, {"decoder": "original-plus"}])
def test_an_unstated_decoder_is_never_guessed_in_silence(qvae_arrays, config):
    ported = port.port(_source(QVAE, qvae_arrays, config))
    assert ported.description["model"]["decoder_type"] == "original-plus"
    assert "original-plus and original-res" in ported.notes[0]
    chosen = port.port(_source(QVAE, qvae_arrays, config), decoder="original-res")
    assert chosen.description["model"]["decoder_type"] == "original-res"
    assert chosen.notes == ()


def test_choosing_a_decoder_against_the_stated_one_is_refused(qvae_source):
    with pytest.raises(UserError, match="'original-plus'.*original-res was expected"):
        port.port(qvae_source, decoder="original-res")


def test_choosing_a_decoder_where_there_is_none_is_refused(encoder_source):
    with pytest.raises(UserError, match="leave --decoder out"):
        port.port(encoder_source, decoder="original-plus")


def test_the_older_single_head_is_cut_in_two(qvae_arrays, qvae_source):
    arrays = dict(qvae_arrays)
    for leaf in ("weight", "bias"):
        halves = [arrays.pop(f"encoder.{head}_head.{leaf}") for head in ("mu", "logvar")]
        arrays[f"encoder.vae_head.{leaf}"] = np.concatenate(halves)
    older = port.port(dataclasses.replace(qvae_source, arrays=arrays)).variables
    newer = port.port(qvae_source).variables
    for name, array in newer.params.items():
        np.testing.assert_array_equal(older.params[name], array)


def test_a_single_head_of_odd_length_is_refused(qvae_arrays, qvae_source):
    arrays = {k: a for k, a in qvae_arrays.items() if "mu_head" not in k and "logvar" not in k}
    arrays["encoder.vae_head.weight"] = np.zeros((33, 96), np.float32)
    arrays["encoder.vae_head.bias"] = np.zeros(33, np.float32)
    with pytest.raises(UserError, match="vae_head.weight has shape .*cannot be halved"):
        port.port(dataclasses.replace(qvae_source, arrays=arrays))


def test_features_stated_other_than_the_heads_read_are_refused(qvae_arrays):
    config = {"model": {"feature_space": "13"}, "decoder": {"type": "original-plus"}}
    with pytest.raises(
        UserError, match="96 inputs in encoder.mu_head.weight, which fits .*final, and says 13"
    ):
        port.port(_source(QVAE, qvae_arrays, config))


def test_features_that_two_layers_could_give_are_refused_unless_stated(qvae_source):
    size = qvae.QVAEConfig(encoder_width=0.1, feature_space="14").feature_dim()
    for head in ("mu", "logvar"):
        qvae_source.arrays[f"encoder.{head}_head.weight"] = np.zeros((16, size), np.float32)
    config = {"decoder": {"type": "original-plus"}}
    with pytest.raises(
        UserError, match="13 or 14 or 15, and does not say which: give --feature_space"
    ):
        port.port(dataclasses.replace(qvae_source, hyper_parameters={"config": config}))


def test_a_width_that_was_never_published_is_refused(encoder_source):
    encoder_source.arrays["features.16.0.weight"] = np.zeros((100, 16, 1, 1), np.float32)
    with pytest.raises(UserError, match="100 channels in features.16.0.weight"):
        port.port(encoder_source)


def test_choosing_an_encoder_where_there_is_one_is_refused(encoder_source, qvae_source):
    for source in (encoder_source, qvae_source):
        with pytest.raises(UserError, match="leave --encoder out"):
            port.port(source, encoder="reference")


# --- golden values


@pytest.fixture(scope="module")
def logmel() -> jax.Array:
    """The golden runs' two examples, [2, 128, 1000]."""
    return jax.jit(log_mel)(golden_rules.signals(2, 320_000, 32_000, 1))


def _end_to_end(folder, logmel) -> dict[str, np.ndarray]:
    """A ported QVAE's features, mu, logvar, and every 4th sample of the audio of z = mu."""
    config, loaded = stored.load_qvae(folder)
    graphdef, _ = variables.split(qvae.QVAE(config, rng=None))

    @jax.jit
    def run(arrays, logmel):
        model = variables.merge(graphdef, arrays)
        features = model.features(logmel)
        mu, logvar = model.posterior(features)
        return {
            "features": features,
            "mu": mu,
            "logvar": logvar,
            "audio": model.decode(mu)[:, ::4],
        }

    with jax.default_matmul_precision("highest"):
        return {name: np.asarray(value) for name, value in run(loaded, logmel).items()}


def _assert_close(found: dict, golden: dict, bounds: dict[str, float]) -> None:
    for name, bound in bounds.items():
        np.testing.assert_allclose(found[name], golden[name], rtol=0, atol=bound, err_msg=name)


# Measured on a CPU, the larger of both cases: 5e-7, 5e-6, 5e-6, 6e-8.
BOUNDS = {"features": 1e-5, "mu": 1e-4, "logvar": 1e-4, "audio": 1e-4}


def test_a_ported_qvae_sounds_like_the_original(ported_qvae, logmel):
    assert ported_qvae.finished.status == 0, ported_qvae.finished.err
    golden = golden_rules.load("qvae_end_to_end")
    _assert_close(_end_to_end(ported_qvae.folder, logmel), golden, BOUNDS)


def test_the_released_mn04_within_a_qvae_sounds_like_the_original(
    tmp_path, shared_dir, save_lightning, run_main, logmel
):
    released = shared_dir / "torch_checkpoints" / "mn04_as_mAP_432.pt"
    if not released.is_file():
        pytest.skip(f"needs {released}")
    encoder = read_source(released).arrays
    layout = golden_layout("qvae_checkpoint_layout")
    rest = {k: shape for k, shape in layout["shapes"].items() if not k.startswith(BACKBONE)}
    rest |= {f"encoder.{head}_head.weight": [16, 384] for head in ("mu", "logvar")}
    arrays = {BACKBONE + key: array for key, array in encoder.items()}
    path = save_lightning(
        tmp_path / "a.ckpt", arrays | golden_rules.filled_state_dict(rest), layout["config"]
    )
    assert run_main(path, tmp_path / "model").status == 0
    golden = golden_rules.load("qvae_mn04_released_end_to_end")
    _assert_close(_end_to_end(tmp_path / "model", logmel), golden, BOUNDS)


@pytest.fixture(scope="module")
def qvim_file(tmp_path_factory, save_lightning) -> pathlib.Path:
    arrays = golden_rules.filled_state_dict(golden_layout("qvim_mn04_checkpoint_layout"))
    return save_lightning(tmp_path_factory.mktemp("qvim") / "qvim.ckpt", arrays, {"lr": 3e-4})


@pytest.fixture(scope="module")
def normalised_features():
    """features(arrays, logmel): pooled features of an mn04 encoder, of unit length."""
    graphdef, _ = variables.split(mobilenet.MobileNetV3(0.4, rng=None))

    @jax.jit
    def features(arrays, logmel):
        pooled = variables.merge(graphdef, arrays).pooled(logmel)
        return pooled / jax.numpy.linalg.norm(pooled, axis=-1, keepdims=True)

    return features


@pytest.mark.parametrize("encoder", ["imitation", "reference"])
def test_both_encoders_of_a_qvim_checkpoint_hear_what_the_original_hears(
    tmp_path, qvim_file, run_main, logmel, normalised_features, encoder
):
    finished = run_main(qvim_file, tmp_path / "model", f"--encoder={encoder}")
    assert finished.status == 0, finished.err
    found = normalised_features(stored.load_encoder(tmp_path / "model"), logmel)
    golden = golden_rules.load("qvim_mn04_filled")
    np.testing.assert_allclose(found, golden[encoder], rtol=0, atol=1e-5)
    other = "reference" if encoder == "imitation" else "imitation"
    assert np.abs(found - golden[other]).max() > 1e-2


def test_porting_takes_seconds_and_little_memory(ported_qvae):
    assert ported_qvae.cpu_s < 15
    assert ported_qvae.peak_bytes < 1e9
