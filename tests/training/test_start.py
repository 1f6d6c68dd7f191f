"""The model a run starts from: which weights win, and which do not fit."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import small_run
from qvae_jax import configuration
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import variables
from qvae_jax.models.mobilenet import MobileNetV3
from qvae_jax.models.qvae import QVAE, QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError
from qvae_jax.training import checkpoints, start

WIDTH = 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training.dtype": "bfloat16"}, "training.dtype is bfloat16, but the devices are CPUs"),
        ({"parallel": "pmap"}, "parallel is pmap, which runs on one host, but there are 2"),
    ],
)
def test_settings_that_make_no_sense_on_these_devices(data_set, monkeypatch, change, message):
    start.check_devices(small_run.config(data_set))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=message):
        start.check_devices(small_run.config(data_set, **change))


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A ported encoder of width 0.1 with weights of its own."""
    encoder = variables.split(MobileNetV3(WIDTH, rng=np.random.default_rng(77)))[1]
    folder = tmp_path_factory.mktemp("ported") / "encoder"
    model = {"encoder_width": WIDTH, "front_end": dataclasses.asdict(FrontEnd())}
    checkpoints.save_model(folder, {"kind": "encoder", "model": model}, encoder)
    return folder


@pytest.fixture(scope="module")
def qvae_folder(data_set, tmp_path_factory):
    """A ported QVAE that fits small_run's config, with weights of its own."""
    model_config = configuration.model_config(small_run.config(data_set))
    whole = variables.split(QVAE(model_config, rng=np.random.default_rng(78)))[1]
    folder = tmp_path_factory.mktemp("ported") / "qvae"
    description = {"kind": "qvae", "model": dataclasses.asdict(model_config)}
    checkpoints.save_model(folder, description, whole)
    return folder


def initial(data_set, **changes) -> Variables:
    config = small_run.config(data_set, **changes)
    return start.initial_variables(config, configuration.model_config(config))


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name]) for name in expected
    )


def test_fresh_weights_depend_on_the_seed_alone(data_set):
    first, second = initial(data_set), initial(data_set)
    other = initial(data_set, **{"training.seed": 1})
    assert same(first.params, second.params) and same(first.batch_stats, second.batch_stats)
    kernels = [name for name in first.params if name.endswith("kernel")]
    assert kernels and not any(np.array_equal(first.params[n], other.params[n]) for n in kernels)


def test_an_encoder_checkpoint_replaces_the_encoder_alone(data_set, encoder_folder):
    fresh = initial(data_set)
    found = initial(data_set, **{"model.encoder_checkpoint": str(encoder_folder)})
    ported = start.load_encoder(str(encoder_folder))
    for arrays, wanted, other in zip(found, ported, fresh):
        for name, array in arrays.items():
            encoder_name = name.removeprefix("encoder.")
            from_checkpoint = name.startswith("encoder.") and encoder_name in wanted
            source = wanted[encoder_name] if from_checkpoint else other[name]
            np.testing.assert_array_equal(array, source)
    assert found.params.keys() == fresh.params.keys()


def test_a_whole_checkpoint_replaces_everything(data_set, qvae_folder):
    found = initial(data_set, **{"model.checkpoint": str(qvae_folder)})
    model_config, ported = start.load_qvae(qvae_folder)
    assert same(found.params, ported.params) and same(found.batch_stats, ported.batch_stats)
    assert model_config.encoder_width == WIDTH and model_config.latent_dim == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.latent_dim": 5}, "latent_dim is 5 in the config and 4 in the checkpoint"),
        ({"data.input_duration_s": 2.0}, "front_end is .* in the config"),
        ({"model.feature_space": "3"}, "feature_space is '3' in the config and 'final'"),
    ],
)
def test_a_whole_checkpoint_that_does_not_fit_is_refused(data_set, qvae_folder, change, message):
    with pytest.raises(UserError, match=message) as raised:
        initial(data_set, **{"model.checkpoint": str(qvae_folder)}, **change)
    assert str(qvae_folder) in str(raised.value)


def test_how_fresh_weights_are_drawn_says_nothing_about_a_checkpoint(data_set, qvae_folder):
    change = {"model.checkpoint": str(qvae_folder), "model.decoder.init": "fixed_std"}
    assert initial(data_set, **change).params.keys() == initial(data_set).params.keys()


def test_a_checkpoint_of_the_wrong_kind_is_refused(data_set, encoder_folder, qvae_folder):
    with pytest.raises(UserError, match="of kind 'qvae', but an encoder alone"):
        initial(data_set, **{"model.encoder_checkpoint": str(qvae_folder)})
    with pytest.raises(UserError, match="of kind 'encoder', but a whole QVAE"):
        initial(data_set, **{"model.checkpoint": str(encoder_folder)})
    with pytest.raises(UserError, match="holds no config.json"):
        initial(data_set, **{"model.checkpoint": str(encoder_folder.parent)})


# --- What a checkpoint says of its encoder


def resolved(data_set, run=None, **changes) -> float:
    config = small_run.config(data_set, **changes)
    with config.ignore_type():
        config.model.encoder_width = changes.get("model.encoder_width")
    start.resolve_encoder(config, run)
    return config.model.encoder_width


def test_the_width_is_the_settings_the_checkpoints_or_one(data_set, encoder_folder, qvae_folder):
    assert resolved(data_set) == 1.0
    assert resolved(data_set, **{"model.encoder_width": 0.4}) == 0.4
    assert resolved(data_set, **{"model.encoder_checkpoint": str(encoder_folder)}) == WIDTH
    assert resolved(data_set, **{"model.checkpoint": str(qvae_folder)}) == WIDTH


def test_the_width_of_a_run_that_goes_on_is_its_own(data_set, tmp_path):
    configuration.record(small_run.config(data_set), tmp_path)
    assert resolved(data_set, run=tmp_path) == WIDTH


def test_an_encoder_of_another_width_than_the_config_is_refused(data_set, encoder_folder):
    change = {"model.encoder_width": 0.4, "model.encoder_checkpoint": str(encoder_folder)}
    with pytest.raises(UserError, match="width is 0.4, but that of the encoder in .* is 0.1"):
        resolved(data_set, **change)


def test_what_no_tensor_tells_comes_from_the_description(data_set, tmp_path):
    told = QVAEConfig(
        encoder_width=WIDTH,
        encoder_head="fully_convolutional",
        encoder_strides=(2, 2, 1, 1),
        encoder_classes=7,
        front_end=FrontEnd(hop_length=480, num_mels=64),
    )
    encoder = variables.split(encoder_network(told, rng=np.random.default_rng(79)))[1]
    description = {"kind": "encoder", "model": dataclasses.asdict(told)}
    checkpoints.save_model(tmp_path / "encoder", description, encoder)
    config = small_run.config(
        data_set, **{"model.encoder_checkpoint": str(tmp_path / "encoder"), "model.latent_dim": 3}
    )
    start.resolve_encoder(config, None)
    found = configuration.model_config(config)
    assert found.encoder_strides == (2, 2, 1, 1) and found.encoder_classes == 7
    assert found.front_end == FrontEnd(
        duration_s=config.data.input_duration_s, hop_length=480, num_mels=64
    )
    loaded = start.initial_variables(config, found)
    ours = {f"encoder.{name}": array for name, array in encoder.params.items()}
    assert same({name: loaded.params[name] for name in ours}, ours)
    configuration.record(config, tmp_path)
    again = small_run.config(data_set)
    start.resolve_encoder(again, tmp_path)
    assert configuration.model_config(again).encoder_strides == (2, 2, 1, 1)


@pytest.mark.parametrize("model", [None, 3, {}, {"encoder_width": "wide"}])
def test_a_damaged_description_is_named(data_set, tmp_path, model):
    description = {"kind": "encoder", "model": model}
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="config.json is damaged"):
        resolved(data_set, **{"model.encoder_checkpoint": str(tmp_path)})


def test_a_description_of_another_version_is_refused(data_set, tmp_path):
    model = dataclasses.asdict(QVAEConfig(encoder_width=WIDTH)) | {"number_of_ears": 2}
    (tmp_path / "config.json").write_text(json.dumps({"kind": "qvae", "model": model}))
    with pytest.raises(UserError, match="number_of_ears"):
        start.load_qvae(tmp_path)
