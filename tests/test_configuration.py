"""The config: what is refused, what a run may change, and how it is kept."""

import json
import math

import ml_collections
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import vimsketch
from qvae_jax import configuration, losses
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.losses import LossWeights
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.system.errors import UserError

LIMITS = [
    (name, bound, direction)
    for name, bounds in configuration.RANGES.items()
    for bound, direction in zip(bounds, (-1, 1))
    if math.isfinite(bound)
]


def changed(**changes: object) -> ml_collections.ConfigDict:
    """The original's config with changes by dotted name, their types free."""
    config = vimsketch.get_config()
    with config.ignore_type(), config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


def recorded(tmp_path, **changes: object):
    configuration.record(changed(**{"model.encoder_width": 1.0, **changes}), tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "bound", "direction"), LIMITS)
def test_limits_are_allowed_and_what_lies_beyond_is_not(name, bound, direction):
    configuration.check(changed(**{name: bound}))
    with pytest.raises(UserError, match=f"^{name} is .*: set it to a value"):
        configuration.check(changed(**{name: bound + direction}))


@pytest.mark.parametrize("name", configuration.RANGES)
def test_nan_is_never_a_setting(name):
    with pytest.raises(UserError, match=f"^{name} is nan"):
        configuration.check(changed(**{name: math.nan}))


@pytest.mark.parametrize("name", configuration.CHOICES)
def test_an_unknown_choice_is_told_the_known_ones(name):
    with pytest.raises(UserError, match=f"^{name} is 'other'") as raised:
        configuration.check(changed(**{name: "other"}))
    for choice in configuration.CHOICES[name]:
        configuration.check(changed(**{name: choice, "data.folds_dir": "folds"}))
        assert choice in str(raised.value)


def test_two_models_to_start_from_are_one_too_many():
    with pytest.raises(UserError, match="model.checkpoint and model.encoder_checkpoint"):
        configuration.check(changed(**{"model.checkpoint": "a", "model.encoder_checkpoint": "b"}))


def test_features_that_move_are_not_standardised():
    check = lambda **encoder: configuration.check(
        changed(**{"model.standardise_features": True, **encoder})
    )
    check(**{"training.encoder": "frozen"})
    ported = {"model.encoder_checkpoint": "weights/mn10_as"}
    check(**{"training.encoder": "fine_tuned"}, **ported)
    refused = "model.standardise_features is True and training.encoder 'from_scratch'"
    with pytest.raises(UserError, match=refused):
        check(**{"training.encoder": "from_scratch"}, **ported)
    with pytest.raises(UserError, match="'fine_tuned' without model.encoder_checkpoint"):
        check(**{"training.encoder": "fine_tuned"})


def test_a_model_that_learns_from_voices_takes_them_as_they_are():
    alone = {"data.dataset_dir": "", "data.sounds_dir": "sounds"}
    share = {"model.voice_share": 0.25}
    configuration.check(changed(**share, **alone))
    for with_pairs in ({}, {"data.sounds_dir": "sounds"}, alone | {"data.synthesize": True}):
        with pytest.raises(UserError, match="model.voice_share is 0.25, but the heads learn from"):
            configuration.check(changed(**share, **with_pairs))


def test_folds_need_their_folder():
    with pytest.raises(UserError, match="data.split is 'folds', but data.folds_dir is empty"):
        configuration.check(changed(**{"data.split": "folds"}))


def test_settings_that_are_missing_or_unknown_are_named():
    config = vimsketch.get_config()
    del config.beta.fixed
    config.trainning = ml_collections.ConfigDict({"batch_size": 3})
    with pytest.raises(UserError, match="mine.py") as raised:
        configuration.check_settings(config, vimsketch.get_config(), where="mine.py")
    assert "beta.fixed is missing" in str(raised.value)
    assert "trainning.batch_size is not a setting" in str(raised.value)


def test_a_model_configuration_takes_all_that_concerns_it():
    config = changed(
        **{
            "model.encoder_width": 0.4,
            "model.encoder_strides": (2, 2, 2, 1),
            "model.hop_length": 160,
            "model.feature_space": "7",
            "model.standardise_features": True,
            "model.voice_share": 0.5,
            "model.latent_dim": 5,
            "model.decoder.width": 0.5,
            "model.decoder.init": "fixed_std",
            "model.decoder.type": "frame",
            "model.sample_rate_hz": 44_100,
            "model.sound_encoder": True,
            "data.input_duration_s": 3.0,
        }
    )
    found = configuration.model_config(config)
    assert (found.encoder_width, found.feature_space, found.latent_dim) == (0.4, "7", 5)
    assert (found.decoder_width, found.decoder_init) == (0.5, "fixed_std")
    assert found.standardise_features and found.sound_encoder and found.voice_share == 0.5
    assert (found.decoder_type, found.sample_rate_hz) == ("frame", 44_100)
    assert found.encoder_strides == (2, 2, 2, 1) and found.encoder_head == "mlp"
    assert found.front_end == FrontEnd(duration_s=3.0, hop_length=160)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.feature_space", "17"),
        ("model.latent_dim", 0),
        ("model.encoder_head", "other"),
        ("model.encoder_strides", (2, 2)),
        ("model.encoder_strides", (2, 2, 2, 3)),
        ("model.encoder_classes", 0),
        ("model.hop_length", 0),
        ("model.num_mels", -1),
        ("model.decoder.type", "other"),
        ("model.decoder.init", "other"),
        ("model.decoder.width", 0.0),
        ("model.sample_rate_hz", 44_100),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(UserError, match=name):
        configuration.model_config(changed(**{name: value}))


def test_loss_weights_are_the_configs():
    config = changed(**{"loss.mel": 2.5, "loss.mask_silence": True})
    assert configuration.loss_weights(config) == LossWeights(mel=2.5, mask_silence=True)


@pytest.mark.parametrize("name", losses.WEIGHTED)
def test_every_term_has_its_weight_in_the_config_and_nothing_else_has(name):
    default = next(term.weight for term in losses.TABLE if term.name == name)
    config = vimsketch.get_config()
    assert config.loss[name] == default
    del config.loss[name]
    with pytest.raises(UserError, match=name):
        configuration.check(config)
    config = changed(**{"loss.timbre": 1.0})
    with pytest.raises(UserError, match="^loss.timbre weights no term: config.loss holds spectral"):
        configuration.check(config)


def test_a_run_reads_its_config_back(tmp_path):
    workdir = recorded(tmp_path, **{"data.dataset_dir": "é, b", "training.batch_size": 7})
    found = configuration.read_run(workdir)
    assert (found.data.dataset_dir, found.training.batch_size) == ("é, b", 7)
    assert tuple(found.fine_tuning.layers) == (11, 12, 13, 14, 15, 16)
    configuration.check(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run's folder"),
        ("", "not readable JSON"),
        ("[1]", "not the configuration of a training run"),
        ('{"kind": "qvae", "model": {}}', "not the configuration of a training run"),
        ('{"data": 3, "model": {}, "training": {}}', "not the configuration of a training run"),
    ],
)
def test_what_is_no_runs_config_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        configuration.read_run(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_the_same_config_goes_on_without_a_word(tmp_path, capsys):
    workdir = recorded(tmp_path)
    configuration.check_run(changed(**{"model.encoder_width": 1.0}), workdir)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "was", "value"),
    [("optimizer.learning_rate", 0.0008, 1e-5), ("model.voice_share", 1.0, 0.25)],
)
def test_what_a_run_may_change_is_told(tmp_path, capsys, name, was, value):
    workdir = recorded(tmp_path)
    config = changed(**{"model.encoder_width": 1.0, name: value})
    configuration.check_run(config, workdir)
    assert capsys.readouterr().out == f"{name} was {was} and is {value} from here on.\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.latent_dim", 32),
        ("model.decoder.width", 0.5),
        ("model.encoder_width", 0.4),
        ("data.input_duration_s", 5.0),
        ("data.split", "all"),
        ("data.fold", 1),
        ("data.split_seed", 1),
        ("data.train_sound_ratio", 0.5),
        ("data.train_imitation_ratio", 0.5),
        ("overfit.num_pairs", 3),
        ("training.encoder", "frozen"),
        ("fine_tuning.layers", (16,)),
    ],
)
def test_what_a_run_may_not_change_is_refused(tmp_path, name, value):
    workdir = recorded(tmp_path)
    with pytest.raises(UserError, match=f"{name} is .* but was .*recorded values") as raised:
        configuration.check_run(changed(**{"model.encoder_width": 1.0, name: value}), workdir)
    assert str(workdir) in str(raised.value)


def test_a_setting_of_another_version_does_no_harm(tmp_path, capsys):
    path = recorded(tmp_path) / "config.json"
    settings_on_disk = json.loads(path.read_text())
    del settings_on_disk["logging"]["num_samples"]
    settings_on_disk["logging"]["colour"] = "red"
    path.write_text(json.dumps(settings_on_disk))
    configuration.check_run(changed(**{"model.encoder_width": 1.0}), tmp_path)
    told = capsys.readouterr().out
    assert "logging.colour was 'red'" in told and "logging.num_samples was None and is 3" in told


def test_a_setting_that_came_later_is_read_as_before():
    recorded, as_before = {"a": {"b": 1}}, {"a.b": 2, "a.c": (3, 4), "d.e.f": "x", "g": None}
    found = configuration.with_settings_as_before(recorded, as_before)
    assert found == {"a": {"b": 1, "c": (3, 4)}, "d": {"e": {"f": "x"}}, "g": None}
    assert recorded == {"a": {"b": 1}}


def test_the_config_of_a_run_of_long_ago_goes_on_without_a_word(tmp_path, capsys):
    path = recorded(tmp_path, **{"diagnostics.every_epochs": 0}) / "config.json"
    settings_on_disk = json.loads(path.read_text())
    for name in configuration.AS_BEFORE:
        *parts, last = name.split(".")
        place = settings_on_disk
        for part in parts:
            place = place.get(part, {})
        place.pop(last, None)
    settings_on_disk.pop("ema"), settings_on_disk.pop("diagnostics")
    path.write_text(json.dumps(settings_on_disk))
    config = changed(**{"diagnostics.every_epochs": 0})
    configuration.resolve_encoder(config, tmp_path)
    assert configuration.check_run(config, tmp_path) == {}
    assert capsys.readouterr().out == ""
    assert configuration.model_config(configuration.read_run(tmp_path)) == QVAEConfig()


def test_every_setting_as_before_is_one_that_there_is():
    template = vimsketch.get_config()
    for name in configuration.AS_BEFORE:
        configuration.value(template, name)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.lists(st.integers(), max_size=4).map(tuple),
)
def test_any_values_come_back_from_disk(tmp_path_factory, number, text, layers):
    workdir = tmp_path_factory.mktemp("run")
    changes = {"beta.target": number, "data.cache_dir": text, "fine_tuning.layers": layers}
    recorded(workdir, **changes)
    found = configuration.read_run(workdir)
    assert (found.beta.target, found.data.cache_dir) == (number, text)
    assert tuple(found.fine_tuning.layers) == layers


# --- What learns


def trained(mode, fine_tuned, last_layer):
    config = vimsketch.get_config()
    config.training.encoder = mode
    with config.ignore_type():
        config.fine_tuning.layers = fine_tuned
    feature_space = "final" if last_layer == 16 else str(last_layer)
    return configuration.trained_layers(config, QVAEConfig(feature_space=feature_space))


@pytest.mark.parametrize(
    ("mode", "fine_tuned", "last_layer", "expected"),
    [
        ("frozen", (), 16, set()),
        ("frozen", (11, 99), 16, set()),
        ("fine_tuned", (11, 12, 16), 16, {11, 12, 16}),
        ("fine_tuned", (0,), 0, {0}),
        ("from_scratch", (), 16, set(range(17))),
        ("from_scratch", (3,), 4, {0, 1, 2, 3, 4}),
    ],
)
def test_trained_layers(mode, fine_tuned, last_layer, expected):
    assert trained(mode, fine_tuned, last_layer) == expected


@pytest.mark.parametrize(
    ("mode", "fine_tuned", "last_layer", "named"),
    [
        ("fine_tuned", (), 16, r"fine_tuning.layers is \(\): list layers from 0 to 16"),
        ("fine_tuned", (16, 17), 16, r"fine_tuning.layers is \(16, 17\)"),
        ("fine_tuned", (-1,), 16, r"fine_tuning.layers is \(-1,\)"),
        ("fine_tuned", (4, 5), 4, "from 0 to 4 .later ones feed no feature"),
    ],
)
def test_layers_that_cannot_be_trained_are_refused(mode, fine_tuned, last_layer, named):
    with pytest.raises(UserError, match=named):
        trained(mode, fine_tuned, last_layer)


# --- Paths


def test_every_setting_that_is_a_path_is_listed_as_one():
    named = configuration._names(vimsketch.get_config().to_dict())
    ends = ("_dir", "checkpoint", "_path", "_folder")
    assert {name for name in named if name.endswith(ends)} == set(configuration.PATHS)


@pytest.mark.parametrize("name", configuration.PATHS)
def test_a_home_folder_in_a_setting_is_meant_by_its_sign(monkeypatch, name):
    monkeypatch.setenv("HOME", "/homes/me")
    config = changed(**{name: "~/x"})
    config.lock()
    configuration.expand_paths(config)
    assert configuration.value(config, name) == "/homes/me/x"
    with pytest.raises(UserError, match=f"^{name}: 's3://b/x' is an address"):
        configuration.expand_paths(changed(**{name: "s3://b/x"}))
    with pytest.raises(UserError, match=f"^{name} is 3: set it to a path, in quotes"):
        configuration.expand_paths(changed(**{name: 3}))


# --- Encoders for search

CONTRASTIVE = {"training.objective": "contrastive"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.encoder": "frozen"}, "training.encoder is 'frozen' .* no encoder would learn"),
        ({"data.sounds_dir": "sounds"}, "data.sounds_dir is 'sounds' .* has no pair"),
        ({"data.cache_trunk": True}, "data.cache_trunk"),
        ({"model.checkpoint": "qvae"}, "model.checkpoint"),
        ({"model.feature_space": "4"}, "model.feature_space"),
        ({"model.sound_encoder": True}, "model.sound_encoder is True .*shared_encoder says"),
        ({"augment.noise_snr_db": (30.0, 10.0)}, "augment.noise_snr_db"),
        ({"augment.noise_snr_db": (30.0,)}, "augment.noise_snr_db"),
        ({"contrast.temperature": 0.0}, "contrast.temperature is 0.0"),
        ({"contrast.same_sound": "kept"}, "contrast.same_sound is 'kept'"),
    ],
)
def test_what_encoders_for_search_cannot_be_trained_with_is_named(changes, message):
    with pytest.raises(UserError, match=message) as raised:
        configuration.check(changed(**CONTRASTIVE | changes))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("wanted", ["qvae", "contrastive"])
def test_each_objective_has_its_mode(wanted):
    other = {"qvae": "contrastive", "contrastive": "qvae"}[wanted]
    configuration.check_objective(changed(**{"training.objective": wanted}), wanted)
    with pytest.raises(UserError, match="which --mode=.*train trains"):
        configuration.check_objective(changed(**{"training.objective": other}), wanted)
