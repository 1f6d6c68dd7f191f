"""The whole QVAE: golden runs from waveform to losses, feature spaces, sampling, bad configs."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import golden_rules
from filled import error, filled_qvae, golden_layout, reduced_stages
from qvae_jax import losses
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import mobilenet, qvae, variables
from qvae_jax.models.decoders import DECODERS
from qvae_jax.models.qvae import QVAE, QVAEConfig, sample_latent
from qvae_jax.system.errors import UserError

TOLERANCE = 1e-3
SPACES = ["final", *map(str, range(17))]


def _released_mn04_state_dict(shared_dir):
    """Filled heads and decoder around the released mn04."""
    pytest.importorskip("torch", reason="reads a PyTorch checkpoint")
    torch = importlib.import_module("torch")
    path = shared_dir / "torch_checkpoints" / "mn04_as_mAP_432.pt"
    if not path.is_file():
        pytest.skip(f"needs the released checkpoint {path}")
    shapes = golden_layout("qvae_checkpoint_layout")["shapes"]
    rest = {key: shape for key, shape in shapes.items() if ".backbone." not in key}
    rest |= {f"encoder.{head}_head.weight": [16, 384] for head in ("mu", "logvar")}
    backbone = torch.load(path, weights_only=True)
    return golden_rules.filled_state_dict(rest) | {
        f"encoder.backbone.{key}": tensor.numpy() for key, tensor in backbone.items()
    }


@pytest.fixture(scope="module", params=["qvae", "qvae_mn04_released"])
def golden_run(request):
    """(golden arrays, golden losses by case, ours: features, mu, logvar and audio)."""
    golden = golden_rules.load(f"{request.param}_end_to_end")
    if request.param == "qvae":
        graphdef, given = filled_qvae()
        golden_losses = golden_rules.load("qvae_end_to_end_losses")
    else:
        shared_dir = request.getfixturevalue("shared_dir")
        graphdef, given = filled_qvae(0.4, _released_mn04_state_dict(shared_dir))
        golden_losses = {
            key.removeprefix("losses_"): array
            for key, array in golden.items()
            if key.startswith("losses_")
        }

    @jax.jit
    def run(given, waveforms):
        model = variables.merge(graphdef, given)
        features = model.features(log_mel(waveforms))
        mu, logvar = model.posterior(features)
        return dict(features=features, mu=mu, logvar=logvar, audio=model.decode(mu))

    return golden, golden_losses, run(given, golden_rules.signals(2, 320_000, 32_000, 1))


def test_end_to_end_equals_golden(golden_run):
    golden, _, ours = golden_run
    for name in ("features", "mu", "logvar"):
        assert error(ours[name], golden[name]) < TOLERANCE, name
    assert ours["audio"].shape == (2, 59049)
    assert error(ours["audio"][:, ::4], golden["audio"]) < TOLERANCE


def test_features_have_unit_norm(golden_run):
    _, _, ours = golden_run
    np.testing.assert_allclose(np.linalg.norm(ours["features"], axis=1), 1.0, rtol=1e-5)


@pytest.fixture(scope="module")
def loss_terms():
    return jax.jit(lambda *arrays: losses.qvae_loss(*arrays, beta=0.0))


@pytest.mark.parametrize("case", ["example_0", "example_1", "batch_of_2"])
def test_end_to_end_losses_equal_golden(golden_run, loss_terms, case):
    _, golden_losses, ours = golden_run
    rows = {"example_0": slice(0, 1), "example_1": slice(1, 2), "batch_of_2": slice(0, 2)}[case]
    targets = golden_rules.signals(2, 59049, 22_050, 8)
    total, terms = loss_terms(
        ours["audio"][rows], targets[rows], ours["mu"][rows], ours["logvar"][rows]
    )
    ours_in_order = [total, *(terms[name] for name in (*losses.ORIGINAL, "kl"))]
    np.testing.assert_allclose(ours_in_order, golden_losses[case], rtol=TOLERANCE)


@pytest.mark.parametrize("width", [0.1, 0.4, 1.0, 3.0])
def test_feature_dim_is_the_size_of_the_map(width):
    front_ends = [FrontEnd(), FrontEnd(duration_s=3.3, num_mels=40)]
    structure = nnx.eval_shape(lambda: mobilenet.MobileNetV3(width, rng=None))
    graphdef, model = variables.split(structure)
    for front_end in front_ends:
        logmel = jax.ShapeDtypeStruct((1, front_end.num_mels, front_end.num_frames), jnp.float32)
        maps = jax.eval_shape(lambda v, x: variables.merge(graphdef, v).maps(x), model, logmel)
        sizes = {str(layer): int(np.prod(m.shape)) for layer, m in enumerate(maps)}
        sizes["final"] = maps[-1].shape[-1]
        for space in SPACES:
            config = QVAEConfig(encoder_width=width, feature_space=space, front_end=front_end)
            assert config.feature_dim() == sizes[space], space
            assert config.last_layer == (16 if space == "final" else int(space))


def _small_qvae(feature_space: str, rng):
    with reduced_stages():
        config = QVAEConfig(encoder_width=0.1, latent_dim=1, feature_space=feature_space)
        return QVAE(config, rng=rng)


def test_the_features_of_a_strided_layer_have_the_size_of_its_map():
    model = QVAEConfig(
        encoder_width=0.1,
        encoder_strides=(2, 2, 1, 1),
        feature_space="13",
        front_end=FrontEnd(hop_length=800, num_mels=40),
    )
    assert model.feature_dim() == 5 * 50 * 16


@pytest.mark.parametrize("layer", [0, 4, 13])
def test_features_of_a_layer_are_flattened_in_torch_order(layer):
    model = _small_qvae(str(layer), np.random.default_rng(0))
    logmel = np.random.default_rng(1).standard_normal((2, 64, 70)).astype(np.float32)
    graphdef, given = variables.split(model)

    @jax.jit
    def run(given, logmel):
        model = variables.merge(graphdef, given)
        return model.features(logmel), model.encoder.maps(logmel, last_layer=layer)[-1]

    features, ours = run(given, logmel)
    batch, mels, frames, channels = ours.shape
    assert mels != frames
    # torch's map is [batch, channels, mels, frames], and its flatten keeps that order.
    unflattened = np.asarray(features).reshape(batch, channels, mels, frames)
    norms = np.sqrt(np.sum(np.square(ours), (1, 2, 3)))
    for channel in (0, channels // 2, channels - 1):
        expected = ours[..., channel] / norms[:, None, None]
        np.testing.assert_allclose(unflattened[:, channel], expected, rtol=1e-4, atol=1e-7)


def test_features_of_a_silent_map_are_zero_and_not_nan():
    model = _small_qvae("0", None)
    features = model.features(np.zeros((1, 32, 32), np.float32))
    np.testing.assert_array_equal(features, np.zeros((1, 16 * 16 * 8)))


def test_temperature_zero_gives_the_mean_exactly():
    mu = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    for seed, logvar in ((0, 0.0), (1, -30.0), (2, 20.0)):
        z = sample_latent(mu, jnp.full((4, 8), logvar), jax.random.key(seed), 0.0)
        np.testing.assert_array_equal(z, mu)


def test_samples_have_the_posterior_mean_and_deviation():
    mu, logvar = jnp.full((20_000, 2), 3.0), jnp.full((20_000, 2), 2 * np.log(0.5))
    for temperature in (1.0, 0.5):
        z = sample_latent(mu, logvar, jax.random.key(0), temperature)
        np.testing.assert_allclose(np.mean(z, 0), 3.0, atol=0.02)
        np.testing.assert_allclose(np.std(z, 0), 0.5 * temperature, rtol=0.03)


def test_samples_depend_on_the_key_alone():
    mu = jnp.zeros((2, 3))
    first, again, other = (sample_latent(mu, mu, jax.random.key(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 0


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("model.feature_space", dict(feature_space="last")),
        ("model.feature_space", dict(feature_space="17")),
        ("model.feature_space", dict(feature_space="-1")),
        ("model.feature_space", dict(feature_space=3)),
        ("model.decoder.type", dict(decoder_type="originalplus")),
        ("model.decoder.init", dict(decoder_init="he")),
        ("model.latent_dim", dict(latent_dim=0)),
        ("model.latent_dim", dict(latent_dim=-4)),
        ("model.encoder_width", dict(encoder_width=0.0)),
        ("model.decoder.dropout", dict(decoder_dropout=1.0)),
        ("model.decoder.dropout", dict(decoder_dropout=-0.1)),
        ("model.decoder.width", dict(decoder_width=-1.0)),
        ("model.decoder.width", dict(decoder_width=float("nan"))),
        ("model.sample_rate_hz", dict(sample_rate_hz=44_100)),
    ],
)
def test_bad_values_are_refused_by_name(key, options):
    with pytest.raises(UserError, match=key.replace(".", r"\.")) as caught:
        QVAEConfig(**options)
    (value,) = options.values()
    assert repr(value) in str(caught.value)


def test_config_survives_its_own_dict():
    config = QVAEConfig(feature_space="13", latent_dim=3, front_end=FrontEnd(duration_s=4.0))
    assert QVAEConfig.from_dict(dataclasses.asdict(config)) == config
    whole = dataclasses.asdict(config)
    for broken in (whole | {"size": 3}, {k: v for k, v in whole.items() if k != "front_end"}):
        with pytest.raises(UserError, match="does not fit this version"):
            QVAEConfig.from_dict(broken)


def test_config_is_hashable_and_part_of_the_structure():
    config = QVAEConfig(encoder_width=0.1, latent_dim=2)
    graphdef, given = variables.split(qvae.QVAE(config, rng=None))
    assert variables.merge(graphdef, given).config == config
    assert hash(graphdef) == hash(variables.split(qvae.QVAE(config, rng=None))[0])


def test_features_are_standardised_before_both_heads_where_the_model_says_so():
    with reduced_stages():
        plain, standard = (
            variables.split(QVAE(QVAEConfig(encoder_width=0.1, latent_dim=2, **how), rng=rng))
            for how, rng in (
                ({}, np.random.default_rng(0)),
                ({"standardise_features": True}, np.random.default_rng(0)),
            )
        )
    (graphdef, given), (standard_graphdef, standard_given) = plain, standard
    statistics = {"standardise.mean", "standardise.spread"}
    assert standard_given.batch_stats.keys() - given.batch_stats.keys() == statistics
    assert standard_given.params.keys() == given.params.keys()
    random = np.random.default_rng(1)
    mean, spread = random.standard_normal(96), random.uniform(0.1, 3, 96)
    kept = {"standardise.mean": np.float32(mean), "standardise.spread": np.float32(spread)}
    features = random.standard_normal((5, 96)).astype(np.float32)
    with_them = standard_given._replace(batch_stats=standard_given.batch_stats | kept)
    found = variables.merge(standard_graphdef, with_them).posterior(features)
    by_hand = np.float32((features - mean) / spread)
    for ours, expected in zip(found, variables.merge(graphdef, given).posterior(by_hand)):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_share_of_a_voice_counts_where_the_model_says_so():
    config = QVAEConfig(
        encoder_width=0.1, latent_dim=2, standardise_features=True, voice_share=0.25
    )
    with reduced_stages():
        graphdef, given = variables.split(QVAE(config, rng=np.random.default_rng(0)))
    random = np.random.default_rng(1)
    mean, spread = random.standard_normal(96), random.uniform(0.1, 3, 96)
    kept = {"standardise.mean": np.float32(mean), "standardise.spread": np.float32(spread)}
    model = variables.merge(graphdef, given._replace(batch_stats=given.batch_stats | kept))
    features = random.standard_normal((4, 96)).astype(np.float32)
    drawn_in = np.float32(mean + 0.25 * (features - mean))
    voices = np.array([True, False, False, True])
    found = model.posterior(features, voices=voices)
    expected = model.posterior(np.where(voices[:, None], drawn_in, features))
    for ours, by_hand in zip(found, expected):
        np.testing.assert_allclose(ours, by_hand, rtol=1e-5, atol=1e-5)
    for ours, by_hand in zip(model.posterior(features, voices=True), model.posterior(drawn_in)):
        np.testing.assert_allclose(ours, by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"voice_share": 1.5, "standardise_features": True},
            "voice_share is 1.5: set it from 0 to 1",
        ),
        ({"voice_share": -0.1, "standardise_features": True}, "voice_share is -0.1"),
        ({"voice_share": 0.5}, "voice_share is 0.5, .*only model.standardise_features=True keeps"),
    ],
)
def test_a_share_of_a_voice_that_cannot_count_is_refused(how, message):
    with pytest.raises(UserError, match=message):
        QVAEConfig(**how)


def test_a_description_of_before_takes_all_of_a_voice():
    config = QVAEConfig(standardise_features=True, voice_share=0.25)
    described = dataclasses.asdict(config)
    assert QVAEConfig.from_dict(described) == config
    del described["voice_share"]
    assert QVAEConfig.from_dict(described).voice_share == 1


@pytest.mark.parametrize("decoder_type", DECODERS)
def test_a_decoder_makes_sound_at_its_own_rates(decoder_type):
    assert QVAEConfig(decoder_type=decoder_type).num_samples == 59_049
    if decoder_type in ("frame", "steered"):
        twice = QVAEConfig(decoder_type=decoder_type, sample_rate_hz=44_100)
        assert twice.num_samples == 118_098
        config = dataclasses.replace(twice, encoder_width=0.1, latent_dim=2, decoder_width=0.02)
        model = QVAE(config, rng=None)
        audio = jax.eval_shape(model.decode, np.zeros((3, 2), np.float32))
        assert audio.shape == (3, 118_098)
        rates, mend = "22050 or 44100 Hz", "set it so."
    else:
        with pytest.raises(UserError, match="at 22050 Hz: set it so, or .* to frame or steered"):
            QVAEConfig(decoder_type=decoder_type, sample_rate_hz=44_100)
        rates, mend = "22050 Hz", "set it so."
    with pytest.raises(UserError, match=f"is 48000, but .* at {rates}: {mend}"):
        QVAEConfig(decoder_type=decoder_type, sample_rate_hz=48_000)


def test_a_description_of_before_has_sounds_of_22050_hz():
    described = dataclasses.asdict(QVAEConfig(decoder_type="frame", sample_rate_hz=44_100))
    assert QVAEConfig.from_dict(described).sample_rate_hz == 44_100
    del described["sample_rate_hz"]
    assert QVAEConfig.from_dict(described).sample_rate_hz == 22_050


def test_a_description_of_before_standardises_nothing():
    described = dataclasses.asdict(QVAEConfig(standardise_features=True))
    assert QVAEConfig.from_dict(described).standardise_features
    del described["standardise_features"]
    assert not QVAEConfig.from_dict(described).standardise_features
    for value in (1, "yes", None):
        with pytest.raises(UserError, match="standardise_features is .* not of type bool"):
            QVAEConfig.from_dict(described | {"standardise_features": value})
