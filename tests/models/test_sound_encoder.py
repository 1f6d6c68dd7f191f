"""A QVAE with a second encoder: which arrays are whose, and what each hears."""

import numpy as np

import steered_model
from qvae_jax.models import sound_encoder, stored, variables
from qvae_jax.models.qvae import QVAE

CONFIG, TWO = steered_model.CONFIG, steered_model.TWO_ENCODERS


def test_all_but_the_second_encoder_is_drawn_as_without_it():
    one, two = (stored.initial_variables(config, seed=5) for config in (CONFIG, TWO))
    for ours, theirs in zip(one, two):
        assert {n for n in theirs if n not in ours} == {
            n.replace("encoder.", "sound_encoder.") for n in ours if n.startswith("encoder.")
        }
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])


def test_one_encoder_alone_is_a_qvae_of_one_encoder():
    two = stored.initial_variables(TWO, seed=5)
    expected = variables.split(QVAE(CONFIG, rng=None))[1]
    for sounds, prefix in ((False, "encoder."), (True, "sound_encoder.")):
        config, alone = sound_encoder.one_alone(TWO, two, sounds=sounds)
        assert config == CONFIG
        for ours, shapes, theirs in zip(alone, expected, two):
            assert ours.keys() == shapes.keys()
            for name, array in ours.items():
                own = name.startswith("encoder.")
                given = prefix + name.removeprefix("encoder.") if own else name
                assert array is theirs[given]


def test_a_qvae_of_one_encoder_is_given_as_it_is():
    given = stored.initial_variables(CONFIG, seed=0)
    for sounds in (False, True):
        assert sound_encoder.one_alone(CONFIG, given, sounds=sounds) == (CONFIG, given)
