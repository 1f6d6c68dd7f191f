"""What a QVAE's tensors leave open is stated, chosen, or refused; what is stated must fit."""

import argparse
import dataclasses
import pathlib

import numpy as np
import pytest

from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="weight_port imports it")

from weight_port import unstated
from weight_port.source import Source
from weight_port.weight_sets import QVAE

ENCODER = QVAEConfig(encoder_width=0.1)
AMBIGUOUS = QVAEConfig(encoder_width=0.1, feature_space="14").feature_dim()  # 13, 14 or 15


def _source(inputs: int = 96, config: dict | None = None) -> Source:
    arrays = {"encoder.mu_head.weight": np.zeros((16, inputs), np.float32)}
    written = {"encoder.mu_head.weight": "net.encoder.mu_head.weight"}
    parameters = {} if config is None else {"config": config}
    path = pathlib.Path("some.ckpt")
    return Source(path, "0" * 64, QVAE, arrays, {}, parameters, prefix="net.", written=written)


@pytest.mark.parametrize("space", ["13", "14", "15"])
def test_of_layers_of_one_size_the_user_chooses(space):
    assert unstated.feature_space(_source(AMBIGUOUS), ENCODER, space) == space
    stated = _source(AMBIGUOUS, {"model": {"feature_space": space}})
    assert unstated.feature_space(stated, ENCODER, None) == space
    assert unstated.feature_space(stated, ENCODER, space) == space


def test_a_size_that_one_layer_has_needs_no_choice():
    assert unstated.feature_space(_source(96), ENCODER, None) == "final"
    assert unstated.feature_space(_source(96), ENCODER, "final") == "final"


@pytest.mark.parametrize(
    ("inputs", "stated", "chosen", "message"),
    [
        (AMBIGUOUS, None, None, "13 or 14 or 15, and does not say which: give --feature_space"),
        (AMBIGUOUS, None, "final", "13 or 14 or 15, not final, .*: give another one"),
        (AMBIGUOUS, "13", "14", "and says 13: leave --feature_space out"),
        (AMBIGUOUS, "final", None, "and says final: give another one"),
        (96, None, "13", "fits feature_space final, not 13"),
        (97, None, None, "fits no layer"),
        (97, "final", "final", "fits no layer"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused_by_the_key_of_the_file(
    inputs, stated, chosen, message
):
    config = None if stated is None else {"model": {"feature_space": stated}}
    full = rf"some\.ckpt has {inputs} inputs in net\.encoder\.mu_head\.weight.*{message}"
    with pytest.raises(UserError, match=full):
        unstated.feature_space(_source(inputs, config), ENCODER, chosen)


@pytest.mark.parametrize("kind", [dict, lambda **values: argparse.Namespace(**values)])
def test_what_is_stated_counts_in_any_form_of_a_config(kind):
    stated = kind(model=kind(feature_space=14), decoder=kind(type="original-res"))
    for parameters in ({"config": stated}, stated, kind(config=stated)):
        source = dataclasses.replace(_source(AMBIGUOUS), hyper_parameters=parameters)
        assert unstated.feature_space(source, ENCODER, None) == "14"
        assert unstated.decoder_type(source, None) == ("original-res", ())


def test_a_config_of_another_model_is_refused():
    unstated.check_latent_size(_source(config={"model": {"latent_dim": 16}}), 16)
    unstated.check_latent_size(_source(), 16)
    with pytest.raises(UserError, match=r"16 outputs in net\.encoder.*latent_dim is 99"):
        unstated.check_latent_size(_source(config={"model": {"latent_dim": 99}}), 16)


def test_sounds_that_were_otherwise_are_noted():
    usual = {"input_sample_rate": 32000, "target_sample_rate": 22050, "target_audio_length": 59049}
    assert unstated.notes_on_sounds(_source(config={"data": usual})) == ()
    other = usual | {"target_sample_rate": 44100}
    (note,) = unstated.notes_on_sounds(_source(config={"data": other}))
    assert "data.target_sample_rate is 44100, but 22050 here" in note
