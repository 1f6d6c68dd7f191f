"""Models on disk: whole or not there, compared with what is expected; which weights a run starts from."""

import dataclasses
import json
import os
import shutil

import numpy as np
import orbax.checkpoint as ocp
import pytest

import small_encoders
import small_run
from checkpoint_trees import COMPLAINTS, assert_same_trees, files_of
from qvae_jax import configuration
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import array_file, stored, variables
from qvae_jax.models.mobilenet import MobileNetV3
from qvae_jax.models.qvae import QVAE, QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError

WIDTH = 0.1
DESCRIPTION = {"kind": "encoder", "model": {"encoder_width": 0.4}}


def arrays(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(shapes))
    return {
        name.replace("__", "."): rng.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def model() -> Variables:
    return Variables(
        arrays(decoder__kernel=(3, 4, 5), decoder__bias=(5,), scale=()), arrays(norm__mean=(5,))
    )


# --- Model folders


def test_a_model_comes_back_bit_by_bit(tmp_path):
    stored.save_model(tmp_path / "model", DESCRIPTION, model())
    assert stored.read_description(tmp_path / "model") == DESCRIPTION
    loaded = stored.load_arrays(tmp_path / "model", model())
    assert_same_trees(loaded._asdict(), model()._asdict())
    assert os.listdir(tmp_path) == ["model"]


def test_a_model_replaces_nothing(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "kept").write_text("x")
    with pytest.raises(UserError, match="model already exists"):
        stored.save_model(tmp_path / "model", DESCRIPTION, model())
    assert os.listdir(tmp_path / "model") == ["kept"]


def test_a_model_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match="file"):
        stored.save_model(tmp_path / "file" / "model", DESCRIPTION, model())
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.params.pop("scale"), "scale is not part of the model"),
        (lambda m: m.params.update(new=np.zeros(2)), "new is missing"),
        (
            lambda m: m.params.update({"decoder.bias": np.zeros(6)}),
            r"decoder.bias has shape \(5,\) instead of \(6,\)",
        ),
        (lambda m: m.batch_stats.clear(), "norm.mean is not part of the model"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(tmp_path, change, message):
    stored.save_model(tmp_path / "model", DESCRIPTION, model())
    expected = model()
    change(expected)
    with pytest.raises(UserError, match=message) as raised:
        stored.load_arrays(tmp_path / "model", expected)
    assert str(tmp_path / "model") in str(raised.value)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["decoder.bias", "norm.mean"])
def test_a_number_that_is_not_finite_is_refused(tmp_path, name, number):
    spoilt = model()
    next(part for part in spoilt if name in part)[name][3] = number
    stored.save_model(tmp_path / "model", DESCRIPTION, spoilt)
    with pytest.raises(UserError, match=f"model is damaged: {name} holds a number"):
        stored.load_arrays(tmp_path / "model", model())


def test_only_the_first_differences_are_listed():
    found, expected = arrays(**{f"a{i}": (1,) for i in range(9)}), arrays(b=(1,))
    with pytest.raises(UserError, match="b is missing; a0 .* and 5 more") as raised:
        stored.compare(found, expected, where="here")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no config.json"),
        ("{", "not readable JSON"),
        ("[]", "does not say what kind"),
        ("{}", "does not say what kind"),
    ],
)
def test_a_folder_of_another_kind_is_no_model(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        stored.read_description(tmp_path)


def test_a_model_without_its_arrays_is_incomplete(tmp_path):
    stored.save_model(tmp_path / "model", DESCRIPTION, model())
    shutil.rmtree(tmp_path / "model" / "variables")
    with pytest.raises(UserError, match="variables does not exist"):
        stored.load_arrays(tmp_path / "model", model())


@COMPLAINTS
@pytest.mark.parametrize("kept_share", [0.0, 0.5])
def test_a_truncated_model_is_never_read_wrongly(tmp_path, kept_share):
    stored.save_model(tmp_path / "model", DESCRIPTION, model())
    num_refused = 0
    for path in files_of(tmp_path / "model" / "variables"):
        content = path.read_bytes()
        path.write_bytes(content[: int(kept_share * len(content))])
        try:
            loaded = stored.load_arrays(tmp_path / "model", model())
        except UserError as error:
            assert str(tmp_path / "model") in str(error) and "\n" not in str(error)
            num_refused += 1
        else:  # some files are not needed to read the arrays
            assert_same_trees(loaded._asdict(), model()._asdict())
        path.write_bytes(content)
    assert num_refused >= 3


def test_a_checkpoint_of_something_else_is_no_model(tmp_path):
    stored.save_model(tmp_path / "model", DESCRIPTION, model())
    shutil.rmtree(tmp_path / "model" / "variables")
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "model" / "variables", {"weights": np.zeros(3)})
    with pytest.raises(UserError, match="another kind.*params, batch_stats"):
        stored.load_arrays(tmp_path / "model", model())


# --- Folders to be shared


@pytest.fixture
def shared(tmp_path):
    """A folder to be shared."""
    (tmp_path / "shared").mkdir()
    stored.save_shared(tmp_path / "shared", DESCRIPTION, model())
    return tmp_path / "shared"


def changed_description(folder, **changes) -> None:
    description = stored.read_description(folder) | changes
    (folder / "config.json").write_text(json.dumps(description))


def test_a_shared_model_comes_back_bit_by_bit(shared):
    assert sorted(os.listdir(shared)) == ["config.json", "model.safetensors"]
    assert stored.read_description(shared).items() > DESCRIPTION.items()
    assert_same_trees(stored.load_arrays(shared, model())._asdict(), model()._asdict())


def test_a_shared_model_without_its_digest_is_read_too(shared):
    (shared / "config.json").write_text(json.dumps(DESCRIPTION))
    assert_same_trees(stored.load_arrays(shared, model())._asdict(), model()._asdict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.params.pop("scale"), "params/scale is not part of the model"),
        (lambda m: m.params.update(new=np.zeros(2)), "params/new is missing"),
        (
            lambda m: m.params.update({"decoder.bias": np.zeros(6)}),
            r"params/decoder.bias has shape \(5,\) instead of \(6,\)",
        ),
        (lambda m: m.batch_stats.clear(), "batch_stats/norm.mean is not part of the model"),
    ],
)
def test_a_description_that_disagrees_with_its_arrays_is_refused(shared, change, message):
    expected = model()
    change(expected)
    with pytest.raises(UserError, match=f"{message}.*belong to different models") as raised:
        stored.load_arrays(shared, expected)
    assert str(shared) in str(raised.value)


def test_arrays_of_another_part_are_refused(shared):
    arrays = variables.named_by_part(model()) | {"optimizer/scale": np.zeros(2)}
    array_file.write(shared / "model.safetensors", arrays)
    changed_description(shared, arrays_sha256=None)
    with pytest.raises(UserError, match="optimizer/scale is not part of the model"):
        stored.load_arrays(shared, model())


def test_a_shared_model_with_a_number_that_is_not_finite_is_refused(tmp_path):
    spoilt = model()
    spoilt.params["decoder.bias"][3] = np.nan
    stored.save_shared(tmp_path, DESCRIPTION, spoilt)
    with pytest.raises(UserError, match="is damaged: params/decoder.bias holds a number"):
        stored.load_arrays(tmp_path, model())


@pytest.mark.parametrize("digest", ["0" * 64, "", 3, ["a"]])
def test_another_digest_than_the_descriptions_is_refused(shared, digest):
    changed_description(shared, arrays_sha256=digest)
    with pytest.raises(UserError, match="its sha256 is another one"):
        stored.load_arrays(shared, model())


def test_a_folder_with_arrays_of_both_kinds_is_refused(shared):
    (shared / "variables").mkdir()
    with pytest.raises(UserError, match="holds both variables and model.safetensors"):
        stored.load_arrays(shared, model())


def test_arrays_that_a_link_leads_to_nowhere_are_named(shared):
    (shared / "model.safetensors").unlink()
    (shared / "model.safetensors").symlink_to(shared / "gone")
    with pytest.raises(UserError, match="model.safetensors cannot be read"):
        stored.load_arrays(shared, model())


# --- The weights a run starts from


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A ported encoder of width 0.1 with weights of its own."""
    encoder = variables.split(MobileNetV3(WIDTH, rng=np.random.default_rng(77)))[1]
    folder = tmp_path_factory.mktemp("ported") / "encoder"
    model = {"encoder_width": WIDTH, "front_end": dataclasses.asdict(FrontEnd())}
    stored.save_model(folder, {"kind": "encoder", "model": model}, encoder)
    return folder


def test_a_shared_encoder_is_one_to_start_from(encoder_folder, tmp_path):
    plain = stored.load_encoder(str(encoder_folder))
    stored.save_shared(tmp_path, stored.read_description(encoder_folder), plain)
    assert_same_trees(stored.load_encoder(str(tmp_path))._asdict(), plain._asdict())


@pytest.fixture(scope="module")
def pair_folder(encoder_folder, tmp_path_factory):
    """That encoder for imitations, and another for references."""
    folder = tmp_path_factory.mktemp("pretrained")
    shutil.copytree(encoder_folder, folder / "imitation")
    other = variables.split(MobileNetV3(WIDTH, rng=np.random.default_rng(79)))[1]
    description = stored.read_description(encoder_folder)
    stored.save_model(folder / "reference", description, other)
    return folder


@pytest.fixture(scope="module")
def qvae_folder(data_set, tmp_path_factory):
    """A ported QVAE that fits small_run's config, with weights of its own."""
    model_config = configuration.model_config(small_run.config(data_set))
    whole = variables.split(QVAE(model_config, rng=np.random.default_rng(78)))[1]
    folder = tmp_path_factory.mktemp("ported") / "qvae"
    description = {"kind": "qvae", "model": dataclasses.asdict(model_config)}
    stored.save_model(folder, description, whole)
    return folder


def initial(data_set, **changes) -> Variables:
    config = small_run.config(data_set, **changes)
    return configuration.initial_variables(config, configuration.model_config(config))


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


def test_a_pair_of_encoders_has_two_folders_and_a_plain_one_is_both(encoder_folder, pair_folder):
    pair = stored.encoder_folders(str(pair_folder))
    assert pair == (pair_folder / "imitation", pair_folder / "reference")
    assert stored.encoder_folders(encoder_folder) == (encoder_folder, encoder_folder)


def test_voices_are_heard_by_a_pairs_encoder_of_imitations(encoder_folder, pair_folder):
    plain, found = map(stored.load_encoder, (encoder_folder, pair_folder))
    assert_same_trees(found._asdict(), plain._asdict())
    assert stored.description_of(pair_folder, "encoder") == stored.description_of(
        encoder_folder, "encoder"
    )


@pytest.mark.parametrize("missing", ["imitation", "reference"])
def test_half_a_pair_of_encoders_is_refused(pair_folder, tmp_path, missing):
    shutil.copytree(pair_folder, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / missing)
    with pytest.raises(UserError, match=f"half/{missing} holds no config.json"):
        stored.encoder_folders(tmp_path / "half")


def test_a_whole_model_is_no_pair_of_encoders(qvae_folder):
    with pytest.raises(UserError, match="an encoder alone is needed"):
        stored.encoder_folders(qvae_folder)


def test_an_encoder_checkpoint_replaces_the_encoder_alone(data_set, encoder_folder):
    fresh = initial(data_set)
    found = initial(data_set, **{"model.encoder_checkpoint": str(encoder_folder)})
    ported = stored.load_encoder(str(encoder_folder))
    for arrays, wanted, other in zip(found, ported, fresh):
        for name, array in arrays.items():
            encoder_name = name.removeprefix("encoder.")
            from_checkpoint = name.startswith("encoder.") and encoder_name in wanted
            source = wanted[encoder_name] if from_checkpoint else other[name]
            np.testing.assert_array_equal(array, source)
    assert found.params.keys() == fresh.params.keys()


def test_a_whole_checkpoint_replaces_everything(data_set, qvae_folder):
    found = initial(data_set, **{"model.checkpoint": str(qvae_folder)})
    model_config, ported = stored.load_qvae(qvae_folder)
    assert same(found.params, ported.params) and same(found.batch_stats, ported.batch_stats)
    assert model_config.encoder_width == WIDTH and model_config.latent_dim == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.latent_dim": 5}, "latent_dim is 5 in the config and 4 in the checkpoint"),
        ({"data.input_duration_s": 2.0}, "front_end is .* in the config"),
        ({"model.feature_space": "3"}, "feature_space is '3' in the config and 'final'"),
        ({"model.standardise_features": True}, "standardise_features is True in the config and F"),
    ],
)
def test_a_whole_checkpoint_that_does_not_fit_is_refused(data_set, qvae_folder, change, message):
    with pytest.raises(UserError, match=message) as raised:
        initial(data_set, **{"model.checkpoint": str(qvae_folder)}, **change)
    assert str(qvae_folder) in str(raised.value)


def test_how_fresh_weights_are_drawn_says_nothing_about_a_checkpoint(data_set, qvae_folder):
    change = {"model.checkpoint": str(qvae_folder), "model.decoder.init": "fixed_std"}
    assert initial(data_set, **change).params.keys() == initial(data_set).params.keys()


def test_a_model_that_took_a_share_of_voices_may_learn_from_them(data_set, tmp_path):
    config = configuration.model_config(
        small_run.config(data_set, **{"model.standardise_features": True})
    )
    of_sounds = dataclasses.replace(config, voice_share=0.25)
    whole = variables.split(QVAE(of_sounds, rng=np.random.default_rng(0)))[1]
    description = {"kind": "qvae", "model": dataclasses.asdict(of_sounds)}
    stored.save_model(tmp_path / "qvae", description, whole)
    change = {"model.checkpoint": str(tmp_path / "qvae"), "model.standardise_features": True}
    assert same(initial(data_set, **change).params, whole.params)


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
    configuration.resolve_encoder(config, run)
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
    stored.save_model(tmp_path / "encoder", description, encoder)
    config = small_run.config(
        data_set, **{"model.encoder_checkpoint": str(tmp_path / "encoder"), "model.latent_dim": 3}
    )
    configuration.resolve_encoder(config, None)
    found = configuration.model_config(config)
    assert found.encoder_strides == (2, 2, 1, 1) and found.encoder_classes == 7
    assert found.front_end == FrontEnd(
        duration_s=config.data.input_duration_s, hop_length=480, num_mels=64
    )
    loaded = configuration.initial_variables(config, found)
    ours = {f"encoder.{name}": array for name, array in encoder.params.items()}
    assert same({name: loaded.params[name] for name in ours}, ours)
    configuration.record(config, tmp_path)
    again = small_run.config(data_set)
    configuration.resolve_encoder(again, tmp_path)
    assert configuration.model_config(again).encoder_strides == (2, 2, 1, 1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, str]:
    """Folders of two encoders: that differ, that are equal, and of two structures; and of one."""
    folder = tmp_path_factory.mktemp("pairs")
    small_encoders.write_pair(folder / "pair")
    for name, encoder in (
        ("equal/imitation", {"seed": 1}),
        ("equal/reference", {"seed": 1}),
        ("unlike/imitation", {}),
        ("unlike/reference", {"encoder_width": 0.2}),
    ):
        small_encoders.write(folder / name, **encoder)
    return {name: str(folder / name) for name in ("pair", "equal", "unlike")} | {
        "plain": str(folder / "pair" / "reference")
    }


def resolved_pair(data_set, folder, run=None, **changes):
    config = small_run.config(data_set, **{"model.encoder_checkpoint": folder} | changes)
    configuration.resolve_encoder(config, run)
    return config


FINE_TUNED = {"training.encoder": "fine_tuned"}
BY_ONE = {"model.sound_encoder": False}
BY_TWO = {"model.sound_encoder": True}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("pair", {}, True),
        ("pair", BY_TWO, True),
        ("pair", BY_ONE, False),
        ("pair", FINE_TUNED, False),
        ("pair", FINE_TUNED | BY_ONE, False),
        ("pair", FINE_TUNED | {"training.objective": "contrastive"}, False),
        ("equal", {}, False),
        ("plain", {}, False),
        ("unlike", BY_ONE, False),
        ("unlike", FINE_TUNED, False),
        ("", {}, False),
    ],
)
def test_a_frozen_pair_that_differs_hears_by_two_encoders(
    data_set, pairs, name, changes, expected, capsys
):
    folder = pairs.get(name, "")
    config = resolved_pair(data_set, folder, **changes)
    model_config = configuration.model_config(config)
    assert model_config.sound_encoder is config.model.sound_encoder is expected
    said = f"note: training.encoder is 'fine_tuned', so of the pair in {folder} the encoder of"
    is_told = changes == FINE_TUNED
    assert (said in capsys.readouterr().out) == is_told
    loaded = configuration.initial_variables(config, model_config)
    halves = {"sound_encoder.": "reference", "encoder.": "imitation"} if name == "pair" else {}
    for prefix, half in halves.items():
        named = {n: a for n, a in loaded.params.items() if n.startswith(prefix)}
        theirs = stored.load_encoder(f"{folder}/{half}").params
        assert same(named, {prefix + n: a for n, a in theirs.items()} if named else {})
        assert bool(named) == (expected or prefix == "encoder.")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "pair",
            FINE_TUNED | BY_TWO,
            "needs both encoders frozen, but training.encoder is 'fine_t",
        ),
        ("equal", BY_TWO, "names no pair of encoders that hear differently"),
        ("plain", BY_TWO, "names no pair of encoders that hear differently"),
        ("", BY_TWO, "names no pair of encoders that hear differently"),
        (
            "unlike",
            {},
            r"not of one structure .encoder_width is 0.1 and 0.2.*sound_encoder to False",
        ),
    ],
)
def test_a_second_encoder_where_there_can_be_none_is_refused(
    data_set, pairs, name, changes, message
):
    with pytest.raises(UserError, match=message) as raised:
        resolved_pair(data_set, pairs.get(name, ""), **changes)
    assert "\n" not in str(raised.value)


def test_a_run_goes_on_and_a_whole_model_is_taken_with_as_many_encoders(data_set, pairs, tmp_path):
    for name, number in (("pair", True), ("equal", False)):
        run, folder = tmp_path / name, tmp_path / f"{name}_model"
        run.mkdir()
        config = resolved_pair(data_set, pairs[name])
        configuration.record(config, run)
        # Whatever has become of the pair, the run has its own.
        again = resolved_pair(data_set, str(tmp_path / "gone"), run=run)
        assert again.model.sound_encoder is number
        model_config = configuration.model_config(config)
        weights = configuration.initial_variables(config, model_config)
        description = {"kind": "qvae", "model": dataclasses.asdict(model_config)}
        stored.save_model(folder, description, weights)
        whole = {"model.encoder_checkpoint": "", "model.checkpoint": str(folder)}
        config = resolved_pair(data_set, "", **whole)
        assert config.model.sound_encoder is number
        begun = configuration.initial_variables(config, configuration.model_config(config))
        assert same(begun.params, weights.params)
    with pytest.raises(UserError, match="needs both encoders frozen"):
        resolved_pair(data_set, "", run=tmp_path / "pair", **FINE_TUNED)


@pytest.mark.parametrize("model", [None, 3, {}, {"encoder_width": "wide"}])
def test_a_damaged_description_is_named(data_set, tmp_path, model):
    description = {"kind": "encoder", "model": model}
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="config.json is damaged"):
        resolved(data_set, **{"model.encoder_checkpoint": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", 16.0),
        ("latent_dim", True),
        ("encoder_classes", 527.0),
        ("encoder_width", True),
        ("decoder_width", "1"),
        ("decoder_type", ["original"]),
        ("front_end", {"hop_length": 320.0}),
        ("front_end", {"low_hz": "0"}),
        ("front_end", None),
        ("encoder_strides", None),
        ("feature_space", 13),
    ],
)
def test_a_description_that_was_edited_amiss_is_named(tmp_path, name, value):
    model = dataclasses.asdict(QVAEConfig(encoder_width=WIDTH)) | {name: value}
    (tmp_path / "config.json").write_text(json.dumps({"kind": "qvae", "model": model}))
    with pytest.raises(UserError, match="config.json describes no model that there can be: "):
        stored.load_qvae(tmp_path)


def test_a_description_of_another_version_is_refused(data_set, tmp_path):
    model = dataclasses.asdict(QVAEConfig(encoder_width=WIDTH)) | {"number_of_ears": 2}
    (tmp_path / "config.json").write_text(json.dumps({"kind": "qvae", "model": model}))
    with pytest.raises(UserError, match="number_of_ears"):
        stored.load_qvae(tmp_path)
