"""A folder for the Hub: the model comes back from it bit for bit, or nothing is loaded."""

import json
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_hub
import qvae_jax
import steered_model
from checkpoint_trees import assert_same_trees
from qvae_jax.exporting import hub
from qvae_jax.generation.model import load_model
from qvae_jax.modes.export import export
from qvae_jax.modes.requests import ExportRequest, SearchRequest
from qvae_jax.modes.search import search
from qvae_jax.system.errors import UserError

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
FILES = ["README.md", "config.json", "model.safetensors"]


def exported(folder, **request) -> pathlib.Path:
    export(ExportRequest(format="hub", output_dir=str(folder), **request))
    return folder


@pytest.fixture(scope="module")
def steered(tmp_path_factory) -> pathlib.Path:
    """The folder of a steered model, exported."""
    folder = tmp_path_factory.mktemp("hub")
    ported = steered_model.write(folder / "ported")
    return exported(folder / "shared", checkpoint=str(ported))


@pytest.fixture
def folder(steered, tmp_path) -> pathlib.Path:
    """A copy that a test may change."""
    return shutil.copytree(steered, tmp_path / "model")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> pathlib.Path:
    """A run that keeps an average of its weights, exported."""
    return exported(tmp_path_factory.mktemp("hub") / "shared", workdir=str(FIXTURES / "run"))


# --- There and back


def test_a_steered_model_comes_back_bit_for_bit(steered):
    assert sorted(os.listdir(steered)) == FILES
    found, expected = qvae_jax.load(steered), steered_model.model()
    assert found.config == expected.config
    assert_same_trees(found.variables._asdict(), expected.variables._asdict())


def test_a_run_comes_back_with_its_averaged_weights(run_folder):
    found, expected = qvae_jax.load(run_folder), load_model(workdir=str(FIXTURES / "run"))
    assert found.config == expected.config
    assert_same_trees(found.variables._asdict(), expected.variables._asdict())
    assert found.source == {"checkpoint": str(run_folder)}


def test_an_exported_model_makes_the_same_sound_and_can_be_exported_again(steered, tmp_path):
    z = np.ones((1, steered_model.CONFIG.latent_dim), np.float32)
    sound = qvae_jax.load(steered).decode(z)
    np.testing.assert_array_equal(sound, steered_model.model().decode(z))
    again = exported(tmp_path / "again", checkpoint=str(steered))
    for name in ("config.json", "model.safetensors"):
        assert (again / name).read_bytes() == (steered / name).read_bytes()


def test_a_model_on_the_hub_is_loaded_by_its_address(monkeypatch, steered, tmp_path):
    there = fake_hub.installed(monkeypatch, tmp_path)
    there.repositories["owner/name", "v1"] = steered
    found = qvae_jax.load("hf://owner/name@v1")
    assert found.source == {"checkpoint": "hf://owner/name@v1"}
    assert_same_trees(found.variables._asdict(), qvae_jax.load(steered).variables._asdict())
    with pytest.raises(UserError, match="hf://owner/name cannot be fetched: it has no such rev"):
        load_model(checkpoint="hf://owner/name")


def test_a_threshold_is_not_kept_on_the_hub(tmp_path):
    with pytest.raises(UserError, match="hf://o/n is none of this machine: fetch it first"):
        search(SearchRequest(checkpoint="hf://o/n", pairs=str(tmp_path)))


# --- What is refused


def test_what_it_wrote_is_told_with_the_command_that_shares_it(tmp_path, capsys):
    exported(tmp_path / "my model", checkpoint=str(FIXTURES / "ported"))
    said = capsys.readouterr().out
    assert f"hf upload OWNER/NAME '{tmp_path / 'my model'}'" in said


def test_a_licence_is_of_this_format_alone(monkeypatch, tmp_path):
    monkeypatch.setattr("qvae_jax.modes.export.WRITERS", {"other": hub.write})
    request = ExportRequest(format="other", licence="mit", output_dir=str(tmp_path / "new"))
    with pytest.raises(UserError, match="--licence is for --format=hub, and --format is 'other'"):
        export(request)


def test_a_licence_stands_in_the_card(tmp_path):
    folder = exported(tmp_path / "new", checkpoint=str(FIXTURES / "ported"), licence="cc0-1.0")
    assert "\nlicense: cc0-1.0\n" in (folder / hub.CARD).read_text("utf-8")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (dict(format="pdf"), "--format is 'pdf'"),
        (dict(format="hub", licence="My own, 1999"), "--licence is 'my own, 1999'"),
        (dict(format="hub", output_dir="there"), "there already exists and is not an empty"),
    ],
)
def test_a_mistake_writes_nothing(monkeypatch, tmp_path, request_, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "kept").touch()
    ported = steered_model.write(tmp_path / "ported")
    with pytest.raises(UserError, match=message):
        export(ExportRequest(**{"checkpoint": str(ported), "output_dir": "new"} | request_))
    assert sorted(os.listdir(tmp_path)) == ["ported", "there"]
    assert os.listdir(tmp_path / "there") == ["kept"]


def described(folder, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    model = config["model"] | changes
    (folder / "config.json").write_text(json.dumps(config | {"model": model}))


def cut(folder, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no config.json, so it is no model"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors cannot be read"),
        (lambda f: cut(f, 5000), "its header is cut short"),
        (lambda f: cut(f, -1), "is not the file that was written"),
        (lambda f: described(f, latent_dim=5), "belong to different models"),
        (lambda f: described(f, decoder_type="original"), "belong to different models"),
        (lambda f: described(f, encoder_width=1e12), "no model that there can be"),
        (lambda f: described(f, latent_dim=10**15), "no model that there can be"),
        (lambda f: described(f, decoder_width=1e300), "no model that there can be"),
        (lambda f: described(f, decoder_width=float("inf")), "no model that there can be"),
        (lambda f: described(f, encoder_width=float("nan")), "no model that there can be"),
        (
            lambda f: (f / "model.safetensors").write_bytes(pickle.dumps({"params": 1})),
            "is a pickle, which could run code",
        ),
    ],
)
def test_a_folder_that_is_damaged_is_refused_in_one_line(folder, change, message):
    change(folder)
    with pytest.raises(UserError, match=message) as raised:
        qvae_jax.load(folder)
    assert str(folder) in str(raised.value) and "\n" not in str(raised.value)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)


@given(
    name=st.sampled_from(
        ("encoder_width", "decoder_width", "latent_dim", "encoder_classes", "feature_space",
         "sample_rate_hz", "encoder_strides", "decoder_type", "front_end")
    ),
    value=VALUES | st.lists(VALUES, max_size=4) | st.floats(0, 3) | st.integers(0, 70_000),
)  # fmt: skip
def test_a_description_that_was_edited_is_refused_or_changes_no_array(steered, name, value):
    folder = steered.parent / "edited"
    folder.mkdir(exist_ok=True)
    for file in FILES:
        shutil.copy(steered / file, folder)
    described(folder, **{name: value})
    try:
        found = qvae_jax.load(folder)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert_same_trees(found.variables._asdict(), steered_model.model().variables._asdict())


def test_a_description_alone_says_what_kind_of_folder_it_is(steered):
    description = json.loads((steered / "config.json").read_text())
    assert description.keys() == {"kind", "model", "arrays_sha256"}
    assert description["kind"] == "qvae"


def test_the_card_is_written_beside(steered):
    assert (steered / hub.CARD).read_text("utf-8").startswith("---\nlicense: unknown\n")
